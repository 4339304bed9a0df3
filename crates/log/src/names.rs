//! A disk that never syncs a folder again after that failed: the system may believe by then that all
//! of it is durable.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use dhara_world::disk::{Disk, File, Lock, OpenMode};

use crate::commit::is_out_of_files;

/// The disk of one log, with one folder.
#[derive(Debug)]
pub(crate) struct SyncedOnce {
    disk: Arc<dyn Disk>,
    failed: OnceLock<String>,
}

impl SyncedOnce {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, failed: OnceLock::new() }
    }

    /// What failed, once it has.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }
}

impl Disk for SyncedOnce {
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if let Some(failed) = self.failed.get() {
            return Err(io::Error::other(failed.clone()));
        }
        self.disk.sync_dir(dir).inspect_err(|error| {
            // A folder that could not be opened was not synced.
            if !is_out_of_files(error) {
                let what = format!("syncing the folder {} failed: {error}", dir.display());
                self.failed.get_or_init(|| what);
            }
        })
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.disk.open(path, mode)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
}
