//! The producers as a section of a state file.
//!
//! How many entries (4); entries, that which gives way next first: partition id (4), producer id
//! (8), when its last batch was noted, in ms (8), epoch (2), how many sequences are known without a
//! gap (4), how many batches (1), batches with the oldest first: first sequence (4), last sequence
//! (4), base offset (8), offset after the last (8). Then how many marks (4), and marks by partition:
//! partition id (4), offset below which the partition has nothing new to tell (8).

use bytes::BufMut;

use super::known::{Known, Noted, REMEMBERED};
use super::{Key, Producers};
use crate::codec::Cursor;

impl Producers {
    /// Appends the section to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_count(out, self.entries.len());
        for (key, entry) in self.by_use.values().filter_map(|key| self.entries.get_key_value(key)) {
            put_entry(out, key, &entry.known, entry.last_ms);
        }
        put_count(out, self.forgotten.len());
        for (partition, mark) in &self.forgotten {
            out.put_u32_le(*partition);
            out.put_u64_le(*mark);
        }
    }

    /// Reads the section; `None` where it cannot be one. Of more than `most` entries the latest are
    /// kept, whoever has written the others.
    pub(crate) fn decode(cursor: &mut Cursor<'_>, most: usize) -> Option<Self> {
        let mut entries = Vec::new();
        for _ in 0..cursor.u32()? {
            entries.push(take_entry(cursor)?);
        }
        let mut producers = Self::new(most);
        for _ in 0..cursor.u32()? {
            let (partition, mark) = (cursor.u32()?, cursor.u64()?);
            if producers.forgotten.insert(partition, mark).is_some() {
                return None;
            }
        }
        for (key, known, last_ms) in entries {
            if producers.entries.contains_key(&key) {
                return None;
            }
            producers.insert(key, known, last_ms);
        }
        Some(producers)
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
}

fn put_entry(out: &mut Vec<u8>, key: &Key, known: &Known, last_ms: u64) {
    let (partition, producer) = *key;
    out.put_u32_le(partition);
    out.put_i64_le(producer);
    out.put_u64_le(last_ms);
    out.put_i16_le(known.epoch());
    out.put_u32_le(known.span());
    out.put_u8(u8::try_from(known.batches().count()).unwrap_or(u8::MAX));
    for noted in known.batches().rev() {
        out.put_i32_le(noted.first);
        out.put_i32_le(noted.last);
        out.put_u64_le(noted.base);
        out.put_u64_le(noted.next);
    }
}

fn take_entry(cursor: &mut Cursor<'_>) -> Option<(Key, Known, u64)> {
    let key = (cursor.u32()?, cursor.u64()?.cast_signed());
    let last_ms = cursor.u64()?;
    let (epoch, span) = (cursor.u16()?.cast_signed(), cursor.u32()?);
    let count = usize::from(cursor.u8()?);
    if key.1 < 0 || count > REMEMBERED {
        return None;
    }
    let mut batches = Vec::with_capacity(count);
    for _ in 0..count {
        batches.push(Noted {
            first: cursor.u32()?.cast_signed(),
            last: cursor.u32()?.cast_signed(),
            base: cursor.u64()?,
            next: cursor.u64()?,
        });
    }
    let known = Known::from_parts(epoch, span, batches.into_iter())?;
    Some((key, known, last_ms))
}
