//! The log as its users see it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhara_world::Disk;

use crate::commit::{Prepared, Work};
use crate::groups::{Committed, GroupOffset, Position};
use crate::read::{Bounds, Fetched};
use crate::shared::Shared;
use crate::sync::{lock, read};
use crate::topics::check_topic_name;
use crate::{
    LogError, MAX_PARTITIONS, OpenReport, RecordBatch, Ticket, TopicInfo, TopicPartition, Watch,
};

/// A log that is open. Cloning is cheap, and a clone is the same log.
#[derive(Clone, Debug)]
pub struct Log {
    pub(crate) shared: Arc<Shared>,
}

/// How a log is kept. The defaults suit both a laptop and a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The length of the journal's files.
    pub segment_bytes: u64,
    /// The length of the first of them; each is four times as long as the one before, up to
    /// [`Options::segment_bytes`].
    pub first_segment_bytes: u64,
    /// How much of what was written last is kept in memory for readers.
    pub tail_bytes: usize,
    /// How much memory the indexes of old segments may take.
    pub index_cache_bytes: usize,
    /// The most that one append may hold.
    pub max_append_bytes: usize,
    /// The most that may wait for a commit; beyond it appends are refused.
    pub max_queued_bytes: usize,
    /// How long a [`Append::lazy`] append may wait for company.
    pub lazy_delay: Duration,
    /// How long after the last commit a mark of it is written.
    pub mark_delay: Duration,
    /// The number that a new log's checksums begin with; drawn at random where it is `None`.
    pub salt: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            first_segment_bytes: 4 << 20,
            tail_bytes: 8 << 20,
            index_cache_bytes: 8 << 20,
            max_append_bytes: 64 << 20,
            max_queued_bytes: 128 << 20,
            lazy_delay: Duration::from_millis(10),
            mark_delay: Duration::from_millis(200),
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

impl Log {
    /// Opens the log in the folder `dir`, which is made where it is missing.
    ///
    /// Nothing is committed until somebody calls [`Log::commit_step`]; a [`crate::Committer`] does.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: impl AsRef<Path>,
        options: Options,
    ) -> Result<Self, LogError> {
        let shared = crate::open::open(disk, dir.as_ref(), options)?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What was found when the log was opened: a torn tail that was cut, damage.
    pub fn report(&self) -> &OpenReport {
        &self.shared.report
    }

    /// Tells this log from every other: it was chosen at random when the log was made.
    pub fn id(&self) -> u64 {
        lock(&self.shared.journal).salt
    }

    /// Counts the openings of this log: it is higher each time.
    pub fn epoch(&self) -> u32 {
        lock(&self.shared.journal).epoch
    }

    /// Makes sure that a topic exists, durably, and gives it. One that exists keeps the partitions
    /// it has. Blocks for as long as a commit takes.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<TopicInfo, LogError> {
        check_topic_name(name)?;
        if partitions == 0 || partitions > MAX_PARTITIONS {
            return Err(LogError::invalid(format!(
                "topic {name}: {partitions} partitions; a topic has 1 to {MAX_PARTITIONS}"
            )));
        }
        if let Some(info) = self.topic(name) {
            return Ok(info);
        }
        let work = Work::Create { name: Arc::from(name), partitions };
        let ticket = self.shared.enqueue(work, crate::frame::span(16 + name.len()), false);
        // Whoever takes it from the queue commits it, this thread or the committer's.
        self.commit_step();
        ticket.wait()?;
        self.topic(name).ok_or_else(|| LogError::invalid(format!("topic {name} was deleted")))
    }

    /// The topic `name`, where it exists.
    pub fn topic(&self, name: &str) -> Option<TopicInfo> {
        let topics = read(&self.shared.topics);
        let topic = topics.topic(name)?;
        let partition = topic.partitions.first()?;
        let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        Some(TopicInfo { name: Arc::clone(&partition.name.topic), partitions })
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<TopicInfo> {
        read(&self.shared.topics).infos().collect()
    }

    /// Queues `append`. What is wrong with it at first sight is in the ticket at once.
    pub fn append(&self, append: Append) -> Ticket {
        let is_lazy = append.lazy;
        match self.prepare(append) {
            Ok(prepared) => {
                let span = prepared.span();
                self.shared.enqueue(Work::Append(prepared), span, is_lazy)
            }
            Err(error) => Ticket::failed(error),
        }
    }

    fn prepare(&self, append: Append) -> Result<Prepared, LogError> {
        let bytes = append.batches.iter().map(|(_, batch)| batch.len()).sum::<usize>();
        if bytes > self.shared.options.max_append_bytes {
            return Err(LogError::invalid(format!(
                "append of {bytes} bytes: the most that is taken at a time is {}",
                self.shared.options.max_append_bytes
            )));
        }
        let topics = read(&self.shared.topics);
        let mut batches = Vec::with_capacity(append.batches.len());
        for (name, bytes) in append.batches {
            let partition = Arc::clone(topics.find(&name)?);
            batches.push((partition, RecordBatch::parse(bytes)?));
        }
        let mut offsets = Vec::with_capacity(append.offsets.len());
        for offset in append.offsets {
            offset.check()?;
            let partition = topics.find(&offset.partition)?.id;
            let committed = Committed { offset: offset.offset, metadata: offset.metadata };
            offsets.push(Position { group: offset.group, partition, committed });
        }
        let mut conditions = Vec::with_capacity(append.conditions.len());
        for Condition::NextOffset(name, expected) in append.conditions {
            conditions.push((Arc::clone(topics.find(&name)?), expected));
        }
        Ok(Prepared { batches, offsets, conditions })
    }

    /// Reads whole batches from the one that holds `offset` on: about `max_bytes` of them, but one
    /// at least. Nothing is given at the end; see [`Log::watch`].
    pub fn read(
        &self,
        partition: &TopicPartition,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Fetched, LogError> {
        self.shared.read(partition, offset, max_bytes)
    }

    /// The earliest offset of a partition, and the end of what is visible.
    pub fn bounds(&self, partition: &TopicPartition) -> Result<Bounds, LogError> {
        self.shared.bounds(partition)
    }

    /// Watches these partitions for new records.
    pub fn watch(&self, partitions: &[TopicPartition]) -> Result<Watch, LogError> {
        let found: Result<Vec<_>, _> = {
            let topics = read(&self.shared.topics);
            partitions.iter().map(|name| topics.find(name).cloned()).collect()
        };
        let mut watches = lock(&self.shared.watches);
        let watch = Watch::new(found?, self.ended());
        watches.retain(|watch| !watch.is_gone());
        watches.push(watch.waker());
        Ok(watch)
    }

    /// What `group` committed for a partition.
    pub fn committed(&self, group: &str, partition: &TopicPartition) -> Option<Committed> {
        let _visible = read(&self.shared.tail);
        let id = read(&self.shared.topics).find(partition).ok()?.id;
        read(&self.shared.groups).get(group, id).cloned()
    }

    /// All that `group` committed.
    pub fn committed_all(&self, group: &str) -> Vec<(TopicPartition, Committed)> {
        let _visible = read(&self.shared.tail);
        let topics = read(&self.shared.topics);
        let groups = read(&self.shared.groups);
        let named = |(id, committed): (u32, &Committed)| {
            Some((topics.by_id(id)?.name.clone(), committed.clone()))
        };
        groups.of(group).filter_map(named).collect()
    }

    /// The names of all groups that ever committed.
    pub fn groups(&self) -> Vec<Arc<str>> {
        read(&self.shared.groups).names().cloned().collect()
    }

    /// Commits all that waits, on this thread: gathers, writes, syncs once, completes the tickets.
    /// Gives how many appends that were.
    pub fn commit_step(&self) -> usize {
        self.shared.commit_step()
    }

    /// Does one piece of the work beside the commits: a segment made ahead, an index written.
    /// `false` where there was nothing to do.
    pub fn housekeep_step(&self) -> Result<bool, LogError> {
        self.shared.housekeep_step()
    }

    /// Writes a mark that all was synced, where nothing followed the last commit. Recovery can tell
    /// damage in that commit from a torn tail then.
    pub fn mark_step(&self) {
        self.shared.mark_step();
    }

    /// Why the log takes no more appends; `None` while it does.
    pub fn failure(&self) -> Option<LogError> {
        self.shared.failure()
    }

    /// Takes no more appends, commits what waits, seals the journal and gives the folder free. What
    /// is read stays readable.
    pub fn close(&self) -> Result<(), LogError> {
        let was_closed = std::mem::replace(&mut lock(&self.shared.queue).is_closed, true);
        if !was_closed {
            self.shared.commit_step();
            self.shared.seal_step();
            self.shared.end_watches(&LogError::Closed);
            self.shared.stop_house();
            lock(&self.shared.lock).take();
        }
        self.failure().map_or(Ok(()), Err)
    }

    fn ended(&self) -> Option<LogError> {
        let is_closed = lock(&self.shared.queue).is_closed;
        self.failure().or(is_closed.then_some(LogError::Closed))
    }
}
