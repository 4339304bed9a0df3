//! Group commit: everything that waits is written at once, synced once, then told to all.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::change::{Changed, TopicChange};
use crate::config::OS;
use crate::frame::{self, Header, Kind};
use crate::groups::Position;
use crate::journal::{Frames, Journal, WriteError};
use crate::partition::{Partition, Stretch};
use crate::prepare::{Prepared, PreparedCondition};
use crate::producers::{self, Sequenced, Verdict};
use crate::sabotage::Sabotage;
use crate::segment::file_name;
use crate::shared::Shared;
use crate::sync::atomic::Ordering;
use crate::sync::{lock, read, try_lock, write};
use crate::ticket::{Appended, Outcome};
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
    /// One batch and nothing else: what most appends are.
    One(Arc<Partition>, RecordBatch),
    Append(Box<Prepared>),
    Topic(Box<TopicChange>),
    /// Partitions that begin at these offsets from now on.
    Trim(Vec<(Arc<Partition>, u64)>),
}

/// What becomes visible when the commit is as durable as it has to be.
#[derive(Debug)]
enum Effect {
    Records(Arc<Partition>, Stretch),
    Offsets(Vec<Position>),
    Notes(Vec<Note>),
    Topic(Changed),
    Trim(Vec<(Arc<Partition>, u64)>),
}

/// One commit on its way.
#[derive(Debug)]
struct Commit<'a> {
    shared: &'a Shared,
    frames: Frames,
    effects: Vec<Effect>,
    results: Vec<Outcome>,
    producers: producers::Pending<'a>,
    /// The time now, in milliseconds.
    now: i64,
    /// Whether something has to be durable before it is told.
    syncs: bool,
    /// Within how many microseconds the rest has to be.
    sync_within: u64,
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

    /// Commits all that waits, unless somebody else is at it or it would have to wait for more.
    pub(crate) fn try_commit_step(&self) {
        if self.sealed_bytes() <= self.options.max_unsettled_bytes
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
            frames: journal.frames(0, Kind::Mark),
            effects: Vec::new(),
            results: Vec::with_capacity(least),
            producers: producers::Pending::over(&producers),
            now: i64::try_from(self.options.clock.now().as_millis()).unwrap_or(i64::MAX),
            syncs: false,
            sync_within: OS,
        };
        while let Some(next) = waiting.peek() {
            let bytes = commit.frames.buffer.len().saturating_add(next.span);
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
            journal.reuse(frames.buffer.freeze());
            if syncs {
                self.sync_journal(journal)?;
            }
            return Ok(results);
        }
        let position = frames.start;
        let syncs = syncs || self.is_sync_due();
        match journal.write(frames, syncs && !Sabotage::AckBeforeSync.is_on()) {
            Ok(bytes) => {
                // A mark is wanted after this commit, and a sync where there was none.
                self.is_marked.store(false, Ordering::Release);
                self.sync_later(journal, sync_within);
                self.publish(journal, position, bytes, effects, producers);
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
        bytes: Bytes,
        effects: Vec<Effect>,
        producers: producers::Notes,
    ) {
        let mut to_wake = Vec::new();
        if !producers.is_empty() {
            write(&self.producers).apply(producers);
        }
        let mut tail = write(&self.tail);
        let gone = tail.push(position, bytes);
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
        let name = match changed {
            Changed::To(record) => {
                write(&self.topics).put(record);
                return Vec::new();
            }
            Changed::Gone(name) => name,
        };
        let gone = write(&self.topics).remove(&name);
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
        let mut frames = journal.frames(2 * frame::HEADER, Kind::Mark);
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

impl Commit<'_> {
    /// Whether the work asks for what this commit has changed and not shown yet, or changes a topic,
    /// which begins a commit.
    fn has_to_end_before(&self, work: &Work) -> bool {
        let changes_notes = |effect: &Effect| matches!(effect, Effect::Notes(_));
        match work {
            Work::Topic(_) => true,
            Work::Append(append) => append.asks_notes() && self.effects.iter().any(changes_notes),
            Work::One(..) | Work::Trim(_) => false,
        }
    }

    fn take(&mut self, work: Work) -> Outcome {
        match work {
            Work::One(partition, batch) => {
                self.producers.begin();
                let admitted = self.admit(&partition, &batch)?;
                Ok(match admitted {
                    Some(base) => Appended::one(base).repeated(true),
                    None => Appended::one(self.push_records(partition, &batch, 0)),
                })
            }
            Work::Append(append) => self.append(*append),
            Work::Topic(change) => self.change(&change),
            Work::Trim(trims) => Ok(self.trim(trims)),
        }
    }

    /// Whether a batch was appended before: at this offset. Its producer may have to be refused.
    fn admit(
        &mut self,
        partition: &Partition,
        batch: &RecordBatch,
    ) -> Result<Option<u64>, LogError> {
        check_exists(partition)?;
        let Some(sequenced) = Sequenced::of(batch)? else { return Ok(None) };
        match self.producers.check(partition.id, &sequenced) {
            Ok(Verdict::New) => {
                let base = partition.next();
                let next = base + u64::from(batch.offset_count());
                let now = u64::try_from(self.now).unwrap_or(0);
                self.producers.note(partition.id, &sequenced, base, next, now);
                Ok(None)
            }
            Ok(Verdict::Repeat { base_offset, .. }) => {
                // Its original may be in this very commit, or written and not synced.
                self.syncs |= partition.sync_delay() == 0;
                Ok(Some(base_offset))
            }
            Err(error) => Err(error.of(partition.name.clone(), sequenced.producer)),
        }
    }

    fn append(&mut self, append: Prepared) -> Outcome {
        let shared = self.shared;
        append.conditions.iter().try_for_each(|condition| condition.check(shared))?;
        append.offsets.iter().try_for_each(|(partition, _)| check_exists(partition))?;
        self.producers.begin();
        match self.admit_all(&append) {
            Ok(None) => Ok(self.push_all(append)),
            Ok(Some(bases)) => Ok(Appended::many(bases).repeated(true)),
            Err(error) => {
                self.producers.roll_back();
                Err(error)
            }
        }
    }

    /// The offsets of the append's batches, where all of it was appended before.
    fn admit_all(&mut self, append: &Prepared) -> Result<Option<Vec<u64>>, LogError> {
        let mut bases = Vec::new();
        let mut taken = Vec::new();
        for (partition, batch) in &append.batches {
            match self.admit(partition, batch) {
                Ok(Some(base)) => bases.push(base),
                Ok(None) => {
                    // Later batches of the same partition lie after this one.
                    let before = partition.next();
                    partition.set_next(before + u64::from(batch.offset_count()));
                    taken.push((partition, before));
                }
                Err(error) => {
                    taken.iter().rev().for_each(|(partition, next)| partition.set_next(*next));
                    return Err(error);
                }
            }
        }
        taken.iter().rev().for_each(|(partition, next)| partition.set_next(*next));
        match bases.len() {
            0 => Ok(None),
            all if all == append.batches.len() => Ok(Some(bases)),
            some => Err(LogError::invalid(format!(
                "append of {} batches: {some} of them were appended before, the others were not; an \
                 idempotent producer repeats an append as a whole",
                append.batches.len()
            ))),
        }
    }

    fn push_all(&mut self, append: Prepared) -> Appended {
        let mut rest = append.frame_count();
        let mut bases = Vec::with_capacity(append.batches.len());
        for (partition, batch) in append.batches {
            rest = if Sabotage::AppendsInPart.is_on() { 0 } else { rest.saturating_sub(1) };
            bases.push(self.push_records(partition, &batch, rest));
        }
        if !append.offsets.is_empty() {
            rest = rest.saturating_sub(1);
            let mut body = Vec::new();
            let positions: Vec<_> =
                append.offsets.into_iter().map(|(_, position)| position).collect();
            positions.iter().for_each(|position| position.encode(&mut body));
            self.frames.push(Header { rest, ..Header::plain(Kind::Offsets) }, &[&body]);
            self.effects.push(Effect::Offsets(positions));
            self.syncs = true;
        }
        if !append.notes.is_empty() {
            let mut body = Vec::new();
            append.notes.iter().for_each(|note| note.encode(&mut body));
            self.frames.push(Header::plain(Kind::Notes), &[&body]);
            self.effects.push(Effect::Notes(append.notes));
            self.syncs = true;
        }
        Appended::many(bases)
    }

    /// Writes a batch at the partition's end; gives the offset of its first record.
    fn push_records(&mut self, partition: Arc<Partition>, batch: &RecordBatch, rest: u32) -> u64 {
        let (base, count) = (partition.next(), batch.offset_count());
        let next = base + u64::from(count);
        let header =
            Header { base, partition: partition.id, count, rest, ..Header::plain(Kind::Batch) };
        let position = self.frames.push_batch(header, batch.bytes());
        let bytes = u32::try_from(frame::span(batch.bytes().len())).unwrap_or(u32::MAX);
        let max_timestamp = arrival(batch, self.now);
        partition.set_next(next);
        partition.note_keys(batch, base);
        match partition.sync_delay() {
            0 => self.syncs = true,
            delay => self.sync_within = self.sync_within.min(delay),
        }
        let stretch = Stretch { offset: base, next, position, bytes, max_timestamp };
        if let Some(Effect::Records(last, before)) = self.effects.last_mut()
            && Arc::ptr_eq(last, &partition)
            && before.join(&stretch, MOST_STRETCH)
        {
            return base;
        }
        self.effects.push(Effect::Records(partition, stretch));
        base
    }

    fn change(&mut self, change: &TopicChange) -> Outcome {
        let changed = change.apply(&read(&self.shared.topics))?;
        let body = changed.body();
        let kind = match &changed {
            Changed::To(_) => Kind::Topic,
            Changed::Gone(_) => Kind::Deleted,
        };
        self.frames.push(Header { rest: 1, ..Header::plain(kind) }, &[&body]);
        self.frames.push(Header::plain(kind), &[&body]);
        self.effects.push(Effect::Topic(changed));
        self.syncs = true;
        Ok(Appended::many(Vec::new()))
    }

    fn trim(&mut self, trims: Vec<(Arc<Partition>, u64)>) -> Appended {
        for (partition, earliest) in &trims {
            let header =
                Header { base: *earliest, partition: partition.id, ..Header::plain(Kind::Trim) };
            self.frames.push(header, &[]);
        }
        self.effects.push(Effect::Trim(trims));
        self.syncs = true;
        Appended::many(Vec::new())
    }
}

impl PreparedCondition {
    fn check(&self, shared: &Shared) -> Result<(), LogError> {
        match self {
            Self::Next(partition, expected) => {
                let actual = partition.next();
                if actual == *expected {
                    return Ok(());
                }
                let partition = partition.name.clone();
                Err(LogError::Conflict { partition, expected: *expected, actual })
            }
            Self::Key(partition, key, expected) => partition.check_key(*key, *expected),
            Self::Note(name, expected) => {
                let notes = read(&shared.notes);
                if notes.get(name) == expected.as_ref() {
                    return Ok(());
                }
                Err(LogError::NoteChanged { name: Arc::clone(name) })
            }
        }
    }
}

/// The time that a batch's age counts from: that of its newest record, or now where that record
/// claims to be from the future, or no time at all.
pub(crate) fn arrival(batch: &RecordBatch, now: i64) -> i64 {
    match batch.max_timestamp() {
        time if time < 0 => now,
        time => time.min(now),
    }
}

/// Its topic may have been deleted since it was looked up.
fn check_exists(partition: &Partition) -> Result<(), LogError> {
    match partition.is_deleted() {
        true => Err(LogError::Unknown { partition: partition.name.clone() }),
        false => Ok(()),
    }
}

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
