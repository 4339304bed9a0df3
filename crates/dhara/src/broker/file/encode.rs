//! From messages to record batches.

use std::sync::Arc;

use bytes::Bytes;
use dhara_log::Append;
use dhara_log::batch::BatchBuilder;

use super::super::{Batch, BrokerError, Message, Position, Positions, Topic};
use super::error::from_log;
use super::topic::FileTopic;

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
    topic: Topic,
    partition: u32,
    name: dhara_log::TopicPartition,
    count: u64,
    bytes: Bytes,
}

/// A part on its way.
struct Building {
    topic: usize,
    partition: u32,
    builder: BatchBuilder,
}

impl Encoded {
    /// Encodes `batch`; `topics` holds the topic of every message.
    pub(super) fn new(batch: &Batch, topics: &[Arc<FileTopic>]) -> Result<Self, BrokerError> {
        let turns: Vec<u32> = topics.iter().map(|topic| topic.turn()).collect();
        let messages = batch.as_slice();
        let is_single = matches!(batch, Batch::One(_));
        let mut building: Vec<Building> = Vec::with_capacity(1);
        let mut places = Vec::with_capacity(if is_single { 0 } else { messages.len() });
        for message in messages {
            let number = topics.iter().position(|topic| topic.name == message.topic).unwrap_or(0);
            let Some((topic, turn)) = topics.get(number).zip(turns.get(number)) else { continue };
            let partition = topic.place(message, *turn);
            let part = part_for(&mut building, number, partition, size_of(message));
            let Some(building) = building.get_mut(part) else { continue };
            if !is_single {
                places.push((part, building.builder.len() as u64));
            }
            push(&mut building.builder, message)?;
        }
        let parts = building.into_iter().filter_map(|building| finish(building, topics)).collect();
        Ok(Self { parts, places, is_single })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// What the log is given: all of it at once.
    pub(super) fn append(&self) -> Append {
        let batch = |part: &Part| (part.name.clone(), part.bytes.clone());
        Append { batches: self.parts.iter().map(batch).collect(), ..Append::default() }
    }

    /// How far each partition reaches, given the first offsets of the parts.
    pub(super) fn ends<'a>(
        &'a self,
        bases: &'a [u64],
    ) -> impl Iterator<Item = (&'a Topic, u32, u64)> {
        let reached = self.parts.iter().zip(bases);
        reached.map(|(part, base)| (&part.topic, part.partition, base + part.count))
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
fn part_for(building: &mut Vec<Building>, topic: usize, partition: u32, size: usize) -> usize {
    let same = |it: &Building| it.topic == topic && it.partition == partition;
    if let Some(place) = building.iter().position(same) {
        return place;
    }
    let builder = BatchBuilder::with_capacity(size);
    building.push(Building { topic, partition, builder });
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

fn finish(building: Building, topics: &[Arc<FileTopic>]) -> Option<Part> {
    let Building { topic, partition, builder } = building;
    let topic = topics.get(topic)?;
    let name = topic.partition(partition)?.name().clone();
    let count = builder.len() as u64;
    Some(Part { topic: topic.name.clone(), partition, name, count, bytes: builder.finish() })
}
