//! The topics of the log, as they are now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use dhara_log::{Log, TopicInfo};

use super::super::group::{Groups, Seat};
use super::super::names::ByTopic;
use super::super::{BrokerError, Topic};
use super::partition::FilePartition;
use super::topic::{FileTopic, Layout};
use crate::world::{Task, World};

/// The topics that somebody has asked for. Each is known under its name and the aliases that were
/// used, and what others change of it is taken over before anything that was published after the
/// change is shown.
#[derive(Debug)]
pub(super) struct Topics {
    world: World,
    log: Log,
    groups: Arc<Groups<FilePartition>>,
    known: RwLock<ByTopic<Arc<FileTopic>>>,
    /// How many changes of the log's topics were taken over.
    seen: AtomicU64,
    /// Held while changes are taken over.
    changing: Mutex<()>,
}

impl Topics {
    pub(super) fn new(world: &World, log: &Log, groups: &Arc<Groups<FilePartition>>) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            log: log.clone(),
            groups: groups.clone(),
            known: RwLock::default(),
            seen: AtomicU64::new(log.topic_changes()),
            changing: Mutex::new(()),
        })
    }

    /// Takes over the changes of topics as they come.
    pub(super) fn follow(self: &Arc<Self>) -> Task<()> {
        let (watch, topics) = (self.log.watch_topics(), Arc::downgrade(self));
        self.world.spawn(async move {
            while watch.advanced().await.is_ok() {
                let Some(topics) = topics.upgrade() else { return };
                topics.catch_up();
            }
        })
    }

    /// The topic of this name or alias, where it exists.
    pub(super) fn find(self: &Arc<Self>, name: &Topic) -> Option<Arc<FileTopic>> {
        self.catch_up();
        let known = self.known(name);
        known.or_else(|| self.open(name, &self.change()))
    }

    fn known(&self, name: &Topic) -> Option<Arc<FileTopic>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(
        self: &Arc<Self>,
        name: &Topic,
        _changing: &MutexGuard<'_, ()>,
    ) -> Option<Arc<FileTopic>> {
        let info = self.log.topic(name.as_str())?;
        let own_name = Topic::new(&*info.name);
        let topic = match self.known(&own_name) {
            Some(topic) if topic.id == info.id => topic,
            // It was deleted and made again a moment ago; whoever asks once more gets the new one.
            Some(_) => return None,
            None => FileTopic::open(&self.world, &self.log, self, &info),
        };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.add(own_name, topic.clone());
        known.add(name.clone(), topic.clone());
        Some(topic)
    }

    /// Takes over what has changed of the topics since it was last looked.
    pub(super) fn catch_up(self: &Arc<Self>) {
        if self.seen.load(Ordering::Acquire) == self.log.topic_changes() {
            return;
        }
        let changing = self.change();
        loop {
            let changes = self.log.topic_changes();
            if self.seen.load(Ordering::Acquire) == changes {
                return;
            }
            self.take_over(&changing);
            self.seen.store(changes, Ordering::Release);
        }
    }

    fn take_over(self: &Arc<Self>, changing: &MutexGuard<'_, ()>) {
        let mut topics: Vec<Arc<FileTopic>> = Vec::new();
        for topic in self.known.read().unwrap_or_else(PoisonError::into_inner).values() {
            if !topics.iter().any(|known| Arc::ptr_eq(known, topic)) {
                topics.push(topic.clone());
            }
        }
        for topic in topics {
            match self.log.topic(topic.name.as_str()).filter(|info| info.id == topic.id) {
                Some(info) => self.take_over_growth(&topic, &info),
                None => self.forget(&topic),
            }
        }
        // Aliases may stand for others now.
        let own_or_alias = |name: &Topic, topic: &Arc<FileTopic>| {
            *name == topic.name
                || self.log.topic(name.as_str()).is_some_and(|info| info.id == topic.id)
        };
        self.known.write().unwrap_or_else(PoisonError::into_inner).retain(own_or_alias);
        self.seat_again(changing);
    }

    fn take_over_growth(&self, topic: &Arc<FileTopic>, info: &TopicInfo) {
        if let Some((before, layout)) = topic.grow(&self.log, info) {
            tracing::warn!(
                topic = %topic.name, before, now = layout.count,
                "a topic was given more partitions, and keys move to others: the groups of this \
                 process finish what the old partitions held first, readers outside of it are not \
                 held back and may see events of one key out of order until they have read what was \
                 there before"
            );
            self.reseat(topic, &layout);
        }
    }

    fn forget(&self, topic: &Arc<FileTopic>) {
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, known| !Arc::ptr_eq(known, topic));
        tracing::warn!(topic = %topic.name, "a topic was deleted that was in use");
        topic.end();
        self.lose(topic);
    }

    fn lose(&self, topic: &FileTopic) {
        self.groups.lose(&topic.name, || BrokerError::Refused {
            what: format!(
                "topic {} was deleted while it was read: its messages and the positions in it are \
                 gone; what is published to it from now on is a new topic",
                topic.name
            ),
        });
    }

    /// Who reads a topic that was deleted, and was made again, is given the new one.
    fn seat_again(self: &Arc<Self>, changing: &MutexGuard<'_, ()>) {
        for name in self.groups.topics() {
            let known = self.known(&name);
            if let Some(topic) = known.or_else(|| self.open(&name, changing)) {
                self.reseat(&topic, &topic.layout());
            }
        }
    }

    /// To be called after a group was seated before `layout`: what has changed in between is made good.
    pub(super) fn seated(self: &Arc<Self>, topic: &FileTopic, layout: &Arc<Layout>) {
        if topic.has_ended() {
            let changing = self.change();
            self.lose(topic);
            self.seat_again(&changing);
        } else if !Arc::ptr_eq(&topic.layout(), layout) {
            self.reseat(topic, &topic.layout());
        }
    }

    /// Gives the partitions of a topic to the groups that read it.
    fn reseat(&self, topic: &FileTopic, layout: &Layout) {
        self.groups.reseat(&topic.name, |group| self.seats(topic, layout, group));
    }

    /// The partitions of a topic, as a group is seated before them.
    pub(super) fn seats(
        &self,
        topic: &FileTopic,
        layout: &Layout,
        group: Option<&Arc<str>>,
    ) -> Vec<Seat<FilePartition>> {
        let seat = |(partition, source): (_, &Arc<FilePartition>)| {
            let kept = group.and_then(|group| self.log.committed(group, source.name()));
            Seat {
                partition,
                source: source.clone(),
                committed: kept.map(|kept| kept.offset),
                growths: layout.growths.clone(),
                wakers: topic.wakers.clone(),
            }
        };
        layout.numbered(&topic.name).map(seat).collect()
    }

    /// Shows what is there of these partitions. What a growth of the topic comes before is shown
    /// only when the groups know of the growth.
    pub(super) fn show<'a>(self: &Arc<Self>, of: impl Iterator<Item = &'a Arc<FilePartition>>) {
        let found: Vec<_> = of.map(|partition| (partition, partition.look())).collect();
        self.catch_up();
        for (partition, bounds) in found {
            partition.show(bounds);
        }
    }

    pub(super) fn clear(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
