//! Appends to a log on a disk that does nothing, for counting instructions:
//! `valgrind --tool=callgrind target/release/examples/append_path ROUNDS`.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dhara_log::batch::BatchBuilder;
use dhara_log::{Append, Log, Options, TopicPartition};
use dhara_world::disk::{Disk, File, Lock, OpenMode};

/// A disk that forgets all but the first bytes of a file, which are the header of a segment.
#[derive(Clone, Debug, Default)]
struct Forgetful {
    files: Arc<Mutex<BTreeMap<PathBuf, Head>>>,
}

/// The first bytes of a file.
#[derive(Clone, Debug, Default)]
struct Head(Arc<Mutex<Vec<u8>>>);

const HEAD: usize = 1024;
const LENGTH: u64 = 1 << 20;

impl Disk for Forgetful {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut files = self.files.lock().unwrap();
        if matches!(mode, OpenMode::Existing | OpenMode::ReadOnly) && !files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(files.entry(path.to_owned()).or_default().clone()))
    }
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock().unwrap();
        Ok(files.keys().map(|path| path.file_name().unwrap().to_string_lossy().into()).collect())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let head = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), head);
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().unwrap().remove(path);
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn lock(&self, _: &Path) -> io::Result<Box<dyn Lock>> {
        Ok(Box::new(Held))
    }
}

#[derive(Debug)]
struct Held;

impl Lock for Held {}

impl File for Head {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let count = (LENGTH.saturating_sub(position) as usize).min(buffer.len());
        buffer.fill(0);
        if position == 0 {
            let head = self.0.lock().unwrap();
            buffer.iter_mut().zip(head.iter()).for_each(|(to, from)| *to = *from);
        }
        Ok(count)
    }
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        if position == 0 {
            *self.0.lock().unwrap() = bytes.iter().take(HEAD).copied().collect();
        }
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn punch(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(LENGTH)
    }
}

fn main() {
    let rounds: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let bytes = 1 << 40;
    let options = Options {
        first_segment_bytes: LENGTH,
        segment_bytes: 64 << 20,
        settle_bytes: bytes,
        max_unsettled_bytes: bytes,
        ..Options::default()
    };
    let log = Log::open(Arc::new(Forgetful::default()), "/log", options).unwrap();
    log.create_topic("one", 4).unwrap();
    let partition = TopicPartition::new("one", 1);
    let mut builder = BatchBuilder::new();
    builder.push(0, None, Some(&[b'x'; 180]), []).unwrap();
    let bytes = builder.finish();
    for _ in 0..rounds {
        let tickets: Vec<_> = (0..1000)
            .map(|_| log.append(Append::batch(partition.clone(), bytes.clone())))
            .collect();
        log.commit_step();
        tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
    }
}
