//! Looks at a log without changing it: what it holds, how its files lie, whether they are as they
//! were written, and what a repair would do.

mod frames;
mod gaps;
mod repair;
mod settled;
mod sizes;
mod verify;
mod window;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dhara_world::Disk;

pub use frames::{FrameInfo, Piece, frames};
pub use sizes::{Sizes, TopicSize};
pub use verify::{Finding, FindingKind};

use crate::journal::Journal;
use crate::look::{Found, look, take_lock};
use crate::open::assemble;
use crate::segment::{Folder, number_of};
use crate::shared::Shared;
use crate::sync::{lock, read};
use crate::torn::Torn;
use crate::{
    Bounds, Committed, Fetched, Log, LogError, OpenReport, Options, Stats, TopicInfo,
    TopicPartition,
};

/// A log that is looked at. Nothing of its folder is changed: no epoch begins, nothing is cut, no
/// file is made.
///
/// The folder stays locked for as long as this value lives, so that no process opens the log
/// meanwhile. A folder without the file `lock`, which every log in use has, is not locked.
#[derive(Debug)]
pub struct Inspection {
    log: Log,
    torn: Vec<Torn>,
}

impl Inspection {
    /// Looks at the log in the folder `dir`.
    pub fn open(disk: Arc<dyn Disk>, dir: impl AsRef<Path>) -> Result<Self, LogError> {
        let dir = dir.as_ref();
        let (folder, lock) = claim(disk, dir)?;
        // What is written back by a repair must not have been shortened on the way.
        let options = Options { max_producers: usize::MAX, tail_bytes: 0, ..Options::default() };
        let Some(mut found) = look(&folder, &options)? else { return Err(not_a_log(dir)) };
        let torn = std::mem::take(&mut found.recovered.torn);
        let journal = end_of(&folder, &found)?;
        let shared = assemble(folder, found, journal, lock, options)?;
        crate::sync::lock(&shared.queue).is_closed = true;
        Ok(Self { log: Log { shared }, torn })
    }

    fn shared(&self) -> &Shared {
        &self.log.shared
    }

    /// What is damaged in the journal, and which files are missing. [`Inspection::verify`] looks at
    /// everything.
    pub fn report(&self) -> &OpenReport {
        self.log.report()
    }

    /// How many bytes the next opening will cut, as they are not a whole commit.
    pub fn torn_bytes(&self) -> u64 {
        self.torn.iter().map(|torn| torn.length).sum()
    }

    /// The epoch of the last opening.
    pub fn epoch(&self) -> u32 {
        self.log.epoch()
    }

    /// As [`Log::id`].
    pub fn id(&self) -> u64 {
        self.log.id()
    }

    /// As [`Log::stats`].
    pub fn stats(&self) -> Stats {
        self.log.stats()
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<TopicInfo> {
        self.log.topics()
    }

    /// As [`Log::bounds`].
    pub fn bounds(&self, partition: &TopicPartition) -> Result<Bounds, LogError> {
        self.log.bounds(partition)
    }

    /// As [`Log::read`].
    pub fn read(
        &self,
        partition: &TopicPartition,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Fetched, LogError> {
        self.log.read(partition, offset, max_bytes)
    }

    /// The names of all groups that have committed something.
    pub fn groups(&self) -> Vec<Arc<str>> {
        self.log.groups()
    }

    /// All that `group` committed.
    pub fn committed_all(&self, group: &str) -> Vec<(TopicPartition, Committed)> {
        self.log.committed_all(group)
    }

    /// The notes whose names begin with `prefix`, by name.
    pub fn notes(&self, prefix: &str) -> Vec<(Arc<str>, Bytes)> {
        self.log.notes(prefix)
    }
}

/// What holds the lock of a folder; nothing where the folder has no file for it.
type Claim = Option<Box<dyn dhara_world::disk::Lock>>;

/// The folder, to be looked at, and its lock where it has one.
fn claim(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Folder, Claim), LogError> {
    let folder = Folder::read_only(disk, dir.to_owned());
    let names = match folder.names() {
        Err(LogError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(LogError::invalid(format!(
                "{}: there is no such folder; give the folder that the log was opened in",
                dir.display()
            )));
        }
        names => names?,
    };
    let kinds = ["journal", "settled", "state", "state-copy"];
    let is_ours = |name: &String| kinds.iter().any(|kind| number_of(name, kind).is_some());
    if !names.iter().any(is_ours) {
        return Err(not_a_log(dir));
    }
    let has_lock = names.iter().any(|name| name == "lock");
    let lock = has_lock.then(|| take_lock(folder.disk.as_ref(), dir)).transpose()?;
    Ok((folder, lock))
}

fn not_a_log(dir: &Path) -> LogError {
    LogError::invalid(format!(
        "{}: this folder holds no log; give the folder that the log was opened in",
        dir.display()
    ))
}

/// Where the journal ends. Nothing is ever written there.
fn end_of(folder: &Folder, found: &Found) -> Result<Journal, LogError> {
    let recovered = &found.recovered;
    let Some(segment) = found.segments.last().copied() else { return Err(not_a_log(&folder.dir)) };
    Ok(Journal {
        segment,
        file: folder.segment(segment.number)?,
        at: recovered.end.at as u64,
        next_sequence: recovered.expected,
        durable: recovered.expected,
        is_dirty: false,
        jump_from: None,
        epoch: recovered.epoch,
        salt: recovered.salt,
        pool: Vec::new(),
        syncs: Arc::default(),
    })
}

impl Shared {
    /// The earliest offset of a partition; the greatest there is where its topic was deleted.
    fn earliest_of(&self, partition: u32) -> u64 {
        let found = read(&self.topics).by_id(partition).cloned();
        found.map_or(u64::MAX, |partition| partition.shown().earliest)
    }

    /// The byte of the segment's file at which the journal ends, where it ends in that segment.
    fn end_in(&self, number: u64) -> Option<u64> {
        let journal = lock(&self.journal);
        (journal.segment.number == number).then_some(journal.at)
    }
}
