//! How a log is kept, and what is appended to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhara_world::Clock;

use crate::{GroupOffset, Note, TopicPartition};

/// How a log is kept. The defaults suit both a laptop and a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The length of the journal's files.
    pub segment_bytes: u64,
    /// The length of the first of them; each is four times as long as the one before, up to
    /// [`Options::segment_bytes`].
    pub first_segment_bytes: u64,
    /// Full files of the journal are settled when they hold this much together: sorted by partition,
    /// so that each reads in long runs, and their space given back to the journal.
    pub settle_bytes: u64,
    /// The most that full files of the journal may hold before they are settled; beyond it appends
    /// wait for the settling.
    pub max_unsettled_bytes: u64,
    /// How much of what was written last is kept in memory for readers.
    pub tail_bytes: usize,
    /// How much memory the indexes of settled files may take.
    pub index_cache_bytes: usize,
    /// The most that one append may hold.
    pub max_append_bytes: usize,
    /// The most that may wait for a commit; beyond it appends are refused.
    pub max_queued_bytes: usize,
    /// How many idempotent producers are remembered, those that were seen last.
    pub max_producers: usize,
    /// How much memory the keys of one partition may take that conditional appends ask for, or that is
    /// compacted. A compaction keeps all records of the keys that do not fit.
    pub max_key_bytes: usize,
    /// How long a [`Append::lazy`] append may wait for company.
    pub lazy_delay: Duration,
    /// How long after the last commit a mark of it is written.
    pub mark_delay: Duration,
    /// How often it is looked whether records have expired.
    pub retention_interval: Duration,
    /// Tells the time for retention.
    pub clock: Clock,
    /// The number that a new log's checksums begin with; drawn at random where it is `None`.
    pub salt: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            first_segment_bytes: 4 << 20,
            settle_bytes: 128 << 20,
            max_unsettled_bytes: 256 << 20,
            tail_bytes: 8 << 20,
            index_cache_bytes: 8 << 20,
            max_append_bytes: 64 << 20,
            max_queued_bytes: 128 << 20,
            max_producers: crate::producers::DEFAULT_MOST,
            max_key_bytes: 64 << 20,
            lazy_delay: Duration::from_millis(10),
            mark_delay: Duration::from_millis(200),
            retention_interval: Duration::from_secs(10),
            clock: Clock::system(),
            salt: None,
        }
    }
}

/// What is appended: durable and visible together, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// Record batches, as encoded; each partition's go in the order they have here.
    pub batches: Vec<(TopicPartition, Bytes)>,
    /// Offsets that groups commit.
    pub offsets: Vec<GroupOffset>,
    /// Notes that change.
    pub notes: Vec<Note>,
    /// What must hold, or nothing is appended.
    pub conditions: Vec<Condition>,
    /// Whether this may wait for the next commit, or for [`Options::lazy_delay`], rather than ask
    /// for a commit of its own. Its ticket is still complete only when it is durable.
    pub lazy: bool,
}

/// What must hold when an append is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// The next record of the partition gets this offset.
    NextOffset(TopicPartition, u64),
    /// The last record of this key in the partition has this offset; `None`: there is none. All keys
    /// of a partition that such a condition was ever asked of are held in memory, up to
    /// [`Options::max_key_bytes`], and read from the log when it is first asked after an opening.
    LastOfKey {
        /// The partition.
        partition: TopicPartition,
        /// The key's bytes.
        key: Bytes,
        /// The offset of its last record.
        last: Option<u64>,
    },
    /// The note has this value; `None`: there is none.
    Note(Arc<str>, Option<Bytes>),
    /// The topic has this many partitions. Who picks partitions by the keys asks for it: keys move
    /// when partitions are added, and a batch that comes later belongs elsewhere.
    Partitions(Arc<str>, u32),
}

impl Append {
    /// One batch for one partition.
    pub fn batch(partition: TopicPartition, batch: Bytes) -> Self {
        Self { batches: vec![(partition, batch)], ..Self::default() }
    }

    /// Offsets of groups alone, which may wait a little for company.
    pub fn lazy_offsets(offsets: Vec<GroupOffset>) -> Self {
        Self { offsets, lazy: true, ..Self::default() }
    }

    /// Adds a condition.
    pub fn only_if(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }
}
