//! Group commit: everything that waits is written at once, synced once, then told to all.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::frame::{self, Header, Kind};
use crate::groups::Position;
use crate::journal::{Frames, Journal, WriteError, Written};
use crate::segment::file_name;
use crate::shared::Shared;
use crate::sync::{lock, write};
use crate::ticket::{Appended, Completer};
use crate::topics::{Creation, Entry, Partition};
use crate::{LogError, RecordBatch};

/// A commit takes no more once it has this many bytes; the rest goes into the next.
const MOST_BYTES: usize = 8 << 20;

/// Something that waits to be committed.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) work: Work,
    /// The bytes that its frames take.
    pub(crate) span: usize,
    pub(crate) completer: Completer,
}

#[derive(Debug)]
pub(crate) enum Work {
    Append(Prepared),
    Create { name: Arc<str>, partitions: u32 },
}

/// An append whose names were looked up and whose batches were checked.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) batches: Vec<(Arc<Partition>, RecordBatch)>,
    pub(crate) offsets: Vec<Position>,
    pub(crate) conditions: Vec<(Arc<Partition>, u64)>,
}

/// What becomes visible when the commit is durable.
#[derive(Debug)]
enum Effect {
    Records(Arc<Partition>, Entry),
    Offsets(Vec<Position>),
    Topic(Creation),
}

/// One commit on its way.
#[derive(Debug)]
struct Commit {
    frames: Frames,
    effects: Vec<Effect>,
    results: Vec<(Completer, Result<Appended, LogError>)>,
}

impl Shared {
    /// Commits all that waits; gives how many appends that were.
    pub(crate) fn commit_step(&self) -> usize {
        let mut journal = lock(&self.journal);
        let mut waiting = VecDeque::from(self.take_queue());
        let count = waiting.len();
        while !waiting.is_empty() {
            if let Err(error) = self.commit_some(&mut journal, &mut waiting) {
                for pending in waiting.drain(..) {
                    pending.completer.complete(Err(error.clone()));
                }
            }
        }
        count
    }

    /// Makes one commit of the first of those that wait. An error concerns all that are left.
    fn commit_some(
        &self,
        journal: &mut Journal,
        waiting: &mut VecDeque<Pending>,
    ) -> Result<(), LogError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let first = waiting.front().map_or(0, |pending| pending.span);
        if !journal.has_room(first) {
            self.rotate(journal, first).map_err(|error| match error {
                LogError::Full { .. } | LogError::Failed { .. } => error,
                // Nothing was written, and the next append tries again.
                LogError::Io { ref source, .. } if is_out_of_files(source) => error,
                // It may have been a sync of the folder, which is never tried twice.
                other => self.fail(other.to_string()),
            })?;
        }
        let commit = self.gather(journal, waiting);
        self.finish(journal, commit)
    }

    fn gather(&self, journal: &Journal, waiting: &mut VecDeque<Pending>) -> Commit {
        let capacity = waiting.iter().map(|pending| pending.span).sum::<usize>().min(MOST_BYTES);
        let mut commit = Commit {
            frames: journal.frames(capacity, Kind::Mark),
            effects: Vec::with_capacity(waiting.len()),
            results: Vec::with_capacity(waiting.len()),
        };
        while let Some(next) = waiting.front() {
            let bytes = commit.frames.buffer.len().saturating_add(next.span);
            let is_first = commit.results.is_empty();
            if !is_first && (bytes > MOST_BYTES || !journal.has_room(bytes)) {
                break;
            }
            let Some(pending) = waiting.pop_front() else { break };
            // The next ones may be about the topic that this one makes.
            let makes_topic = matches!(pending.work, Work::Create { .. });
            let result = match pending.work {
                Work::Append(append) => commit.append(append),
                Work::Create { name, partitions } => self.create(&mut commit, name, partitions),
            };
            commit.results.push((pending.completer, result));
            if makes_topic {
                break;
            }
        }
        commit
    }

    fn create(
        &self,
        commit: &mut Commit,
        name: Arc<str>,
        partitions: u32,
    ) -> Result<Appended, LogError> {
        let topics = crate::sync::read(&self.topics);
        if topics.topic(&name).is_some() {
            return Ok(Appended::many(Vec::new()));
        }
        let creation = Creation { name, first_id: topics.next_id(), partitions };
        if creation.first_id.saturating_add(partitions) > crate::topics::MAX_PARTITIONS {
            return Err(LogError::invalid(format!(
                "topic {}: the log would have more than {} partitions",
                creation.name,
                crate::topics::MAX_PARTITIONS
            )));
        }
        let mut body = Vec::new();
        creation.encode(&mut body);
        commit.frames.push(Header::plain(Kind::Topic), &[&body]);
        commit.effects.push(Effect::Topic(creation));
        Ok(Appended::many(Vec::new()))
    }

    /// Writes and syncs the commit, then shows and tells it.
    fn finish(&self, journal: &mut Journal, commit: Commit) -> Result<(), LogError> {
        let Commit { frames, effects, results } = commit;
        if !effects.is_empty() {
            let position = frames.start;
            match journal.write(frames) {
                Ok(bytes) => {
                    self.is_marked.store(false, Ordering::Release);
                    self.want_next(journal);
                    self.publish(journal, position, bytes, effects);
                }
                Err(error) => {
                    take_back(&effects);
                    let error = self.write_failed(journal, error);
                    for (completer, _) in results {
                        completer.complete(Err(error.clone()));
                    }
                    return Err(error);
                }
            }
        }
        for (completer, result) in results {
            completer.complete(result);
        }
        Ok(())
    }

    /// Shows what is durable now, all of it at one moment.
    fn publish(&self, journal: &mut Journal, position: u64, bytes: Bytes, effects: Vec<Effect>) {
        let mut to_wake = Vec::new();
        let mut tail = write(&self.tail);
        tail.push(position, bytes);
        for effect in effects {
            match effect {
                Effect::Records(partition, entry) => {
                    journal.written.push(Written { partition: partition.id, entry });
                    let mut shown = partition.shown();
                    shown.entries.push_back(entry);
                    shown.end = entry.offset + u64::from(entry.count);
                    to_wake.extend(shown.watchers.iter().filter_map(|watcher| watcher.advance()));
                }
                Effect::Offsets(positions) => {
                    let mut groups = write(&self.groups);
                    positions.into_iter().for_each(|position| groups.set(position));
                }
                Effect::Topic(creation) => {
                    write(&self.topics).insert(&creation);
                }
            }
        }
        drop(tail);
        to_wake.into_iter().for_each(crate::watch::ToWake::wake);
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
            || !journal.has_room(0)
        {
            return;
        }
        let mut frames = journal.frames(2 * frame::HEADER, Kind::Mark);
        let base = journal.next_sequence;
        frames.push(Header { base, ..Header::plain(kind) }, &[]);
        match journal.write(frames) {
            Ok(_) => self.is_marked.store(true, Ordering::Release),
            // A full disk is told to the next append; anything else has failed the log by now.
            Err(error) => drop(self.write_failed(journal, error)),
        }
    }
}

impl Commit {
    fn append(&mut self, append: Prepared) -> Result<Appended, LogError> {
        for (partition, expected) in &append.conditions {
            let actual = partition.next();
            if actual != *expected {
                let partition = partition.name.clone();
                return Err(LogError::Conflict { partition, expected: *expected, actual });
            }
        }
        let mut rest = append.frame_count();
        let mut bases = Vec::new();
        let is_one = append.batches.len() == 1;
        let mut only = 0;
        for (partition, batch) in append.batches {
            rest = rest.saturating_sub(1);
            let base = partition.next();
            self.push_records(partition, &batch, base, rest);
            if is_one {
                only = base;
            } else {
                bases.push(base);
            }
        }
        if !append.offsets.is_empty() {
            let mut body = Vec::new();
            append.offsets.iter().for_each(|position| position.encode(&mut body));
            self.frames.push(Header::plain(Kind::Offsets), &[&body]);
            self.effects.push(Effect::Offsets(append.offsets));
        }
        Ok(if is_one { Appended::one(only) } else { Appended::many(bases) })
    }

    fn push_records(
        &mut self,
        partition: Arc<Partition>,
        batch: &RecordBatch,
        base: u64,
        rest: u32,
    ) {
        let count = batch.offset_count();
        let header =
            Header { base, partition: partition.id, count, rest, ..Header::plain(Kind::Batch) };
        let position = self.frames.push_batch(header, batch.bytes());
        let length = u32::try_from(batch.bytes().len()).unwrap_or(u32::MAX);
        partition.set_next(base + u64::from(count));
        self.effects
            .push(Effect::Records(partition, Entry { offset: base, position, count, length }));
    }
}

impl Prepared {
    fn frame_count(&self) -> u32 {
        let frames = self.batches.len() + usize::from(!self.offsets.is_empty());
        u32::try_from(frames).unwrap_or(u32::MAX)
    }

    /// The bytes that its frames take.
    pub(crate) fn span(&self) -> usize {
        let batches = self.batches.iter().map(|(_, batch)| frame::span(batch.bytes().len()));
        let offsets = self
            .offsets
            .iter()
            .map(|position| 16 + position.group.len() + position.committed.metadata.len());
        batches.sum::<usize>() + frame::span(offsets.sum())
    }
}

/// What was not written gives its offsets back.
fn take_back(effects: &[Effect]) {
    for effect in effects {
        if let Effect::Records(partition, _) = effect {
            let end = partition.shown().end;
            partition.set_next(end);
        }
    }
}

/// Whether a file could not be opened as this process or this machine has too many open.
fn is_out_of_files(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
