//! The broker over the embedded log: durable, nothing to install.
//!
//! A publish is one append of the log and is answered when it is on the disk; publishes that wait
//! together share one sync. Positions of groups ride along with the next commit, or ask for one of
//! their own after a moment; [`Broker::close`] writes what is left. The attempts that were counted,
//! and what was done above a group's position, are known until the broker is closed.

mod encode;
mod error;
mod partition;
mod positions;
mod topic;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use dhara_log::{Append, Committer, Log, Options, Ticket};
use tokio::sync::Semaphore;

use self::encode::Encoded;
use self::error::{closed_early, from_log};
use self::partition::FilePartition;
use self::positions::Keeper;
use self::topic::FileTopic;
use super::group::{Groups, Seat, Source};
use super::names::{ByTopic, check_group, check_spec, check_topic};
use super::{
    Batch, Broker, BrokerError, Capabilities, DEFAULT_PARTITIONS, Group, Positions, Progress,
    Subscribe, Subscription, Topic, TopicPartition, TopicSpec,
};
use crate::answer::Answer;
use crate::world::World;

/// How many bytes may wait for their commit at a time; a publish beyond it waits for its turn. Half
/// of what the log itself would refuse.
const MOST_IN_FLIGHT: usize = 64 << 20;

/// A broker over the embedded log in a folder of its own.
pub struct FileBroker {
    world: World,
    log: Log,
    committer: Mutex<Option<Committer>>,
    topics: RwLock<ByTopic<Arc<FileTopic>>>,
    groups: Arc<Groups<FilePartition>>,
    keeper: Keeper,
    in_flight: Semaphore,
    closed: AtomicBool,
}

impl fmt::Debug for FileBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBroker").field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl FileBroker {
    /// Opens the log in `dir`, which is made where it is missing.
    pub async fn open(dir: impl AsRef<Path>, world: &World) -> Result<Self, BrokerError> {
        let dir = dir.as_ref().to_owned();
        let disk = world.disk().clone();
        let options = Options { salt: Some(world.random().next_u64()), ..Options::default() };
        let opening = world.spawn_blocking(move || {
            let log = Log::open(disk, dir, options)?;
            let committer = Committer::start(&log)?;
            Ok((log, committer))
        });
        let (log, committer) = opening.await.map_err(closed_early)?.map_err(from_log)?;
        let keeper = Keeper::default();
        // Every opening of the log has a higher epoch, so that epochs of assignments only rise.
        let first_epoch = u64::from(log.epoch()) << 32;
        let groups = Groups::new(world.clone(), first_epoch, Some(keeper.changed()));
        let groups = Arc::new(groups);
        keeper.start(world, &log, &groups);
        Ok(Self {
            world: world.clone(),
            log,
            committer: Mutex::new(Some(committer)),
            topics: RwLock::default(),
            groups,
            keeper,
            in_flight: Semaphore::new(MOST_IN_FLIGHT),
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::Acquire) { Err(BrokerError::Closed) } else { Ok(()) }
    }

    /// The topic, where it exists.
    fn find(&self, name: &Topic) -> Result<Option<Arc<FileTopic>>, BrokerError> {
        let known = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(info) = self.log.topic(name.as_str()) else { return Ok(None) };
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = topics.get(name) {
            return Ok(Some(known.clone()));
        }
        let topic = FileTopic::open(&self.world, &self.log, name, info.partitions)?;
        topics.add(name.clone(), topic.clone());
        Ok(Some(topic))
    }

    async fn find_or_declare(
        &self,
        name: &Topic,
        partitions: Option<u32>,
    ) -> Result<Arc<FileTopic>, BrokerError> {
        if let Some(topic) = self.find(name)? {
            return Ok(topic);
        }
        check_topic(name.as_str())?;
        let (log, text) = (self.log.clone(), name.clone());
        let count = partitions.unwrap_or(DEFAULT_PARTITIONS);
        // It waits for a commit.
        let making = self.world.spawn_blocking(move || log.create_topic(text.as_str(), count));
        making.await.map_err(closed_early)?.map_err(from_log)?;
        self.find(name)?.ok_or_else(|| BrokerError::Unavailable {
            what: format!("topic {name} was made and is gone again"),
            source: None,
        })
    }

    async fn declare_all(&self, topics: &[TopicSpec]) -> Result<(), BrokerError> {
        self.check_open()?;
        topics.iter().try_for_each(check_spec)?;
        for spec in topics {
            self.find_or_declare(&spec.name, spec.partitions).await?;
        }
        Ok(())
    }

    async fn publish_batch(&self, batch: Batch) -> Result<Positions, BrokerError> {
        self.check_open()?;
        let mut topics: Vec<Arc<FileTopic>> = Vec::new();
        for message in batch.as_slice() {
            if !topics.iter().any(|known| known.name == message.topic) {
                topics.push(self.find_or_declare(&message.topic, None).await?);
            }
        }
        let encoded = Encoded::new(&batch, &topics)?;
        if encoded.is_empty() {
            return Ok(Positions::Many(Vec::new()));
        }
        // Waiting here is the back-pressure: what waits for its commit is bounded.
        let wanted = encoded.bytes().clamp(1, MOST_IN_FLIGHT);
        let permits = u32::try_from(wanted).unwrap_or(u32::MAX);
        let _in_flight =
            self.in_flight.acquire_many(permits).await.map_err(|_| BrokerError::Closed)?;
        let ticket: Ticket = self.log.append(encoded.append());
        let appended = ticket.await.map_err(from_log)?;
        for topic in &topics {
            topic.advanced(&encoded, appended.base_offsets());
        }
        Ok(encoded.positions(appended.base_offsets()))
    }

    async fn seat(&self, request: Subscribe) -> Result<Arc<dyn Subscription>, BrokerError> {
        self.check_open()?;
        let group = match &request.group {
            Group::Named(name) => {
                check_group(name)?;
                Some(name)
            }
            Group::Alone => None,
        };
        let mut seats = Vec::new();
        for name in &request.topics {
            let topic = self.find_or_declare(name, None).await?;
            seats.extend(topic.numbered().map(|(partition, source)| {
                let kept = group.and_then(|group| self.log.committed(group, source.name()));
                Seat {
                    partition,
                    source: source.clone(),
                    committed: kept.map(|kept| kept.offset),
                    wakers: topic.wakers.clone(),
                }
            }));
        }
        self.groups.join(&request, seats)
    }

    fn rows(&self, group: &str, topics: &[Topic]) -> Result<Vec<Progress>, BrokerError> {
        self.check_open()?;
        let mut rows = Vec::new();
        for name in topics {
            let Some(topic) = self.find(name)? else { continue };
            rows.extend(
                topic.numbered().map(|(partition, source)| self.row(group, partition, source)),
            );
        }
        Ok(rows)
    }

    fn row(&self, group: &str, partition: TopicPartition, source: &FilePartition) -> Progress {
        let committed = match self.groups.position(group, &partition) {
            Some(position) => position,
            None => self.log.committed(group, source.name()).map(|kept| kept.offset),
        };
        source.refresh();
        let bounds = source.bounds();
        Progress { partition, committed, earliest: bounds.earliest, end: bounds.end }
    }

    /// Takes no more work; the subscriptions end.
    fn end(&self) {
        self.closed.store(true, Ordering::Release);
        self.groups.close();
        self.in_flight.close();
    }

    /// Has what is left of the positions written with the last commit, which comes with the closing
    /// of the log. To be called when the keeper has ended.
    fn take_committer(&self) -> Option<Committer> {
        let offsets = positions::offsets(self.groups.take_positions());
        if !offsets.is_empty() {
            drop(self.log.append(Append::lazy_offsets(offsets)));
        }
        self.topics.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.committer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn shut(&self) -> Result<(), BrokerError> {
        self.end();
        if let Some(task) = self.keeper.stop() {
            // That it was aborted is what was asked for.
            drop(task.await);
        }
        match self.take_committer() {
            Some(committer) => {
                let stopping = self.world.spawn_blocking(move || committer.stop());
                stopping.await.map_err(closed_early)?.map_err(from_log)
            }
            None => Ok(()),
        }
    }
}

impl Broker for FileBroker {
    fn id(&self) -> Option<Arc<str>> {
        Some(format!("log-{:016x}", self.log.id()).into())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            redelivers: true,
            replay: true,
            ordered_by_key: true,
            delay: true,
            ..Capabilities::NONE
        }
    }

    fn declare<'a>(&'a self, topics: &'a [TopicSpec]) -> Answer<'a, Result<(), BrokerError>> {
        Answer::later(self.declare_all(topics))
    }

    fn publish(&self, batch: Batch) -> Answer<'_, Result<Positions, BrokerError>> {
        Answer::later(self.publish_batch(batch))
    }

    fn subscribe(
        &self,
        request: Subscribe,
    ) -> Answer<'_, Result<Arc<dyn Subscription>, BrokerError>> {
        Answer::later(self.seat(request))
    }

    fn progress<'a>(
        &'a self,
        group: &'a str,
        topics: &'a [Topic],
    ) -> Answer<'a, Result<Vec<Progress>, BrokerError>> {
        Answer::now(self.rows(group, topics))
    }

    fn close(&self) -> Answer<'_, Result<(), BrokerError>> {
        Answer::later(self.shut())
    }
}

impl Drop for FileBroker {
    fn drop(&mut self) {
        self.end();
        drop(self.keeper.stop());
        // Dropping the committer closes the log and waits for the last commit.
        drop(self.take_committer());
    }
}
