//! Frames: how the journal holds what was appended, each under checksums of its own.

use bytes::{BufMut, BytesMut};

use crate::codec::Cursor;

/// Bytes of a frame before its body.
pub(crate) const HEADER: usize = 56;
/// Frames begin at multiples of this in their file.
pub(crate) const ALIGN: usize = 8;

/// No log gets as far as to a sequence or an offset like this.
pub(crate) const MOST: u64 = 1 << 62;
/// Nor is one opened as often.
pub(crate) const MOST_EPOCH: u32 = 1 << 31;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record batch of one partition.
    Batch = 1,
    /// Offsets that groups committed.
    Offsets = 2,
    /// A topic that was created, as version 1 has it.
    Created = 3,
    /// Nothing but how far the journal was synced.
    Mark = 4,
    /// The log was opened: a new epoch begins.
    Open = 5,
    /// The log was closed in order.
    Close = 6,
    /// A topic as it is from here on.
    Topic = 7,
    /// A topic that was deleted.
    Deleted = 8,
    /// A partition begins at `base` from here on.
    Trim = 9,
    /// The offsets from `base` on, `count` of them, were found damaged when they were settled.
    Lost = 10,
    /// Notes that somebody keeps in the log.
    Notes = 11,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Batch,
            2 => Self::Offsets,
            3 => Self::Created,
            4 => Self::Mark,
            5 => Self::Open,
            6 => Self::Close,
            7 => Self::Topic,
            8 => Self::Deleted,
            9 => Self::Trim,
            10 => Self::Lost,
            11 => Self::Notes,
            _ => return None,
        })
    }

    /// The word for it in what people read.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batch => "records",
            Self::Offsets => "offsets",
            Self::Created => "created",
            Self::Mark => "mark",
            Self::Open => "open",
            Self::Close => "close",
            Self::Topic => "topic",
            Self::Deleted => "deleted",
            Self::Trim => "trim",
            Self::Lost => "lost",
            Self::Notes => "notes",
        }
    }

    /// Whether sequences may jump at this frame. Its `base` is then the sequence that would have
    /// come without the jump, so that no frame can be missing before it unseen.
    pub(crate) fn may_jump(self) -> bool {
        matches!(self, Self::Mark | Self::Open)
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) body_crc: u32,
    pub(crate) length: u32,
    /// Rises with each frame and is never given twice.
    pub(crate) sequence: u64,
    /// Every frame with a lower sequence was synced before this one was written.
    pub(crate) synced: u64,
    /// The base offset of a batch; see [`Kind::may_jump`] for others.
    pub(crate) base: u64,
    pub(crate) partition: u32,
    /// How many offsets a batch takes.
    pub(crate) count: u32,
    pub(crate) epoch: u32,
    /// How many frames of the same append follow.
    pub(crate) rest: u32,
}

impl Header {
    /// A header of a frame without a partition.
    pub(crate) fn plain(kind: Kind) -> Self {
        Self {
            kind,
            body_crc: 0,
            length: 0,
            sequence: 0,
            synced: 0,
            base: 0,
            partition: 0,
            count: 0,
            epoch: 0,
            rest: 0,
        }
    }

    /// The header's bytes; their checksum begins with the log's salt, so that bytes that somebody put
    /// into an event never pass for a frame.
    fn bytes(&self, salt: u64) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut rest = bytes.as_mut_slice();
        rest.put_u32_le(0);
        rest.put_u32_le(self.body_crc);
        rest.put_u32_le(self.length);
        rest.put_u8(self.kind as u8);
        rest.put_bytes(0, 3);
        rest.put_u64_le(self.sequence);
        rest.put_u64_le(self.synced);
        rest.put_u64_le(self.base);
        rest.put_u32_le(self.partition);
        rest.put_u32_le(self.count);
        rest.put_u32_le(self.epoch);
        rest.put_u32_le(self.rest);
        let crc = header_crc(salt, bytes.get(4..).unwrap_or_default());
        if let Some(place) = bytes.first_chunk_mut() {
            *place = crc.to_le_bytes();
        }
        bytes
    }

    /// The header at the front of `bytes`, where there is a good one.
    pub(crate) fn parse(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        // Most places that are looked at when something is searched for fail here already.
        let kind = match bytes.get(12..16)? {
            [kind, 0, 0, 0] => Kind::of(*kind)?,
            _ => return None,
        };
        let mut cursor = Cursor::new(bytes);
        let (crc, body_crc, length) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        if crc != header_crc(salt, bytes.get(4..)?) {
            return None;
        }
        cursor.take(4)?;
        let header = Self {
            kind,
            body_crc,
            length,
            sequence: cursor.u64()?,
            synced: cursor.u64()?,
            base: cursor.u64()?,
            partition: cursor.u32()?,
            count: cursor.u32()?,
            epoch: cursor.u32()?,
            rest: cursor.u32()?,
        };
        header.can_be().then_some(header)
    }

    /// Whether its numbers are such as a log can come to: nothing that counts on from them overflows.
    fn can_be(&self) -> bool {
        [self.sequence, self.synced, self.base].into_iter().all(|number| number < MOST)
            && self.epoch < MOST_EPOCH
    }

    /// The offset after the last that it takes.
    pub(crate) fn next(&self) -> u64 {
        self.base.saturating_add(u64::from(self.count))
    }

    /// The bytes from the start of this frame to the start of the next.
    pub(crate) fn span(&self) -> usize {
        span(self.length as usize)
    }

    /// Whether `body` is what the frame was written with.
    pub(crate) fn matches(&self, body: &[u8]) -> bool {
        body.len() == self.length as usize && crc32c::crc32c(body) == self.body_crc
    }

    /// Whether this frame may come where `expected` is the next sequence.
    pub(crate) fn follows(&self, expected: u64) -> bool {
        self.sequence == expected
            || (self.kind.may_jump() && self.sequence > expected && self.base == expected)
    }
}

pub(crate) fn header_crc(salt: u64, rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), rest)
}

/// The bytes that a frame with a body of `length` takes in the file.
pub(crate) fn span(length: usize) -> usize {
    HEADER.saturating_add(length).checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX)
}

/// Appends a frame whose body is made of `parts`; completes the header's length and checksum.
pub(crate) fn push(out: &mut BytesMut, mut header: Header, parts: &[&[u8]], salt: u64) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let at = out.len();
    out.reserve(span(length));
    out.extend_from_slice(&[0; HEADER]);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    header.length = u32::try_from(length).unwrap_or(u32::MAX);
    header.body_crc = crc32c::crc32c(out.get(at + HEADER..).unwrap_or_default());
    if let Some(place) = out.get_mut(at..at + HEADER) {
        place.copy_from_slice(&header.bytes(salt));
    }
    out.put_bytes(0, span(length) - HEADER - length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_any_flipped_bit_is_seen() {
        let mut out = BytesMut::new();
        let header = Header { sequence: 9, base: 5, rest: 1, ..Header::plain(Kind::Batch) };
        push(&mut out, header, &[b"one", b"two"], 77);
        assert_eq!(out.len(), 64);
        let found = Header::parse(&out, 77).unwrap();
        assert_eq!((found.sequence, found.base, found.rest, found.span()), (9, 5, 1, 64));
        assert!(found.matches(&out[HEADER..HEADER + 6]));
        assert_eq!(Header::parse(&out, 78), None, "a frame of another log");
        for bit in 0..62 * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let seen = Header::parse(&bad, 77).is_none_or(|h| !h.matches(&bad[HEADER..HEADER + 6]));
            assert!(seen, "bit {bit}");
        }
    }
}
