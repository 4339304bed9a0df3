//! What is looked up and checked of an append before it is queued, on the thread of who appends.

use std::sync::Arc;

use bytes::Bytes;

use crate::commit::Work;
use crate::frame;
use crate::groups::Position;
use crate::keys::{KeyOffsets, hash_key};
use crate::partition::Partition;
use crate::shared::Shared;
use crate::sync::{lock, read};
use crate::topics::Topics;
use crate::{Append, Committed, Condition, GroupOffset, LogError, Note, RecordBatch};

/// How much is read at a time to learn the keys of a partition.
const PIECE: usize = 1 << 20;

/// An append whose names were looked up and whose batches were checked.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) batches: Vec<(Arc<Partition>, RecordBatch)>,
    pub(crate) offsets: Vec<(Arc<Partition>, Position)>,
    pub(crate) notes: Vec<Note>,
    pub(crate) conditions: Vec<PreparedCondition>,
}

/// A condition whose names were looked up.
#[derive(Debug)]
pub(crate) enum PreparedCondition {
    Next(Arc<Partition>, u64),
    /// The hash of the key, and the offset of its last record.
    Key(Arc<Partition>, u128, Option<u64>),
    Note(Arc<str>, Option<Bytes>),
    /// One of the topic's partitions, and how many those are.
    Partitions(Arc<Partition>, u32),
}

impl Prepared {
    pub(crate) fn frame_count(&self) -> u32 {
        let others = usize::from(!self.offsets.is_empty()) + usize::from(!self.notes.is_empty());
        u32::try_from(self.batches.len() + others).unwrap_or(u32::MAX)
    }

    /// The bytes that its frames take.
    fn span(&self) -> usize {
        let batches = self.batches.iter().map(|(_, batch)| frame::span(batch.bytes().len()));
        let offsets = self
            .offsets
            .iter()
            .map(|(_, position)| 16 + position.group.len() + position.committed.metadata.len());
        let notes = self
            .notes
            .iter()
            .map(|note| 8 + note.name.len() + note.value.as_ref().map_or(0, Bytes::len));
        batches.sum::<usize>() + frame::span(offsets.sum()) + frame::span(notes.sum())
    }

    /// Whether it asks for the value of a note.
    pub(crate) fn asks_notes(&self) -> bool {
        self.conditions.iter().any(|condition| matches!(condition, PreparedCondition::Note(..)))
    }
}

impl Shared {
    /// What the committer is given of an append, and the bytes that its frames take.
    pub(crate) fn prepare(&self, mut append: Append) -> Result<(Work, usize), LogError> {
        let bytes = bytes_of(&append);
        if bytes > self.options.max_append_bytes {
            return Err(LogError::invalid(format!(
                "append of {bytes} bytes: the most that is taken at a time is {}",
                self.options.max_append_bytes
            )));
        }
        if is_one(&append)
            && let Some((name, bytes)) = append.batches.pop()
        {
            let partition = Arc::clone(read(&self.topics).find(&name)?);
            let batch = RecordBatch::parse(bytes)?;
            let span = frame::span(batch.bytes().len());
            let siblings = append.conditions.iter().find_map(|condition| match condition {
                Condition::Partitions(_, count) => Some(*count),
                _ => None,
            });
            return Ok((Work::One(partition, batch, siblings), span));
        }
        let prepared = self.prepare_all(append)?;
        let span = prepared.span();
        Ok((Work::Append(Box::new(prepared)), span))
    }

    fn prepare_all(&self, append: Append) -> Result<Prepared, LogError> {
        append.notes.iter().try_for_each(Note::check)?;
        let topics = read(&self.topics);
        let mut batches = Vec::with_capacity(append.batches.len());
        for (name, bytes) in append.batches {
            let partition = Arc::clone(topics.find(&name)?);
            batches.push((partition, RecordBatch::parse(bytes)?));
        }
        let offsets: Result<_, _> =
            append.offsets.into_iter().map(|offset| position(&topics, offset)).collect();
        let conditions: Result<Vec<_>, _> = append
            .conditions
            .into_iter()
            .map(|condition| self.prepare_condition(&topics, condition))
            .collect();
        let prepared =
            Prepared { batches, offsets: offsets?, notes: append.notes, conditions: conditions? };
        drop(topics);
        for condition in &prepared.conditions {
            if let PreparedCondition::Key(partition, ..) = condition {
                self.learn_keys(partition)?;
            }
        }
        Ok(prepared)
    }

    fn prepare_condition(
        &self,
        topics: &Topics,
        condition: Condition,
    ) -> Result<PreparedCondition, LogError> {
        Ok(match condition {
            Condition::NextOffset(name, expected) => {
                PreparedCondition::Next(Arc::clone(topics.find(&name)?), expected)
            }
            Condition::LastOfKey { partition, key, last } => {
                let hash = hash_key(self.salt, &key);
                PreparedCondition::Key(Arc::clone(topics.find(&partition)?), hash, last)
            }
            Condition::Note(name, expected) => PreparedCondition::Note(name, expected),
            Condition::Partitions(topic, count) => {
                let first = crate::TopicPartition::new(topic, 0);
                PreparedCondition::Partitions(Arc::clone(topics.find(&first)?), count)
            }
        })
    }

    /// Sees to it that the last offset of each key of the partition is known.
    fn learn_keys(&self, partition: &Partition) -> Result<(), LogError> {
        if partition.knows_keys() {
            return Ok(());
        }
        let mut keys = KeyOffsets::new(self.options.max_key_bytes);
        let mut next = self.read_keys(partition, 0, &mut keys)?;
        // While no commit can come between, what was appended meanwhile is read as well.
        let _journal = lock(&self.journal);
        next = self.read_keys(partition, next, &mut keys)?;
        debug_assert_eq!(next, partition.next());
        partition.set_keys(self.salt, keys);
        Ok(())
    }

    /// Reads the keys from an offset to the end; gives the end.
    fn read_keys(
        &self,
        partition: &Partition,
        from: u64,
        keys: &mut KeyOffsets,
    ) -> Result<u64, LogError> {
        let mut next = from.max(partition.shown().earliest);
        loop {
            let fetched = match self.read_partition(partition, next, PIECE) {
                // It expired a moment ago.
                Err(LogError::OutOfRange { earliest, .. }) if earliest > next => {
                    next = earliest;
                    continue;
                }
                fetched => fetched?,
            };
            for batch in fetched.batches.iter().filter(|batch| !batch.is_control()) {
                crate::keys::insert_keys(keys, self.salt, batch, 0)?;
            }
            if fetched.next <= next {
                return Ok(next);
            }
            next = fetched.next;
        }
    }
}

/// The bytes of all that an append holds. A frame's length has 32 bits, and positions and notes make
/// one frame each.
fn bytes_of(append: &Append) -> usize {
    let batches = append.batches.iter().map(|(_, batch)| batch.len());
    let offsets = append.offsets.iter().map(|it| it.group.len() + it.metadata.len() + 16);
    let value = |note: &Note| note.value.as_ref().map_or(0, Bytes::len);
    let notes = append.notes.iter().map(|note| note.name.len() + value(note) + 8);
    batches.chain(offsets).chain(notes).sum()
}

/// Whether it is one batch and nothing else, but for a condition on that batch's own topic.
fn is_one(append: &Append) -> bool {
    let [(name, _)] = append.batches.as_slice() else { return false };
    let is_simple = match append.conditions.as_slice() {
        [] => true,
        [Condition::Partitions(topic, _)] => *topic == name.topic,
        _ => false,
    };
    is_simple && append.offsets.is_empty() && append.notes.is_empty()
}

fn position(topics: &Topics, offset: GroupOffset) -> Result<(Arc<Partition>, Position), LogError> {
    offset.check()?;
    let partition = Arc::clone(topics.find(&offset.partition)?);
    let committed = Committed { offset: offset.offset, metadata: offset.metadata };
    let position = Position { group: offset.group, partition: partition.id, committed };
    Ok((partition, position))
}
