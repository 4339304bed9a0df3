//! What the log reports of itself.

use std::sync::Arc;

use crate::SyncPolicy;
use crate::shared::Shared;
use crate::sync::{lock, read};

/// How the log stands. Sizes are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many topics there are.
    pub topics: usize,
    /// How many partitions there are.
    pub partitions: usize,
    /// Full files of the journal that are not settled.
    pub unsettled_bytes: u64,
    /// All files of the journal, those that wait to be used again included.
    pub journal_bytes: u64,
    /// How many settled files there are.
    pub settled_files: usize,
    /// The frames in settled files that somebody may read.
    pub settled_bytes: u64,
    /// What waits for a commit.
    pub queued_bytes: usize,
    /// How many groups have committed an offset.
    pub groups: usize,
    /// How many pairs of partition and idempotent producer are remembered.
    pub producers: usize,
    /// The topics whose acks promise less than that the records are synced.
    pub weaker: Vec<(Arc<str>, SyncPolicy)>,
    /// How many times the journal was synced since the log was opened.
    pub syncs: u64,
}

impl Shared {
    pub(crate) fn stats(&self) -> Stats {
        let free: u64 = lock(&self.house).free.iter().map(|(_, length)| length).sum();
        let used: u64 = read(&self.segments).iter().map(|segment| segment.length).sum();
        let settled = Arc::clone(&read(&self.settled));
        let topics = read(&self.topics);
        let weaker = topics.all().filter(|it| it.record.config.sync != SyncPolicy::EveryAck);
        Stats {
            topics: topics.all().count(),
            partitions: topics.count(),
            unsettled_bytes: self.sealed_bytes(),
            journal_bytes: used + free,
            settled_files: settled.all().count(),
            settled_bytes: settled.all().map(|held| held.alive()).sum(),
            queued_bytes: lock(&self.queue).bytes,
            groups: read(&self.groups).names().count(),
            producers: read(&self.producers).iter().count(),
            weaker: weaker
                .map(|topic| (Arc::clone(&topic.record.name), topic.record.config.sync))
                .collect(),
            syncs: self.syncs.load(crate::sync::atomic::Ordering::Relaxed),
        }
    }
}
