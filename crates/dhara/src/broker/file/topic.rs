//! A topic of the log, and the news of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use dhara_log::{Log, TopicInfo};
use tokio::sync::Notify;

use super::super::group::Growths;
use super::super::partitioner::{Turns, partition_of};
use super::super::wakers::Wakers;
use super::super::{Message, Topic, TopicPartition};
use super::partition::FilePartition;
use super::topics::Topics;
use crate::world::{Task, World};

/// One topic.
#[derive(Debug)]
pub(super) struct FileTopic {
    pub(super) name: Topic,
    /// Tells it from another of the same name.
    pub(super) id: u128,
    turns: Turns,
    pub(super) wakers: Arc<Wakers>,
    now: Arc<Now>,
    news: Task<()>,
}

/// What changes of a topic.
#[derive(Debug)]
struct Now {
    layout: RwLock<Arc<Layout>>,
    grown: Notify,
    ended: AtomicBool,
}

/// The partitions of a topic at one time.
#[derive(Debug)]
pub(super) struct Layout {
    partitions: Vec<Arc<FilePartition>>,
    pub(super) count: u32,
    pub(super) growths: Arc<Growths>,
}

impl Layout {
    /// The topic's partitions; those that it had `before` stay the same.
    fn new(log: &Log, info: &TopicInfo, before: &[Arc<FilePartition>]) -> Arc<Self> {
        let new = |number| {
            let name = dhara_log::TopicPartition::new(info.name.clone(), number);
            Arc::new(FilePartition::new(log.clone(), name, info.id))
        };
        let first_new = u32::try_from(before.len()).unwrap_or(u32::MAX);
        let added = (first_new..info.partitions).map(new);
        let partitions = before.iter().cloned().chain(added).collect();
        let ends = info.growths.iter().map(|growth| growth.ends.clone()).collect();
        let growths = Arc::new(Growths::new(ends, info.partitions));
        Arc::new(Self { partitions, count: info.partitions, growths })
    }

    /// The partitions, with their numbers.
    pub(super) fn numbered(
        &self,
        name: &Topic,
    ) -> impl Iterator<Item = (TopicPartition, &Arc<FilePartition>)> {
        (0..)
            .zip(&self.partitions)
            .map(|(partition, source)| (TopicPartition { topic: name.clone(), partition }, source))
    }

    pub(super) fn partitions(&self) -> &[Arc<FilePartition>] {
        &self.partitions
    }

    pub(super) fn partition(&self, number: u32) -> Option<&Arc<FilePartition>> {
        self.partitions.get(number as usize)
    }

    pub(super) fn place(&self, message: &Message, turn: u32) -> u32 {
        message.key.as_ref().map_or(turn, |key| partition_of(key, self.count))
    }
}

impl FileTopic {
    /// Watches the partitions of a topic that exists.
    pub(super) fn open(
        world: &World,
        log: &Log,
        topics: &Arc<Topics>,
        info: &TopicInfo,
    ) -> Arc<Self> {
        let layout = RwLock::new(Layout::new(log, info, &[]));
        let now = Arc::new(Now { layout, grown: Notify::new(), ended: AtomicBool::new(false) });
        let wakers = Arc::new(Wakers::default());
        let following = follow(log.clone(), now.clone(), wakers.clone(), Arc::downgrade(topics));
        let (name, turns) = (Topic::new(&*info.name), Turns::default());
        Arc::new(Self { name, id: info.id, turns, wakers, now, news: world.spawn(following) })
    }

    /// The partitions as they are now.
    pub(super) fn layout(&self) -> Arc<Layout> {
        self.now.layout.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over that the topic has more partitions: gives how many it had, and the new ones. By one
    /// caller at a time.
    pub(super) fn grow(&self, log: &Log, info: &TopicInfo) -> Option<(u32, Arc<Layout>)> {
        let before = self.layout();
        if info.partitions <= before.count {
            return None;
        }
        let layout = Layout::new(log, info, &before.partitions);
        *self.now.layout.write().unwrap_or_else(PoisonError::into_inner) = layout.clone();
        self.now.grown.notify_one();
        Some((before.count, layout))
    }

    /// The topic is there no more.
    pub(super) fn end(&self) {
        self.now.ended.store(true, Ordering::Release);
        self.layout().partitions.iter().for_each(|partition| partition.end());
        self.news.abort();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.now.ended.load(Ordering::Acquire)
    }

    /// Which partition messages without a key go to, for one publish.
    pub(super) fn turn(&self, layout: &Layout) -> u32 {
        self.turns.next(layout.count)
    }
}

impl Drop for FileTopic {
    fn drop(&mut self) {
        self.news.abort();
    }
}

/// Shows what is new in the partitions, as it comes.
async fn follow(log: Log, now: Arc<Now>, wakers: Arc<Wakers>, topics: Weak<Topics>) {
    loop {
        let layout = now.layout.read().unwrap_or_else(PoisonError::into_inner).clone();
        let names: Vec<_> = layout.partitions.iter().map(|it| it.name().clone()).collect();
        let Ok(watch) = log.watch(&names) else { return };
        loop {
            let places = tokio::select! {
                biased;
                () = now.grown.notified() => break,
                places = watch.advanced() => places,
            };
            let Some((places, topics)) = places.ok().zip(topics.upgrade()) else { return };
            topics.show(places.into_iter().filter_map(|place| layout.partitions.get(place)));
            wakers.wake();
        }
    }
}
