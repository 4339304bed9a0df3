//! The operating system's file system.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{Disk, File, Lock, OpenMode};

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let is_missing = |it: &&Path| !it.as_os_str().is_empty() && !it.is_dir();
        let missing: Vec<&Path> = dir.ancestors().take_while(is_missing).collect();
        fs::create_dir_all(dir)?;
        // Each of them is an entry of the folder above it, which may be the working directory.
        missing.into_iter().rev().try_for_each(|made| match made.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent),
            _ => self.sync_dir(Path::new(".")),
        })
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(mode != OpenMode::ReadOnly)
            .create(mode == OpenMode::OrCreate)
            .create_new(mode == OpenMode::New)
            .truncate(false)
            .open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let opened =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = match opened {
            Err(error) if is_forbidden(&error) => fs::File::open(path).map_err(|_| error)?,
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock(file))),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Whether a file may be read perhaps, but not written.
fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, length)?;
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn punch(&self, position: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.0, flags, position, length).map_err(|errno| match errno {
            Errno::OPNOTSUPP | Errno::NOSYS => io::ErrorKind::Unsupported.into(),
            other => other.into(),
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// The lock lives as long as the open file: the kernel gives it back when the file is closed.
#[derive(Debug)]
struct RealLock(fs::File);

impl Lock for RealLock {}

impl Drop for RealLock {
    /// A child that is being started just now has a copy of every open file until it runs its
    /// program, and the lock would live as long as that copy: it is given back in so many words.
    fn drop(&mut self) {
        // Closing the file gives it back too, if later.
        drop(self.0.unlock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    #[test]
    fn a_file_that_is_opened_to_be_read_is_not_made_and_not_written() {
        let name = format!("dhara-world-read-only-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        for disk in [Arc::new(RealDisk) as Arc<dyn Disk>, Arc::new(SimDisk::new())] {
            let error = disk.open(&path, OpenMode::ReadOnly).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            disk.open(&path, OpenMode::New).unwrap().write_all_at(b"as it was", 0).unwrap();
            let file = disk.open(&path, OpenMode::ReadOnly).unwrap();
            assert!(file.write_all_at(b"!", 0).is_err() && file.set_len(0).is_err());
            let mut bytes = [0; 9];
            assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 9);
            assert_eq!(&bytes, b"as it was");
            disk.remove(&path).unwrap();
        }
    }
}
