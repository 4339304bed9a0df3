//! Group commit: everything that waits is written at once, synced once, then told to all.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::change::{Changed, TopicChange};
use crate::config::OS;
use crate::frame::{Header, Kind};
use crate::gather::Commit;
use crate::groups::Position;
use crate::journal::{Frames, Journal, WriteError};
use crate::partition::{Partition, Stretch};
use crate::prepare::Prepared;
use crate::producers;
use crate::sabotage::Sabotage;
use crate::segment::file_name;
use crate::shared::Shared;
use crate::sync::atomic::Ordering;
use crate::sync::{lock, read, try_lock, write};
use crate::ticket::Outcome;
use crate::{LogError, Note, RecordBatch};

/// A commit takes no more once it has this many bytes; the rest goes into the next.
const MOST_BYTES: usize = 8 << 20;
/// What lies together of one partition is found together up to this many bytes.
pub(crate) const MOST_STRETCH: u32 = 64 << 10;

/// Something that waits to be committed.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) work: Work,
    /// The bytes that its frames take.
    pub(crate) span: usize,
}

#[derive(Debug)]
pub(crate) enum Work {
    /// One batch and nothing else, but for how many partitions its topic has to have: what most
    /// appends are.
    One(Arc<Partition>, RecordBatch, Option<u32>),
    Append(Box<Prepared>),
    Topic(Box<TopicChange>),
    /// Partitions that begin at these offsets from now on.
    Trim(Vec<(Arc<Partition>, u64)>),
}

/// What becomes visible when the commit is as durable as it has to be.
#[derive(Debug)]
pub(crate) enum Effect {
    Records(Arc<Partition>, Stretch),
    Offsets(Vec<Position>),
    Notes(Vec<Note>),
    Topic(Changed),
    Trim(Vec<(Arc<Partition>, u64)>),
}

/// A commit that has all its frames.
struct Gathered {
    frames: Frames,
    effects: Vec<Effect>,
    results: Vec<Outcome>,
    producers: producers::Notes,
    syncs: bool,
    sync_within: u64,
}

impl Shared {
    /// Commits all that waits; gives how many appends that were.
    pub(crate) fn commit_step(&self) -> usize {
        let held_up = self.wait_for_settling().err();
        self.commit_queue(&mut lock(&self.journal), held_up)
    }

    /// Commits all that waits for somebody who waits for it: unless somebody else is at it, or it
    /// would have to wait for more. Where no committer would come after that, it is done whatever it
    /// takes.
    pub(crate) fn commit_for_waiter(&self) {
        if !self.has_committer.load(Ordering::Acquire) {
            self.commit_step();
        } else if self.sealed_bytes() <= self.options.max_unsettled_bytes
            && let Some(mut journal) = try_lock(&self.journal)
        {
            self.commit_queue(&mut journal, None);
        }
    }

    fn commit_queue(&self, journal: &mut Journal, held_up: Option<LogError>) -> usize {
        let (waiting, completer) = self.take_queue();
        let count = waiting.len();
        if let Some(error) = held_up {
            completer.end(error);
            return count;
        }
        let mut waiting = waiting.into_iter().peekable();
        while waiting.peek().is_some() {
            match self.commit_some(journal, &mut waiting) {
                Ok(results) => completer.complete(results),
                Err(error) => {
                    completer.end(error);
                    break;
                }
            }
        }
        count
    }

    /// Makes one commit of the first of those that wait. An error concerns all that are left.
    fn commit_some(
        &self,
        journal: &mut Journal,
        waiting: &mut Waiting,
    ) -> Result<Vec<Outcome>, LogError> {
        if let Some(error) = self.find_failure() {
            return Err(error);
        }
        let first = waiting.peek().map_or(0, |pending| self.span_of(pending));
        if !journal.has_room(first) {
            self.rotate(journal, first).map_err(|error| match error {
                LogError::Full { .. } | LogError::Failed { .. } => error,
                // Nothing was written, and the next append tries again.
                LogError::Io { ref source, .. } if is_out_of_files(source) => error,
                // It may have been a sync of the folder, which is never tried twice.
                other => self.fail(other.to_string()),
            })?;
        }
        let gathered = self.gather(journal, waiting);
        self.finish(journal, gathered)
    }

    /// The bytes that something takes in the journal now: a change before may have made a topic larger.
    fn span_of(&self, pending: &Pending) -> usize {
        match &pending.work {
            Work::Topic(change) => {
                change.apply(&read(&self.topics)).map_or(pending.span, |changed| changed.span())
            }
            _ => pending.span,
        }
    }

    fn gather(&self, journal: &mut Journal, waiting: &mut Waiting) -> Gathered {
        let producers = read(&self.producers);
        let (least, _) = waiting.size_hint();
        let mut commit = Commit {
            shared: self,
            frames: journal.frames(Kind::Mark),
            effects: Vec::new(),
            results: Vec::with_capacity(least),
            producers: producers::Pending::over(&producers),
            now: i64::try_from(self.options.clock.now().as_millis()).unwrap_or(i64::MAX),
            syncs: false,
            sync_within: OS,
        };
        while let Some(next) = waiting.peek() {
            let bytes = commit.frames.len().saturating_add(next.span);
            let is_full = bytes > MOST_BYTES || !journal.has_room(bytes);
            if !commit.results.is_empty() && (is_full || commit.has_to_end_before(&next.work)) {
                break;
            }
            let Some(pending) = waiting.next() else { break };
            // The next ones may be about the topic that this one changes, and take more room for it.
            let changes_topic = matches!(pending.work, Work::Topic(_));
            let result = commit.take(pending.work);
            commit.results.push(result);
            if changes_topic {
                break;
            }
        }
        let Commit { frames, effects, results, producers, syncs, sync_within, .. } = commit;
        Gathered { frames, effects, results, producers: producers.into_notes(), syncs, sync_within }
    }

    fn finish(&self, journal: &mut Journal, gathered: Gathered) -> Result<Vec<Outcome>, LogError> {
        let Gathered { frames, effects, results, producers, syncs, sync_within } = gathered;
        if effects.is_empty() {
            // Repeats alone: what they repeat has been written, and may have to be synced.
            journal.drop_frames(frames);
            if syncs {
                self.sync_journal(journal)?;
            }
            return Ok(results);
        }
        let position = frames.start;
        let syncs = syncs || self.is_sync_due();
        match journal.write(frames, syncs && !Sabotage::AckBeforeSync.is_on()) {
            Ok(pieces) => {
                // A mark is wanted after this commit, and a sync where there was none.
                self.is_marked.store(false, Ordering::Release);
                self.sync_later(journal, sync_within);
                self.publish(journal, position, pieces, effects, producers);
                self.want_next(journal);
                Ok(results)
            }
            Err(error) => {
                take_back(&effects);
                Err(self.write_failed(journal, error))
            }
        }
    }

    /// Sees to it that what was written without a sync gets one in time.
    fn sync_later(&self, journal: &Journal, within: u64) {
        let mut queue = lock(&self.queue);
        let before = queue.sync_due;
        if !journal.is_dirty {
            queue.sync_due = None;
        } else if within != OS {
            let due = self.options.clock.now().plus(Duration::from_micros(within));
            queue.sync_due = Some(before.map_or(due, |other| other.min(due)));
        }
        // The committer sleeps where somebody else commits, and may not know of a mark or a sync
        // that is due after this commit.
        let is_sooner = queue.sync_due.is_some_and(|now| before.is_none_or(|it| now < it));
        let wakes = queue.is_idle && (is_sooner || !queue.has_alarm);
        if wakes {
            queue.is_idle = false;
        }
        drop(queue);
        if wakes {
            self.queue_changed.notify_all();
        }
    }

    /// Whether something that was acked has waited for its sync as long as it may: commits that come
    /// one after another leave no time for another thought.
    fn is_sync_due(&self) -> bool {
        lock(&self.queue).sync_due.is_some_and(|due| due <= self.options.clock.now())
    }

    /// Shows what is durable now, all of it at one moment.
    fn publish(
        &self,
        journal: &mut Journal,
        position: u64,
        pieces: Vec<Bytes>,
        effects: Vec<Effect>,
        producers: producers::Notes,
    ) {
        let mut to_wake = Vec::new();
        if !producers.is_empty() {
            write(&self.producers).apply(producers);
        }
        let mut tail = write(&self.tail);
        let gone = tail.push(position, pieces);
        for effect in effects {
            match effect {
                Effect::Records(partition, stretch) => {
                    let mut shown = partition.shown();
                    shown.push(stretch, MOST_STRETCH);
                    to_wake.extend(shown.watchers.iter().filter_map(|watcher| watcher.advance()));
                }
                Effect::Offsets(positions) => {
                    let mut groups = write(&self.groups);
                    positions.into_iter().for_each(|position| groups.set(position));
                }
                Effect::Notes(changed) => {
                    let mut notes = write(&self.notes);
                    changed.into_iter().for_each(|note| notes.set(note));
                }
                Effect::Topic(changed) => to_wake.extend(self.change_topic(changed)),
                Effect::Trim(trims) => {
                    trims.iter().for_each(|(partition, to)| partition.shown().trim(*to));
                }
            }
        }
        drop(tail);
        gone.into_iter().for_each(|bytes| journal.reuse(bytes));
        to_wake.into_iter().for_each(crate::watch::ToWake::wake);
    }

    /// Makes a topic what it is now; gives the watches that have to hear of it.
    fn change_topic(&self, changed: Changed) -> Vec<crate::watch::ToWake> {
        let mut to_wake = match changed {
            Changed::To(record) => {
                write(&self.topics).put(record);
                Vec::new()
            }
            Changed::Gone(name) => self.remove_topic(&name),
        };
        // Whoever sees what was appended after the change sees that there was one.
        self.topic_changes.fetch_add(1, Ordering::AcqRel);
        let watchers = lock(&self.topic_watchers);
        to_wake.extend(watchers.iter().filter_map(|watcher| watcher.advance()));
        to_wake
    }

    /// Removes a topic; gives the watches of its partitions.
    fn remove_topic(&self, name: &str) -> Vec<crate::watch::ToWake> {
        let gone = write(&self.topics).remove(name);
        let ids: Vec<_> = gone.iter().map(|partition| partition.id).collect();
        write(&self.groups).forget_partitions(&ids);
        let mut producers = write(&self.producers);
        ids.iter().for_each(|id| producers.forget_partition(*id));
        drop(producers);
        lock(&self.house).deleted.extend(ids);
        // Who waits for more finds out at the next read that the topic is gone.
        let watchers = gone.iter().flat_map(|partition| partition.shown().watchers.clone());
        watchers.filter_map(|watcher| watcher.advance()).collect()
    }

    pub(crate) fn write_failed(&self, journal: &Journal, error: WriteError) -> LogError {
        let path = self.folder.path(&file_name(journal.segment.number, "journal"));
        match error {
            WriteError::Write(error) if is_full(&error) => LogError::io("writing", &path, error),
            WriteError::Write(error) => {
                self.fail(format!("writing {} failed: {error}", path.display()))
            }
            WriteError::Sync(error) => {
                self.fail(format!("syncing {} failed: {error}", path.display()))
            }
        }
    }

    /// Syncs what was acked without a sync.
    pub(crate) fn sync_step(&self) {
        let mut journal = lock(&self.journal);
        if self.failure().is_none()
            && let Err(error) = self.sync_journal(&mut journal)
        {
            // Whoever appends next is told.
            drop(error);
        }
    }

    pub(crate) fn sync_journal(&self, journal: &mut Journal) -> Result<(), LogError> {
        // One that failed is never tried again.
        if let Some(error) = self.failure() {
            return Err(error);
        }
        journal.sync().map_err(|error| self.write_failed(journal, WriteError::Sync(error)))?;
        lock(&self.queue).sync_due = None;
        Ok(())
    }

    /// Notes on disk that everything was synced, where nothing followed the last commit.
    pub(crate) fn mark_step(&self) {
        let mut journal = lock(&self.journal);
        self.put_mark(&mut journal, Kind::Mark);
    }

    /// Notes that the log was closed in order.
    pub(crate) fn seal_step(&self) {
        let mut journal = lock(&self.journal);
        self.is_marked.store(false, Ordering::Release);
        self.put_mark(&mut journal, Kind::Close);
    }

    fn put_mark(&self, journal: &mut Journal, kind: Kind) {
        if self.is_marked.load(Ordering::Acquire)
            || self.failure().is_some()
            || self.sync_journal(journal).is_err()
            || !journal.has_room(0)
        {
            return;
        }
        let mut frames = journal.frames(Kind::Mark);
        let base = journal.next_sequence;
        frames.push(Header { base, ..Header::plain(kind) }, &[]);
        match journal.write(frames, true) {
            Ok(_) => self.is_marked.store(true, Ordering::Release),
            // A full disk is told to the next append; anything else has failed the log by now.
            Err(error) => drop(self.write_failed(journal, error)),
        }
    }
}

/// What waits and is not in a commit yet.
type Waiting = std::iter::Peekable<std::vec::IntoIter<Pending>>;

/// What was not written gives its offsets back.
fn take_back(effects: &[Effect]) {
    for effect in effects {
        if let Effect::Records(partition, _) = effect {
            let end = partition.shown().end;
            partition.set_next(end);
            partition.forget_keys();
        }
    }
}

/// Whether a file could not be opened as this process or this machine has too many open.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
