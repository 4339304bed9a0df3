//! Walks over frames of one partition that lie one after another, and tells what of them is bad.

use bytes::Bytes;

use crate::frame::{ALIGN, HEADER, Header, Kind};

/// What comes next.
#[derive(Debug)]
pub(crate) enum Met {
    /// A good frame with a batch: its header, and all of it.
    Batch { header: Header, frame: Bytes },
    /// Offsets that cannot be read, from one to below another; whether a good frame says so.
    Lost { from: u64, to: u64, sequence: u64, is_known: bool },
}

/// Goes from frame to frame. Nothing that it gives as good was not checked.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    bytes: &'a Bytes,
    salt: u64,
    partition: u32,
    at: usize,
    /// The offset that comes next.
    offset: u64,
    /// The offset after the last that there should be.
    end: u64,
    sequence: u64,
    /// Whether offsets may be missing without damage.
    has_gaps: bool,
    /// Whether the checksum of each body is to be compared.
    checks: bool,
}

impl<'a> Walk<'a> {
    /// Over frames with the offsets from `offset` to below `end`.
    pub(crate) fn new(bytes: &'a Bytes, salt: u64, partition: u32, offset: u64, end: u64) -> Self {
        let (at, sequence) = (0, 0);
        Self { bytes, salt, partition, at, offset, end, sequence, has_gaps: false, checks: true }
    }

    /// Takes offsets that are missing between good frames for those that a compaction removed.
    pub(crate) fn with_gaps(self, has_gaps: bool) -> Self {
        Self { has_gaps, ..self }
    }

    /// Takes the bodies for good: they were checked, and have not left memory since.
    pub(crate) fn trusting(self) -> Self {
        Self { checks: false, ..self }
    }

    pub(crate) fn next(&mut self) -> Option<Met> {
        if self.at < self.bytes.len() {
            match self.frame_at(self.at) {
                Some(header) => return Some(self.take(header)),
                None => {
                    self.at = self.next_frame(self.at);
                    // What lies between is lost even where offsets may be missing.
                    let to = self.frame_at(self.at).map_or(self.end, |header| header.base);
                    return self.lost_until(to).or_else(|| self.next());
                }
            }
        }
        if self.has_gaps {
            return None;
        }
        self.lost_until(self.end)
    }

    fn take(&mut self, header: Header) -> Met {
        if header.base > self.offset && !self.has_gaps {
            let (from, to) = (self.offset, header.base);
            self.offset = to;
            return Met::Lost { from, to, sequence: header.sequence, is_known: false };
        }
        let from = self.at;
        self.at = from + header.span();
        self.offset = header.base.saturating_add(u64::from(header.count));
        self.sequence = header.sequence;
        let frame = self.bytes.slice(from..self.at.min(self.bytes.len()));
        let body = frame.get(HEADER..HEADER + header.length as usize).unwrap_or_default();
        let is_good = !self.checks || header.matches(body);
        if is_good && header.kind == Kind::Batch {
            return Met::Batch { header, frame };
        }
        let (to, sequence) = (self.offset, header.sequence);
        Met::Lost { from: header.base, to, sequence, is_known: is_good }
    }

    /// The frame at this place, where it has a good header, fits, and comes next in order.
    fn frame_at(&self, at: usize) -> Option<Header> {
        let header = Header::parse(self.bytes.get(at..)?, self.salt)?;
        let is_ours = matches!(header.kind, Kind::Batch | Kind::Lost)
            && header.partition == self.partition
            && header.base >= self.offset
            && header.base.checked_add(u64::from(header.count))? <= self.end
            && at.checked_add(header.span())? <= self.bytes.len();
        is_ours.then_some(header)
    }

    /// Where the next frame begins after bytes that are none.
    fn next_frame(&self, at: usize) -> usize {
        let mut at = at + ALIGN;
        while at < self.bytes.len() && self.frame_at(at).is_none() {
            at += ALIGN;
        }
        at.min(self.bytes.len())
    }

    fn lost_until(&mut self, to: u64) -> Option<Met> {
        let from = self.offset;
        if from >= to {
            return None;
        }
        self.offset = to;
        Some(Met::Lost { from, to, sequence: self.sequence, is_known: false })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::frame;

    const SALT: u64 = 3;

    /// Three frames of partition 1, with two offsets each.
    fn frames() -> BytesMut {
        let mut out = BytesMut::new();
        for base in [0, 2, 4] {
            let header = Header { base, partition: 1, count: 2, ..Header::plain(Kind::Batch) };
            frame::push(&mut out, header, &[b"twelve bytes"], SALT);
        }
        out
    }

    /// What is met: the first offset, the offset after the last, and whether it is good.
    fn met(bytes: BytesMut, has_gaps: bool) -> Vec<(u64, u64, bool)> {
        let bytes = bytes.freeze();
        let mut walk = Walk::new(&bytes, SALT, 1, 0, 6).with_gaps(has_gaps);
        let all = std::iter::from_fn(|| walk.next());
        all.map(|met| match met {
            Met::Batch { header, .. } => (header.base, header.next(), true),
            Met::Lost { from, to, .. } => (from, to, false),
        })
        .collect()
    }

    #[test]
    fn whatever_byte_is_bad_every_offset_is_met_once() {
        let good = frames();
        assert_eq!(met(good.clone(), false), [(0, 2, true), (2, 4, true), (4, 6, true)]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let found = met(bad, false);
            let mut next = 0;
            for (from, to, _) in &found {
                assert_eq!(*from, next, "byte {at}: {found:?}");
                next = *to;
            }
            assert_eq!(next, 6, "byte {at}: {found:?}");
            let lost: u64 = found.iter().filter(|it| !it.2).map(|it| it.1 - it.0).sum();
            assert!(lost <= 2, "byte {at}: {found:?}");
        }
    }

    #[test]
    fn a_frame_that_a_compaction_removed_is_no_damage_where_there_may_be_gaps() {
        let mut bytes = frames();
        let rest = bytes.split_off(2 * 72);
        bytes.truncate(72);
        bytes.unsplit(rest);
        assert_eq!(met(bytes.clone(), true), [(0, 2, true), (4, 6, true)]);
        assert_eq!(met(bytes, false), [(0, 2, true), (2, 4, false), (4, 6, true)]);
    }
}
