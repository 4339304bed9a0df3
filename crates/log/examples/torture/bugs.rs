//! Bugs on purpose: a check that cannot fail proves nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use dhara_world::Disk;
use dhara_world::disk::{File, Lock, OpenMode, RealDisk};

/// A bug that the check has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// An append is acked before it was written.
    EarlyAck,
    /// Files are never synced, though the log believes so.
    NoSync,
    /// Names are never synced.
    NoDirSync,
}

impl Bug {
    pub(crate) fn named(name: &str) -> Option<Bug> {
        match name {
            "early-ack" => Some(Bug::EarlyAck),
            "no-sync" => Some(Bug::NoSync),
            "no-dir-sync" => Some(Bug::NoDirSync),
            _ => None,
        }
    }
}

/// The system's disk, or one that lies.
pub(crate) fn disk(bug: Option<Bug>) -> Arc<dyn Disk> {
    match bug {
        Some(bug) => Arc::new(Liar(bug)),
        None => Arc::new(RealDisk),
    }
}

#[derive(Debug)]
struct Liar(Bug);

#[derive(Debug)]
struct LyingFile(Arc<dyn File>);

impl Disk for Liar {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = RealDisk.open(path, mode)?;
        Ok(if self.0 == Bug::NoSync { Arc::new(LyingFile(file)) } else { file })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if self.0 == Bug::NoDirSync { Ok(()) } else { RealDisk.sync_dir(dir) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        RealDisk.lock(path)
    }
}

impl File for LyingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.0.allocate(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn punch(&self, position: u64, length: u64) -> io::Result<()> {
        self.0.punch(position, length)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}
