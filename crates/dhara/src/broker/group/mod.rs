//! Consumer groups within a process: members, positions, deliveries in hand.
//!
//! What every broker of this process has in common. A broker brings its partitions as [`Source`]s;
//! [`Groups`] seats members before them.

mod assign;
mod cursor;
mod growth;
mod hold;
mod member;
mod seats;
mod source;
mod state;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

#[cfg_attr(not(feature = "file"), expect(unused_imports, reason = "mem: topics never grow"))]
pub(crate) use growth::Growths;
pub(crate) use source::{Bounds, Read, Seat, Sink, Source, size_in_hand};

use self::cursor::Cold;
use self::member::MemberHandle;
use self::state::State;
use super::{BrokerError, Group, Subscribe, Subscription, Topic, TopicPartition};
use crate::world::World;

/// Called when positions of a group have changed that are to be kept.
pub(crate) type Changed = Arc<dyn Fn() + Send + Sync>;

/// All groups of one broker.
pub(crate) struct Groups<S: Source> {
    world: World,
    changed: Option<Changed>,
    first_epoch: u64,
    all: Mutex<All<S>>,
}

struct All<S: Source> {
    closed: bool,
    named: HashMap<Arc<str>, Arc<Hub<S>>>,
    alone: Vec<Weak<Hub<S>>>,
}

impl<S: Source> Groups<S> {
    /// No groups yet. `first_epoch` is where the epochs of assignments begin to count; `changed` is
    /// told when there are positions to be taken with [`Groups::take_positions`].
    pub(crate) fn new(world: World, first_epoch: u64, changed: Option<Changed>) -> Self {
        let all = All { closed: false, named: HashMap::new(), alone: Vec::new() };
        Self { world, changed, first_epoch, all: Mutex::new(all) }
    }

    /// Seats a new member before `seats`, the partitions of the topics it asked for.
    pub(crate) fn join(
        &self,
        request: &Subscribe,
        seats: Vec<Seat<S>>,
    ) -> Result<Arc<dyn Subscription>, BrokerError> {
        let hub = {
            let mut all = self.lock();
            if all.closed {
                return Err(BrokerError::Closed);
            }
            match &request.group {
                Group::Named(name) => {
                    let new = || Hub::new(self, Some(name.clone()));
                    all.named.entry(name.clone()).or_insert_with(new).clone()
                }
                Group::Alone => {
                    let hub = Hub::new(self, None);
                    all.alone.retain(|known| known.strong_count() > 0);
                    all.alone.push(Arc::downgrade(&hub));
                    hub
                }
            }
        };
        let now = self.world.instant();
        let id = hub.with(|state| state.join(request, seats, now));
        // A group that begins with the latest message has a position from the beginning.
        hub.changed.iter().for_each(|changed| changed());
        Ok(Arc::new(MemberHandle::new(hub, id)))
    }

    /// The position of a group in a partition, where the group was seated since the broker's start:
    /// `Some(None)` when it has none yet.
    pub(crate) fn position(&self, group: &str, partition: &TopicPartition) -> Option<Option<u64>> {
        let hub = self.lock().named.get(group)?.clone();
        hub.with(|state| {
            let cursor = state.cursor_of(partition)?;
            Some(cursor.committed)
        })
    }

    /// A topic has other partitions than before; `seats` gives all of them, as a group sees them.
    #[cfg_attr(not(feature = "file"), expect(dead_code, reason = "mem: topics never grow"))]
    pub(crate) fn reseat(&self, topic: &Topic, seats: impl Fn(Option<&Arc<str>>) -> Vec<Seat<S>>) {
        let now = self.world.instant();
        for hub in self.hubs().iter().filter(|hub| hub.with(|state| state.knows(topic))) {
            let seats = seats(hub.name.as_ref());
            hub.with(|state| state.reseat(topic, seats, now));
        }
    }

    /// A topic was deleted: its readers lose its partitions and are told why.
    #[cfg_attr(not(feature = "file"), expect(dead_code, reason = "mem: never forgets a topic"))]
    pub(crate) fn lose(&self, topic: &Topic, why: impl Fn() -> BrokerError) {
        let now = self.world.instant();
        self.hubs().iter().for_each(|hub| hub.with(|state| state.lose(topic, &why, now)));
    }

    /// The topics that somebody reads.
    #[cfg_attr(not(feature = "file"), expect(dead_code, reason = "mem: never forgets a topic"))]
    pub(crate) fn topics(&self) -> Vec<Topic> {
        let mut topics = Vec::new();
        for hub in self.hubs() {
            hub.with(|state| {
                for topic in state.members.values().flat_map(|member| &member.topics) {
                    if !topics.contains(topic) {
                        topics.push(topic.clone());
                    }
                }
            });
        }
        topics
    }

    fn hubs(&self) -> Vec<Arc<Hub<S>>> {
        let all = self.lock();
        let alone = all.alone.iter().filter_map(Weak::upgrade);
        all.named.values().cloned().chain(alone).collect()
    }

    /// The positions that changed since they were last taken: group, partition, offset.
    #[cfg_attr(
        not(feature = "file"),
        expect(dead_code, reason = "only a broker on a disk needs it")
    )]
    pub(crate) fn take_positions(&self) -> Vec<(Arc<str>, TopicPartition, u64)> {
        let hubs: Vec<_> = self.lock().named.values().cloned().collect();
        let mut positions = Vec::new();
        for hub in hubs {
            let Some(group) = &hub.name else { continue };
            let taken = hub.with(State::take_positions);
            positions.extend(taken.into_iter().map(|(name, at)| (group.clone(), name, at)));
        }
        positions
    }

    /// What must stay, by partition: the lowest position of all groups that have a member.
    pub(crate) fn pins(&self) -> HashMap<TopicPartition, u64> {
        let hubs: Vec<_> = self.lock().named.values().cloned().collect();
        let mut pins: HashMap<TopicPartition, u64> = HashMap::new();
        for hub in hubs {
            hub.with(|state| {
                for cursor in state.cursors.iter().filter(|cursor| cursor.owner.is_some()) {
                    let position = cursor.position();
                    pins.entry(cursor.partition.clone())
                        .and_modify(|lowest| *lowest = position.min(*lowest))
                        .or_insert(position);
                }
            });
        }
        pins
    }

    /// Ends every subscription.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.hubs().iter().for_each(|hub| hub.with(State::close));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, All<S>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Source> fmt::Debug for Groups<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").finish_non_exhaustive()
    }
}

/// One group: its state behind one lock.
struct Hub<S: Source> {
    world: World,
    /// `None` for a reader alone.
    name: Option<Arc<str>>,
    changed: Option<Changed>,
    state: Mutex<State<S>>,
}

impl<S: Source> Hub<S> {
    fn new(groups: &Groups<S>, name: Option<Arc<str>>) -> Arc<Self> {
        Arc::new(Self {
            world: groups.world.clone(),
            changed: groups.changed.clone().filter(|_| name.is_some()),
            name,
            state: Mutex::new(State::new(groups.first_epoch)),
        })
    }

    /// Works on the state; those it decided to wake are woken when the lock is free again.
    fn with<R>(&self, work: impl FnOnce(&mut State<S>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        let woken = std::mem::take(&mut state.woken);
        drop(state);
        woken.into_iter().for_each(std::task::Waker::wake);
        result
    }

    /// Brings what a reader found cold, beside the tasks: a disk may take its time, and the
    /// runtime's threads are for work that does not wait.
    fn fetch(self: &Arc<Self>, cold: Vec<Cold>, max_bytes: usize) {
        for request in cold {
            let hub = self.clone();
            let source = self.with(|state| {
                state.cursors.get(request.slot as usize).map(|cursor| cursor.source.clone())
            });
            let Some(source) = source else { continue };
            // The task ends by itself, and its result is taken from the state.
            drop(self.world.spawn_blocking(move || {
                let fetched = source.fetch(request.from, max_bytes);
                hub.with(|state| state.fetched(request, fetched));
            }));
        }
    }
}

impl<S: Source> fmt::Debug for Hub<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("group", &self.name).finish_non_exhaustive()
    }
}
