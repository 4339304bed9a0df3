//! What becomes of each thing that waits, as it is put into a commit.

use std::sync::Arc;

use crate::change::{Changed, TopicChange};
use crate::commit::{Effect, MOST_STRETCH, Work};
use crate::frame::{self, Header, Kind};
use crate::journal::Frames;
use crate::partition::{Partition, Stretch};
use crate::prepare::{Prepared, PreparedCondition};
use crate::producers::{self, Sequenced, Verdict};
use crate::sabotage::Sabotage;
use crate::shared::Shared;
use crate::sync::read;
use crate::ticket::{Appended, Outcome};
use crate::{LogError, RecordBatch};

/// One commit on its way.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) frames: Frames,
    pub(crate) effects: Vec<Effect>,
    pub(crate) results: Vec<Outcome>,
    pub(crate) producers: producers::Pending<'a>,
    /// The time now, in milliseconds.
    pub(crate) now: i64,
    /// Whether something has to be durable before it is told.
    pub(crate) syncs: bool,
    /// Within how many microseconds the rest has to be.
    pub(crate) sync_within: u64,
}

impl Commit<'_> {
    /// Whether the work asks for what this commit has changed and not shown yet, or changes a topic,
    /// which begins a commit.
    pub(crate) fn has_to_end_before(&self, work: &Work) -> bool {
        let changes_notes = |effect: &Effect| matches!(effect, Effect::Notes(_));
        match work {
            Work::Topic(_) => true,
            Work::Append(append) => append.asks_notes() && self.effects.iter().any(changes_notes),
            Work::One(..) | Work::Trim(_) => false,
        }
    }

    pub(crate) fn take(&mut self, work: Work) -> Outcome {
        match work {
            Work::One(partition, batch, siblings) => {
                siblings.map_or(Ok(()), |count| partition.check_siblings(count))?;
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
            Self::Partitions(partition, expected) => partition.check_siblings(*expected),
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
