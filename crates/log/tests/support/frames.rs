//! The frames in a file of a log, found by the rules of `FORMAT.md` alone.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A frame with a good header, wherever it lies: it may be left from an earlier use of its file.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) file: PathBuf,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) kind: u8,
    pub(crate) sequence: u64,
    pub(crate) partition: u32,
    pub(crate) base: u64,
    pub(crate) next: u64,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes.get(at..at + 8).unwrap().try_into().unwrap())
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes.get(at..at + 4).unwrap().try_into().unwrap())
}

/// All frames in journal and settled files.
pub(crate) fn frames(contents: &BTreeMap<PathBuf, Vec<u8>>, salt: u64) -> Vec<Frame> {
    let mut found = Vec::new();
    for (file, bytes) in contents {
        let kind = file.extension().unwrap_or_default();
        if kind != "journal" && kind != "settled" {
            continue;
        }
        for (at, head) in (0..).step_by(8).zip(bytes.windows(56).step_by(8)) {
            let crc = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &head[4..]);
            if at < 1024 || half(head, 0) != crc {
                continue;
            }
            let length = (56 + u64::from(half(head, 8))).next_multiple_of(8);
            let (base, count) = (word(head, 32), half(head, 44));
            found.push(Frame {
                file: file.clone(),
                from: at,
                to: at + length,
                kind: head[12],
                sequence: word(head, 16),
                partition: half(head, 40),
                base,
                next: base.saturating_add(u64::from(count)),
            });
        }
    }
    found
}
