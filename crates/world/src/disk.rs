//! The disk: a small trait, so that tests can drop unsynced writes, tear them, fill the disk and
//! fail the nth call.

mod real;
pub mod sim;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;
pub use sim::SimDisk;

/// A file system, as far as Dhara needs one.
///
/// What was written is durable only after [`File::sync_data`]; a file that was created, renamed or
/// removed stays so across a power cut only after [`Disk::sync_dir`] of its folder.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates `dir` and every folder above it that is missing, durably.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Opens `path` for reading and, but for [`OpenMode::ReadOnly`], writing.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// The names of the files in `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Renames a file; `to` is replaced where it exists.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock that `path` stands for, without waiting; an error of kind
    /// [`io::ErrorKind::WouldBlock`] when another process (or another holder in this one) has it.
    /// It is given back when the value is dropped or the process ends. A file that this process may
    /// only read is locked nevertheless.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
}

/// A file that is open for reading and writing at any position, from many threads.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads at most `buffer.len()` bytes from `position`; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `position`. After an error any part of them may have been written.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Makes what was written durable, with the length that it gave the file.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves space up to `length` and makes that the file's length; what is new reads as zero.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Cuts or extends the file to `length`.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Gives back the space of `length` bytes at `position`, which read as zeros from then on; the
    /// file keeps its length. An error of kind [`io::ErrorKind::Unsupported`] where the file system
    /// knows no holes. Only whole blocks of the file system are given back.
    fn punch(&self, position: u64, length: u64) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A lock that is held for as long as this value lives.
pub trait Lock: Send + Sync + fmt::Debug {}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist, and is not written.
    ReadOnly,
    /// It must exist.
    Existing,
    /// It is created where it is missing.
    OrCreate,
    /// It must not exist.
    New,
}
