//! The broker in process: topics are vectors, groups are cursors, nothing outlives the process.
//!
//! `mem:` takes two options, in bytes with an optional unit (`k`, `m`, `g`, of 1024):
//!
//! - `mem:?retain=64m`: how much is kept of what every group has done, for replay. The oldest goes
//!   first, in chunks of 256 messages of a partition, whole partitions never. What a group with a
//!   member has not done is kept whatever the bound. A group without members, or a reader alone, that
//!   finds its place gone is told [`BrokerError::Expired`] once and goes on with the earliest message.
//! - `mem:?limit=1g`: how much is kept at all. Beyond it a publish is answered with
//!   [`BrokerError::Unavailable`] until the groups have caught up.

mod partition;
mod retention;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use self::partition::{MemPartition, size_of_message};
pub use self::retention::MemOptions;
use self::retention::Retention;
use super::group::{Groups, Seat};
use super::names::{ByTopic, check_group, check_spec, check_topic};
use super::partitioner::{Turns, partition_of};
use super::wakers::Wakers;
use super::{
    Batch, Broker, BrokerError, Capabilities, DEFAULT_PARTITIONS, Group, Message, Position,
    Positions, Progress, Subscribe, Subscription, Topic, TopicPartition, TopicSpec,
};
use crate::answer::Answer;
use crate::world::World;

/// A broker in process that keeps nothing when it is dropped.
#[derive(Debug)]
pub struct MemBroker {
    topics: RwLock<ByTopic<Arc<MemTopic>>>,
    groups: Groups<MemPartition>,
    retention: Retention,
    closed: AtomicBool,
}

#[derive(Debug)]
struct MemTopic {
    name: Topic,
    /// As many as `count`, which is the form that the partitioner wants.
    partitions: Vec<Arc<MemPartition>>,
    count: u32,
    turns: Turns,
    wakers: Arc<Wakers>,
}

impl MemTopic {
    fn new(name: Topic, count: u32) -> Arc<Self> {
        let partitions = (0..count).map(|_| Arc::new(MemPartition::new())).collect();
        let (turns, wakers) = (Turns::default(), Arc::default());
        Arc::new(Self { name, partitions, count, turns, wakers })
    }

    /// The partitions, with their numbers.
    fn numbered(&self) -> impl Iterator<Item = (TopicPartition, &Arc<MemPartition>)> {
        (0..).zip(&self.partitions).map(|(partition, source)| {
            (TopicPartition { topic: self.name.clone(), partition }, source)
        })
    }
}

impl MemBroker {
    /// A broker without topics.
    pub fn new(world: &World, options: MemOptions) -> Self {
        // Epochs rise from one life of the process to the next, as the clock does: whoever keeps
        // them in a store never sees a lower one.
        let first_epoch = world.now().as_millis() << 16;
        Self {
            topics: RwLock::default(),
            groups: Groups::new(world.clone(), first_epoch, None),
            retention: Retention::new(options),
            closed: AtomicBool::new(false),
        }
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::Acquire) { Err(BrokerError::Closed) } else { Ok(()) }
    }

    // For each publish, as is the next: as calls, most of them would be the handing over.
    #[inline(always)]
    fn find(&self, name: &Topic) -> Option<Arc<MemTopic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    #[inline(always)]
    fn find_or_declare(
        &self,
        name: &Topic,
        partitions: Option<u32>,
    ) -> Result<Arc<MemTopic>, BrokerError> {
        if let Some(topic) = self.find(name) {
            return Ok(topic);
        }
        self.declare_one(name, partitions.unwrap_or(DEFAULT_PARTITIONS))
    }

    #[cold]
    fn declare_one(&self, name: &Topic, count: u32) -> Result<Arc<MemTopic>, BrokerError> {
        check_topic(name.as_str())?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return Ok(topic.clone());
        }
        let topic = MemTopic::new(name.clone(), count);
        topics.add(name.clone(), topic.clone());
        Ok(topic)
    }

    fn declare_all(&self, topics: &[TopicSpec]) -> Result<(), BrokerError> {
        self.check_open()?;
        topics.iter().try_for_each(check_spec)?;
        for spec in topics {
            self.find_or_declare(&spec.name, spec.partitions)?;
        }
        Ok(())
    }

    fn publish_batch(&self, batch: Batch) -> Result<Positions, BrokerError> {
        self.check_open()?;
        if self.retention.is_full() {
            // Something may have been done since the last sweep.
            self.sweep();
            if self.retention.is_full() {
                return Err(self.retention.refusal());
            }
        }
        let positions = match batch {
            Batch::One(ref message) => {
                let topic = self.find_or_declare(&message.topic, None)?;
                let turn = if message.key.is_none() { topic.turns.next(topic.count) } else { 0 };
                let (partition, size) = self.weigh(&topic, message, turn);
                let mut offset = 0;
                // Moved out of the batch only now that its place is known: each hand that a message
                // goes through is a copy of it.
                if let Some(target) = topic.partitions.get(partition as usize).map(|it| it.open())
                    && let Batch::One(message) = batch
                {
                    offset = target.append(message, size);
                }
                topic.wakers.wake();
                Positions::One(Position { partition, offset })
            }
            Batch::Many(messages) => Positions::Many(self.publish_many(messages)?),
        };
        if self.retention.is_due() {
            self.sweep();
        }
        Ok(positions)
    }

    fn publish_many(&self, messages: Vec<Message>) -> Result<Vec<Position>, BrokerError> {
        // All topics are there before the first message is: a bad name refuses the whole batch.
        let mut topics: Vec<(Arc<MemTopic>, u32)> = Vec::new();
        for message in &messages {
            if !topics.iter().any(|(known, _)| known.name == message.topic) {
                let topic = self.find_or_declare(&message.topic, None)?;
                let turn = topic.turns.next(topic.count);
                topics.push((topic, turn));
            }
        }
        let mut positions = Vec::with_capacity(messages.len());
        for message in messages {
            let topic = topics.iter().find(|(known, _)| known.name == message.topic);
            let Some((topic, turn)) = topic else { continue };
            let (partition, size) = self.weigh(topic, &message, *turn);
            let Some(target) = topic.partitions.get(partition as usize) else { continue };
            let offset = target.open().append(message, size);
            positions.push(Position { partition, offset });
        }
        topics.iter().for_each(|(topic, _)| topic.wakers.wake());
        Ok(positions)
    }

    /// The partition that a message goes to, which is below the topic's count, and the message's size,
    /// which is counted.
    #[inline]
    fn weigh(&self, topic: &MemTopic, message: &Message, turn: u32) -> (u32, u64) {
        let partition = match &message.key {
            Some(key) => partition_of(key, topic.count),
            None => turn,
        };
        let size = size_of_message(message);
        self.retention.add(size);
        (partition, size)
    }

    fn sweep(&self) {
        let topics: Vec<_> = {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            topics.values().cloned().collect()
        };
        let partitions = topics.iter().flat_map(|topic| topic.numbered());
        self.retention.sweep(partitions, &self.groups.pins());
    }

    fn seat(&self, request: &Subscribe) -> Result<Arc<dyn Subscription>, BrokerError> {
        self.check_open()?;
        if let Group::Named(name) = &request.group {
            check_group(name)?;
        }
        let mut seats = Vec::new();
        for name in &request.topics {
            let topic = self.find_or_declare(name, None)?;
            seats.extend(topic.numbered().map(|(partition, source)| Seat {
                partition,
                source: source.clone(),
                committed: None,
                growths: Arc::default(),
                wakers: topic.wakers.clone(),
            }));
        }
        self.groups.join(request, seats)
    }

    fn rows(&self, group: &str, topics: &[Topic]) -> Vec<Progress> {
        let topics: Vec<_> = topics.iter().filter_map(|name| self.find(name)).collect();
        let partitions = topics.iter().flat_map(|topic| topic.numbered());
        let row = |(partition, source): (TopicPartition, &Arc<MemPartition>)| {
            let bounds = super::group::Source::bounds(source.as_ref());
            let committed = self.groups.position(group, &partition).flatten();
            Progress { partition, committed, earliest: bounds.earliest, end: bounds.end }
        };
        partitions.map(row).collect()
    }

    fn end(&self) {
        self.closed.store(true, Ordering::Release);
        self.groups.close();
    }
}

impl Broker for MemBroker {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            redelivers: true,
            replay: true,
            ordered_by_key: true,
            delay: true,
            ..Capabilities::NONE
        }
    }

    fn declare<'a>(&'a self, topics: &'a [TopicSpec]) -> Answer<'a, Result<(), BrokerError>> {
        Answer::now(self.declare_all(topics))
    }

    fn publish(&self, batch: Batch) -> Answer<'_, Result<Positions, BrokerError>> {
        Answer::now(self.publish_batch(batch))
    }

    fn subscribe(
        &self,
        request: Subscribe,
    ) -> Answer<'_, Result<Arc<dyn Subscription>, BrokerError>> {
        Answer::now(self.seat(&request))
    }

    fn progress<'a>(
        &'a self,
        group: &'a str,
        topics: &'a [Topic],
    ) -> Answer<'a, Result<Vec<Progress>, BrokerError>> {
        Answer::now(self.check_open().map(|()| self.rows(group, topics)))
    }

    fn close(&self) -> Answer<'_, Result<(), BrokerError>> {
        self.end();
        Answer::now(Ok(()))
    }
}

impl Drop for MemBroker {
    fn drop(&mut self) {
        self.end();
    }
}
