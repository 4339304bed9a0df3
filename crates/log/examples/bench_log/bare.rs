//! What the disk does by itself: the same write and fdatasync in a loop, on a zeroed file.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

const ZEROS: usize = 4 << 20;

/// A zeroed file, written from its beginning to its end, and again.
pub(crate) struct Bare {
    file: File,
    length: u64,
    at: u64,
}

impl Bare {
    pub(crate) fn make(path: &Path, length: u64) -> Bare {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = OpenOptions::new().create_new(true).write(true).open(path).unwrap();
        let mut at = 0;
        while at < length {
            let zeros = ZEROS.min((length - at) as usize);
            file.write_all_at(&vec![0; zeros], at).unwrap();
            at += zeros as u64;
        }
        file.sync_all().unwrap();
        Bare { file, length, at: 0 }
    }

    /// Writes `bytes` and syncs them, `times` times; gives how long all of it took.
    pub(crate) fn write(&mut self, bytes: &[u8], times: u64) -> Duration {
        let began = Instant::now();
        for _ in 0..times {
            if self.at + bytes.len() as u64 > self.length {
                self.at = 0;
            }
            self.file.write_all_at(bytes, self.at).unwrap();
            self.file.sync_data().unwrap();
            self.at += bytes.len() as u64;
        }
        began.elapsed()
    }
}
