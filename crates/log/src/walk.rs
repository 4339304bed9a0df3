//! Walks over frames of one partition that lie one after another, and tells what of them is bad.

use bytes::Bytes;

use crate::frame::{ALIGN, HEADER, Header, Kind};

/// What comes next.
#[derive(Debug)]
pub(crate) enum Met {
    /// A good frame with a batch: its header, and all of it.
    Batch { header: Header, frame: Bytes },
    /// Offsets that cannot be read, from one to below another.
    Lost { from: u64, to: u64, sequence: u64 },
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
            return Met::Lost { from, to, sequence: header.sequence };
        }
        let from = self.at;
        self.at = from + header.span();
        self.offset = header.base.saturating_add(u64::from(header.count));
        self.sequence = header.sequence;
        let frame = self.bytes.slice(from..self.at.min(self.bytes.len()));
        let body = frame.get(HEADER..HEADER + header.length as usize).unwrap_or_default();
        let is_good = header.kind == Kind::Batch && (!self.checks || header.matches(body));
        if is_good {
            return Met::Batch { header, frame };
        }
        Met::Lost { from: header.base, to: self.offset, sequence: header.sequence }
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
        Some(Met::Lost { from, to, sequence: self.sequence })
    }
}
