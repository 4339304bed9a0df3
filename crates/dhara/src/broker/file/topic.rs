//! A topic of the log, and the news of it.

use std::sync::Arc;

use dhara_log::Log;

use super::super::partitioner::{Turns, partition_of};
use super::super::wakers::Wakers;
use super::super::{BrokerError, Message, Topic, TopicPartition};
use super::encode::Encoded;
use super::error::from_log;
use super::partition::FilePartition;
use crate::world::{Task, World};

/// One topic.
#[derive(Debug)]
pub(super) struct FileTopic {
    pub(super) name: Topic,
    partitions: Arc<[Arc<FilePartition>]>,
    count: u32,
    turns: Turns,
    pub(super) wakers: Arc<Wakers>,
    news: Task<()>,
}

impl FileTopic {
    /// Watches the partitions of a topic that exists.
    pub(super) fn open(
        world: &World,
        log: &Log,
        name: &Topic,
        count: u32,
    ) -> Result<Arc<Self>, BrokerError> {
        let names: Vec<_> =
            (0..count).map(|it| dhara_log::TopicPartition::new(name.as_str(), it)).collect();
        let watch = log.watch(&names).map_err(from_log)?;
        let partition = |name| Arc::new(FilePartition::new(log.clone(), name));
        let partitions: Arc<[_]> = names.into_iter().map(partition).collect();
        let wakers = Arc::new(Wakers::default());
        let news = world.spawn({
            let (partitions, wakers) = (partitions.clone(), wakers.clone());
            async move {
                while let Ok(places) = watch.advanced().await {
                    let advanced = places.into_iter().filter_map(|place| partitions.get(place));
                    advanced.for_each(|partition| partition.refresh());
                    wakers.wake();
                }
            }
        });
        let turns = Turns::default();
        Ok(Arc::new(Self { name: name.clone(), partitions, count, turns, wakers, news }))
    }

    /// The partitions, with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (TopicPartition, &Arc<FilePartition>)> {
        (0..).zip(self.partitions.iter()).map(|(partition, source)| {
            (TopicPartition { topic: self.name.clone(), partition }, source)
        })
    }

    pub(super) fn partition(&self, number: u32) -> Option<&Arc<FilePartition>> {
        self.partitions.get(number as usize)
    }

    /// Which partition messages without a key go to, for one publish.
    pub(super) fn turn(&self) -> u32 {
        self.turns.next(self.count)
    }

    pub(super) fn place(&self, message: &Message, turn: u32) -> u32 {
        message.key.as_ref().map_or(turn, |key| partition_of(key, self.count))
    }

    /// Takes note of what was published through this broker, without waiting for the news of it: a
    /// publisher that has its answer finds its messages counted.
    pub(super) fn advanced(&self, encoded: &Encoded, bases: &[u64]) {
        for (topic, partition, end) in encoded.ends(bases) {
            if *topic == self.name {
                self.partition(partition).into_iter().for_each(|it| it.reaches(end));
            }
        }
        self.wakers.wake();
    }
}

impl Drop for FileTopic {
    fn drop(&mut self) {
        self.news.abort();
    }
}
