//! All settled files that a log has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Class, SettledFile};
use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// All settled files: those of each class in order, so that the offsets of a partition rise from
/// one to the next.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    plain: Vec<Arc<Held>>,
    compact: Vec<Arc<Held>>,
}

/// A settled file in use.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) file: SettledFile,
    /// The bytes of frames that nobody can read any more.
    dead: AtomicU64,
    /// How many of them each partition has, at the beginning of its run.
    dead_of: Mutex<BTreeMap<u32, u64>>,
    /// When a compaction would find something more to remove, in milliseconds since 1970, though
    /// nothing was added: `i64::MAX` for never.
    again_at: AtomicI64,
}

impl Held {
    pub(crate) fn new(file: SettledFile) -> Self {
        // What was just settled has never been compacted.
        let again_at = AtomicI64::new(i64::MIN);
        Self { file, dead: AtomicU64::new(0), dead_of: Mutex::default(), again_at }
    }

    pub(crate) fn dead(&self) -> u64 {
        self.dead.load(Ordering::Relaxed)
    }

    /// The bytes of frames that somebody may read.
    pub(crate) fn alive(&self) -> u64 {
        self.file.frame_bytes.saturating_sub(self.dead())
    }

    /// The first `bytes` of a partition's run are dead. The same bytes may be found dead more than
    /// once, by a trim and by the look after an opening, and count once: a file is removed when the
    /// count says that nothing of it is alive.
    pub(crate) fn set_dead(&self, partition: u32, bytes: u64) {
        let mut dead_of = lock(&self.dead_of);
        let known = dead_of.entry(partition).or_default();
        self.dead.fetch_add(bytes.saturating_sub(*known), Ordering::Relaxed);
        *known = bytes.max(*known);
    }

    pub(crate) fn again_at(&self) -> i64 {
        self.again_at.load(Ordering::Relaxed)
    }

    pub(crate) fn set_again_at(&self, time: i64) {
        self.again_at.store(time, Ordering::Relaxed);
    }
}

impl Settled {
    pub(crate) fn new(files: impl IntoIterator<Item = Held>) -> Self {
        let mut settled = Self { plain: Vec::new(), compact: Vec::new() };
        for held in files {
            settled.files_mut(held.file.class).push(Arc::new(held));
        }
        settled
    }

    /// The files of a class, in order.
    pub(crate) fn files(&self, class: Class) -> &[Arc<Held>] {
        match class {
            Class::Plain => &self.plain,
            Class::Compact => &self.compact,
        }
    }

    fn files_mut(&mut self, class: Class) -> &mut Vec<Arc<Held>> {
        match class {
            Class::Plain => &mut self.plain,
            Class::Compact => &mut self.compact,
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.plain.iter().chain(&self.compact)
    }

    /// With new files after those that are there.
    pub(crate) fn with(&self, files: &[SettledFile]) -> Self {
        let mut settled = self.clone();
        for file in files {
            settled.files_mut(file.class).push(Arc::new(Held::new(*file)));
        }
        settled
    }

    /// With `new`, or nothing, in the place of `old`, which lie one after another in their class.
    pub(crate) fn replaced(&self, old: &[Arc<Held>], new: Option<Held>) -> Self {
        let mut settled = self.clone();
        let Some(first) = old.first() else { return settled };
        let files = settled.files_mut(first.file.class);
        let at = files.iter().position(|held| Arc::ptr_eq(held, first)).unwrap_or(files.len());
        files.retain(|held| !old.iter().any(|gone| Arc::ptr_eq(gone, held)));
        let at = at.min(files.len());
        files.splice(at..at, new.map(Arc::new));
        settled
    }

    /// The file before this one in its class.
    pub(crate) fn before(&self, file: &SettledFile) -> Option<&Arc<Held>> {
        let files = self.files(file.class);
        let at = files.iter().position(|held| held.file.number == file.number)?;
        files.get(at.checked_sub(1)?)
    }
}
