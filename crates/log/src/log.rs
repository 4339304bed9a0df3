//! The log as its users see it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dhara_world::Disk;

use crate::change::{NewTopic, TopicChange};
use crate::commit::Work;
use crate::groups::Committed;
use crate::read::{Bounds, Fetched};
use crate::shared::Shared;
use crate::stats::Stats;
use crate::sync::atomic::Ordering;
use crate::sync::{lock, read};
use crate::{
    Append, Damage, LogError, OpenReport, Options, Ticket, TopicConfig, TopicInfo, TopicPartition,
    Watch,
};

/// A log that is open. Cloning is cheap, and a clone is the same log.
#[derive(Clone)]
pub struct Log {
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Log {
    /// Says which log it is, and nothing of what it holds: not the records, nor the secret under which
    /// it hashes keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dir", &self.shared.folder.dir).finish_non_exhaustive()
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
        Ok(Self { shared })
    }

    /// What was found when the log was opened: a torn tail that was cut, damage.
    pub fn report(&self) -> &OpenReport {
        &self.shared.report
    }

    /// What was found damaged since then, by whoever read it.
    pub fn damage(&self) -> Vec<Damage> {
        lock(&self.shared.damage).clone()
    }

    /// How the log stands.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Tells this log from every other: it follows from a number that was drawn when the log was made.
    pub fn id(&self) -> u64 {
        read(&self.shared.topics).log_id()
    }

    /// Counts the openings of this log: it is higher each time.
    pub fn epoch(&self) -> u32 {
        self.shared.epoch
    }

    /// Makes sure that a topic exists, durably, and gives it. One that exists stays as it is. Blocks
    /// for as long as a commit takes, as all changes of topics do.
    pub fn create_topic(&self, name: &str, partitions: u32) -> Result<TopicInfo, LogError> {
        if let Some(info) = self.topic(name) {
            return Ok(info);
        }
        match self.new_topic(NewTopic::new(name, partitions)) {
            Err(LogError::Exists { .. }) => self.found(name),
            made => made,
        }
    }

    /// Makes a topic, or gives [`LogError::Exists`].
    pub fn new_topic(&self, topic: NewTopic) -> Result<TopicInfo, LogError> {
        let name = Arc::clone(&topic.name);
        self.change(TopicChange::Create(topic))?;
        self.found(&name)
    }

    /// Deletes a topic with all its records, committed offsets and aliases. The space comes back
    /// with the next housekeeping; that of records in the journal when it is settled.
    pub fn delete_topic(&self, name: &str) -> Result<(), LogError> {
        self.change(TopicChange::Delete { name: name.into() })
    }

    /// Gives a topic more partitions: `partitions` in all. Keys may lie in others from then on; see
    /// [`TopicInfo::growths`].
    pub fn add_partitions(&self, name: &str, partitions: u32) -> Result<TopicInfo, LogError> {
        self.change(TopicChange::Grow { name: name.into(), partitions })?;
        self.found(name)
    }

    /// Changes how a topic is kept.
    pub fn configure_topic(&self, name: &str, config: TopicConfig) -> Result<TopicInfo, LogError> {
        self.change(TopicChange::Configure { name: name.into(), config })?;
        self.found(name)
    }

    /// Sets the other names that a topic has.
    pub fn set_aliases(&self, name: &str, aliases: &[&str]) -> Result<TopicInfo, LogError> {
        let aliases = aliases.iter().map(|alias| Arc::from(*alias)).collect();
        self.change(TopicChange::Rename { name: name.into(), aliases })?;
        self.found(name)
    }

    fn change(&self, change: TopicChange) -> Result<(), LogError> {
        // What is wrong with it at first sight needs no commit.
        let span = change.apply(&read(&self.shared.topics))?.span();
        let ticket = self.shared.enqueue(Work::Topic(Box::new(change)), span, false);
        // Whoever takes it from the queue commits it, this thread or the committer's.
        self.commit_step();
        ticket.wait()?;
        self.shared.call_house();
        Ok(())
    }

    fn found(&self, name: &str) -> Result<TopicInfo, LogError> {
        self.topic(name)
            .ok_or_else(|| LogError::Unknown { partition: TopicPartition::new(name, 0) })
    }

    /// The topic of this name or alias, where it exists.
    pub fn topic(&self, name: &str) -> Option<TopicInfo> {
        let topics = read(&self.shared.topics);
        topics.topic(name).map(|topic| topics.info(topic))
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<TopicInfo> {
        let topics = read(&self.shared.topics);
        topics.all().map(|topic| topics.info(topic)).collect()
    }

    /// Queues `append`. What is wrong with it at first sight is in the ticket at once.
    pub fn append(&self, append: Append) -> Ticket {
        let is_lazy = append.lazy;
        match self.shared.prepare(append) {
            Ok((work, span)) => self.shared.enqueue(work, span, is_lazy),
            Err(error) => Ticket::failed(error),
        }
    }

    /// Lets partitions begin at these offsets: what lies before is gone for good. Blocks until that
    /// is durable and its space in settled files given back; that in the journal comes back when it
    /// is settled.
    pub fn trim(&self, to: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        self.shared.trim_to(to)
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

    /// Offset and timestamp of the first record of a partition that is not older than `timestamp`,
    /// in milliseconds since 1970; `None` where all are older. A record whose timestamp lay ahead of
    /// the clock when it was appended may be passed over: it is looked for by the time it came.
    pub fn offset_at(
        &self,
        partition: &TopicPartition,
        timestamp: i64,
    ) -> Result<Option<(u64, i64)>, LogError> {
        self.shared.offset_at(partition, timestamp)
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

    /// Watches for changes of topics: made, deleted, grown, configured, renamed. Its one place is
    /// told at the beginning and after each change, or once after several.
    pub fn watch_topics(&self) -> Watch {
        let mut watches = lock(&self.shared.watches);
        let (watch, watcher) = Watch::of_one(self.ended());
        watches.retain(|watch| !watch.is_gone());
        watches.push(watch.waker());
        drop(watches);
        let mut watchers = lock(&self.shared.topic_watchers);
        watchers.retain(|watcher| !watcher.is_gone());
        watchers.push(watcher);
        watch
    }

    /// Counts the changes of topics since the log was opened. Who asks after it has read knows
    /// whether the topics are still as they were known to be when that was appended.
    pub fn topic_changes(&self) -> u64 {
        self.shared.topic_changes.load(Ordering::Acquire)
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

    /// The names of all groups that have committed something.
    pub fn groups(&self) -> Vec<Arc<str>> {
        read(&self.shared.groups).names().cloned().collect()
    }

    /// What a note says.
    pub fn note(&self, name: &str) -> Option<Bytes> {
        read(&self.shared.notes).get(name).cloned()
    }

    /// The notes whose names begin with `prefix`, by name.
    pub fn notes(&self, prefix: &str) -> Vec<(Arc<str>, Bytes)> {
        let notes = read(&self.shared.notes);
        notes.of(prefix).map(|(name, value)| (Arc::clone(name), value.clone())).collect()
    }

    /// Commits all that waits, on this thread: gathers, writes, syncs once, completes the tickets.
    /// Gives how many appends that were.
    pub fn commit_step(&self) -> usize {
        self.shared.commit_step()
    }

    /// Does one piece of the work beside the commits: a segment made ready, full ones settled,
    /// expired records removed, files compacted. `false` where there was nothing to do.
    pub fn housekeep_step(&self) -> Result<bool, LogError> {
        self.shared.housekeep_step()
    }

    /// Settles all full files of the journal now, however few they are.
    pub fn settle(&self) -> Result<(), LogError> {
        while self.shared.settle_step(true)? {}
        Ok(())
    }

    /// Writes a mark that all was synced, where nothing followed the last commit. Recovery can tell
    /// damage in that commit from a torn tail then.
    pub fn mark_step(&self) {
        self.shared.mark_step();
    }

    /// Syncs what was acked without it, by topics that allow that.
    pub fn sync_step(&self) {
        self.shared.sync_step();
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
            self.shared.stop_house();
            self.shared.commit_step();
            // Whoever keeps house has ended before the folder is another's.
            let _settling = lock(&self.shared.settling);
            self.shared.seal_step();
            let _making = lock(&self.shared.making);
            self.shared.end_watches(&LogError::Closed);
            lock(&self.shared.lock).take();
        }
        self.failure().map_or(Ok(()), Err)
    }

    fn ended(&self) -> Option<LogError> {
        let is_closed = lock(&self.shared.queue).is_closed;
        self.failure().or(is_closed.then_some(LogError::Closed))
    }
}
