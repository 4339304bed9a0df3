//! One partition: what readers may see of it, and who waits for more.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use crate::config::SyncPolicy;
use crate::keys::{KeyOffsets, insert_keys};
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::watch::Watcher;
use crate::{LogError, RecordBatch};

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Frames of one partition that lie one after another, in the journal or in a settled file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The offset of the first record.
    pub(crate) offset: u64,
    /// The offset after the last.
    pub(crate) next: u64,
    /// Where the first frame lies: in the journal, or in its file.
    pub(crate) position: u64,
    /// The length of the frames, what fills them up included.
    pub(crate) bytes: u32,
    /// The greatest timestamp of the batches, in milliseconds.
    pub(crate) max_timestamp: i64,
}

impl Stretch {
    /// Where the last frame ends.
    pub(crate) fn end(&self) -> u64 {
        self.position.saturating_add(u64::from(self.bytes))
    }

    /// Takes `later` in, where it follows at once and both together are short of `most`.
    pub(crate) fn join(&mut self, later: &Self, most: u32) -> bool {
        let bytes = self.bytes.saturating_add(later.bytes);
        let follows = self.next == later.offset && self.end() == later.position && bytes <= most;
        if follows {
            self.next = later.next;
            self.bytes = bytes;
            self.max_timestamp = self.max_timestamp.max(later.max_timestamp);
        }
        follows
    }
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: u32,
    pub(crate) name: TopicPartition,
    /// The offset that the next record gets; only the committer changes it, under its lock.
    next: AtomicU64,
    /// How long a record may stay unsynced after its ack, in microseconds.
    sync: AtomicU64,
    /// Whether the topic is compacted, or was: offsets may be missing then without damage.
    compacted: AtomicBool,
    deleted: AtomicBool,
    /// How many partitions its topic has.
    siblings: AtomicU32,
    /// Whether `keys` holds something, to be asked without its lock.
    knows_keys: AtomicBool,
    keys: Mutex<Option<Keys>>,
    shown: Mutex<Shown>,
}

/// The last offset of each key of a partition that was ever appended to on the condition of one.
#[derive(Debug)]
struct Keys {
    seed: u64,
    offsets: KeyOffsets,
}

#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// The earliest offset that is kept.
    pub(crate) earliest: u64,
    /// The offset after the last visible record.
    pub(crate) end: u64,
    /// What no settled file holds yet, in order.
    pub(crate) stretches: VecDeque<Stretch>,
    pub(crate) watchers: Vec<Watcher>,
    /// The bytes that are kept, once somebody has counted them.
    pub(crate) bytes: Option<u64>,
    /// The greatest timestamp of the oldest records, and the offset after them, once looked up.
    pub(crate) oldest: Option<(i64, u64)>,
}

impl Shown {
    /// Adds what was written last.
    pub(crate) fn push(&mut self, stretch: Stretch, most: u32) {
        self.end = stretch.next;
        self.bytes = self.bytes.map(|bytes| bytes + u64::from(stretch.bytes));
        let joined = self.stretches.back_mut().is_some_and(|last| last.join(&stretch, most));
        if !joined {
            self.stretches.push_back(stretch);
        }
    }

    /// Takes the partition to begin at `earliest`.
    pub(crate) fn trim(&mut self, earliest: u64) {
        if earliest > self.earliest {
            self.earliest = earliest;
            self.oldest = None;
            self.bytes = None;
        }
    }
}

impl Partition {
    pub(crate) fn new(id: u32, name: TopicPartition) -> Self {
        Self {
            id,
            name,
            next: AtomicU64::new(0),
            sync: AtomicU64::new(0),
            compacted: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
            siblings: AtomicU32::new(0),
            knows_keys: AtomicBool::new(false),
            keys: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(crate) fn set_next(&self, next: u64) {
        self.next.store(next, Ordering::Relaxed);
    }

    /// How long a record may stay unsynced after its ack, in microseconds; 0 for not at all.
    pub(crate) fn sync_delay(&self) -> u64 {
        self.sync.load(Ordering::Relaxed)
    }

    pub(crate) fn set_sync(&self, policy: SyncPolicy) {
        self.sync.store(policy.as_micros(), Ordering::Relaxed);
    }

    pub(crate) fn is_compacted(&self) -> bool {
        self.compacted.load(Ordering::Relaxed)
    }

    pub(crate) fn set_compacted(&self) {
        self.compacted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    pub(crate) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    pub(crate) fn set_siblings(&self, count: u32) {
        self.siblings.store(count, Ordering::Relaxed);
    }

    /// Whether its topic has as many partitions as an append was made for.
    pub(crate) fn check_siblings(&self, expected: u32) -> Result<(), LogError> {
        if self.is_deleted() {
            return Err(LogError::Unknown { partition: self.name.clone() });
        }
        let actual = self.siblings.load(Ordering::Relaxed);
        if actual == expected {
            return Ok(());
        }
        Err(LogError::Repartitioned { topic: Arc::clone(&self.name.topic), expected, actual })
    }

    pub(crate) fn knows_keys(&self) -> bool {
        self.knows_keys.load(Ordering::Acquire)
    }

    /// From now on the last offset of each key is known, and kept up.
    pub(crate) fn set_keys(&self, seed: u64, offsets: KeyOffsets) {
        *lock(&self.keys) = Some(Keys { seed, offsets });
        self.knows_keys.store(true, Ordering::Release);
    }

    /// Notes the keys of a batch that is on its way to the end of the partition.
    pub(crate) fn note_keys(&self, batch: &RecordBatch, base: u64) {
        if !self.knows_keys() || batch.is_control() {
            return;
        }
        let mut keys = lock(&self.keys);
        let noted = keys.as_mut().map(|keys| {
            let shift = base.wrapping_sub(batch.base_offset());
            insert_keys(&mut keys.offsets, keys.seed, batch, shift)
        });
        if noted.is_some_and(|noted| noted.is_err()) {
            *keys = None;
            self.knows_keys.store(false, Ordering::Release);
        }
    }

    /// The keys are to be learned anew: some were noted that were not written after all.
    pub(crate) fn forget_keys(&self) {
        if self.knows_keys.swap(false, Ordering::AcqRel) {
            *lock(&self.keys) = None;
        }
    }

    /// Whether the last record of a key has this offset.
    pub(crate) fn check_key(&self, key: u128, expected: Option<u64>) -> Result<(), LogError> {
        let earliest = self.shown().earliest;
        let keys = lock(&self.keys);
        let Some(keys) = keys.as_ref() else {
            return Err(LogError::invalid(format!(
                "{}: its keys are no longer known, as they were too many or a write failed; append \
                 again, with a higher bound for keys where it happens again",
                self.name
            )));
        };
        let actual = keys.offsets.get(key).filter(|offset| *offset >= earliest);
        if actual == expected {
            return Ok(());
        }
        Err(LogError::KeyConflict { partition: self.name.clone(), expected, actual })
    }

    pub(crate) fn shown(&self) -> MutexGuard<'_, Shown> {
        lock(&self.shown)
    }

    /// Takes over ends as recovery finds them; they only rise.
    pub(crate) fn recover(&self, earliest: u64, end: u64) {
        let mut shown = self.shown();
        shown.earliest = shown.earliest.max(earliest);
        shown.end = shown.end.max(end).max(shown.earliest);
        self.set_next(shown.end);
    }
}
