//! From messages to record batches.

use std::sync::Arc;

use bytes::Bytes;
use dhara_log::batch::BatchBuilder;
use dhara_log::{Append, Condition};

use super::super::{Batch, BrokerError, Message, Position, Positions, Topic};
use super::error::from_log;
use super::topic::{FileTopic, Layout};

/// A topic that messages of a publish go to.
#[derive(Debug)]
pub(super) struct Target {
    /// Its name or alias, as the messages have it.
    pub(super) asked: Topic,
    pub(super) topic: Arc<FileTopic>,
    /// The partitions that were there when the publish began.
    pub(super) layout: Arc<Layout>,
}

/// The messages of one publish: one record batch for each partition that they go to.
#[derive(Debug)]
pub(super) struct Encoded {
    parts: Vec<Part>,
    /// For each message, its part and its place in it. Not kept of a single message.
    places: Vec<(usize, u64)>,
    is_single: bool,
}

#[derive(Debug)]
struct Part {
    /// The number of its target.
    target: usize,
    partition: u32,
    name: dhara_log::TopicPartition,
    count: u64,
    bytes: Bytes,
}

/// A part on its way.
struct Building {
    target: usize,
    partition: u32,
    builder: BatchBuilder,
}

impl Encoded {
    /// Encodes `batch`; `targets` holds the topic of every message.
    pub(super) fn new(batch: &Batch, targets: &[Target]) -> Result<Self, BrokerError> {
        let turns: Vec<u32> = targets.iter().map(|it| it.topic.turn(&it.layout)).collect();
        let messages = batch.as_slice();
        let is_single = matches!(batch, Batch::One(_));
        let mut building: Vec<Building> = Vec::with_capacity(1);
        let mut places = Vec::with_capacity(if is_single { 0 } else { messages.len() });
        for message in messages {
            let asked = targets.iter().find(|target| target.asked == message.topic);
            // What goes to a topic by its name and what goes there by an alias keep their order.
            let same =
                |it: &Target| asked.is_some_and(|asked| Arc::ptr_eq(&it.topic, &asked.topic));
            let Some(number) = targets.iter().position(same) else { continue };
            let Some((target, turn)) = targets.get(number).zip(turns.get(number)) else { continue };
            let partition = target.layout.place(message, *turn);
            let part = part_for(&mut building, number, partition, size_of(message));
            let Some(building) = building.get_mut(part) else { continue };
            if !is_single {
                places.push((part, building.builder.len() as u64));
            }
            push(&mut building.builder, message)?;
        }
        let parts = building.into_iter().filter_map(|building| finish(building, targets)).collect();
        Ok(Self { parts, places, is_single })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// What the log is given: all of it at once, if the topics still have as many partitions as the
    /// messages were spread over.
    pub(super) fn append(&self, targets: &[Target]) -> Append {
        let batch = |part: &Part| (part.name.clone(), part.bytes.clone());
        let mut asked = Vec::new();
        for part in &self.parts {
            let known = |it: &Condition| matches!(it, Condition::Partitions(topic, _) if *topic == part.name.topic);
            if let Some(target) = targets.get(part.target)
                && !asked.iter().any(known)
            {
                asked.push(Condition::Partitions(part.name.topic.clone(), target.layout.count));
            }
        }
        let batches = self.parts.iter().map(batch).collect();
        Append { batches, conditions: asked, ..Append::default() }
    }

    /// Shows what was published, given the first offsets of the parts, without waiting for the news of
    /// it: a publisher that has its answer finds its messages counted.
    pub(super) fn show(&self, targets: &[Target], bases: &[u64]) {
        for (part, base) in self.parts.iter().zip(bases) {
            let layout = targets.get(part.target).map(|target| &target.layout);
            if let Some(partition) = layout.and_then(|layout| layout.partition(part.partition)) {
                partition.reaches(base + part.count);
            }
        }
        targets.iter().for_each(|target| target.topic.wakers.wake());
    }

    /// Where the messages lie, given the first offsets of the parts.
    pub(super) fn positions(&self, bases: &[u64]) -> Positions {
        let position = |(part, place): (usize, u64)| {
            let (part, base) = self.parts.get(part).zip(bases.get(part))?;
            Some(Position { partition: part.partition, offset: base + place })
        };
        if self.is_single {
            return position((0, 0)).map_or(Positions::Unknown, Positions::One);
        }
        Positions::Many(self.places.iter().copied().filter_map(position).collect())
    }
}

/// The part for `partition`; most publishes have one or a few, so that looking for it is quick.
fn part_for(building: &mut Vec<Building>, target: usize, partition: u32, size: usize) -> usize {
    let same = |it: &Building| it.target == target && it.partition == partition;
    if let Some(place) = building.iter().position(same) {
        return place;
    }
    let builder = BatchBuilder::with_capacity(size);
    building.push(Building { target, partition, builder });
    building.len() - 1
}

fn size_of(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|it| it.0.len() + it.1.len() + 10).sum();
    message.key.as_ref().map_or(0, Bytes::len) + message.body.len() + headers + 32
}

fn push(builder: &mut BatchBuilder, message: &Message) -> Result<(), BrokerError> {
    let timestamp = i64::try_from(message.timestamp.as_millis()).unwrap_or(i64::MAX);
    let headers = message.headers.iter().map(|(name, value)| (name.as_ref(), Some(value.as_ref())));
    builder
        .push(timestamp, message.key.as_deref(), Some(message.body.as_ref()), headers)
        .map_err(from_log)
}

fn finish(building: Building, targets: &[Target]) -> Option<Part> {
    let Building { target, partition, builder } = building;
    let name = targets.get(target)?.layout.partition(partition)?.name().clone();
    let count = builder.len() as u64;
    Some(Part { target, partition, name, count, bytes: builder.finish() })
}
