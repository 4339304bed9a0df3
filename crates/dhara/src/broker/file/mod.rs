//! The broker over the embedded log: durable, nothing to install.
//!
//! A publish is one append of the log and is answered when it is on the disk; publishes that wait
//! together share one sync. Positions of groups ride along with the next commit, or ask for one of
//! their own after a moment; [`Broker::close`] writes what is left. The attempts that were counted,
//! and what was done above a group's position, are known until the broker is closed.

mod ahead;
mod encode;
mod error;
mod partition;
mod positions;
mod topic;
mod topics;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dhara_log::{Append, Appended, Committer, Log, LogError, Options};
use tokio::sync::Semaphore;

use self::encode::{Encoded, Target};
use self::error::{closed_early, from_log};
use self::partition::FilePartition;
use self::positions::Keeper;
use self::topic::FileTopic;
use self::topics::Topics;
use super::group::{Groups, Source};
use super::names::{check_group, check_spec, check_topic};
use super::{
    Batch, Broker, BrokerError, Capabilities, DEFAULT_PARTITIONS, Group, Positions, Progress,
    Subscribe, Subscription, Topic, TopicPartition, TopicSpec,
};
use crate::answer::Answer;
use crate::world::{Task, World};

/// How many bytes may wait for their commit at a time; a publish beyond it waits for its turn. Half
/// of what the log itself would refuse.
const MOST_IN_FLIGHT: usize = 64 << 20;

/// How often something is begun anew because a topic was changed meanwhile.
const MOST_TRIES: u32 = 16;

/// A broker over the embedded log in a folder of its own.
pub struct FileBroker {
    world: World,
    log: Log,
    committer: Mutex<Option<Committer>>,
    topics: Arc<Topics>,
    changes: Task<()>,
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
        let salt = Some(world.random().next_u64());
        let options = Options { salt, clock: world.clock().clone(), ..Options::default() };
        Self::open_with(dir, world, options).await
    }

    /// As [`FileBroker::open`], for who keeps the log in another way than most.
    pub async fn open_with(
        dir: impl AsRef<Path>,
        world: &World,
        options: Options,
    ) -> Result<Self, BrokerError> {
        let dir = dir.as_ref().to_owned();
        let disk = world.disk().clone();
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
        let topics = Topics::new(world, &log, &groups);
        let changes = topics.follow();
        Ok(Self {
            world: world.clone(),
            log,
            committer: Mutex::new(Some(committer)),
            topics,
            changes,
            groups,
            keeper,
            in_flight: Semaphore::new(MOST_IN_FLIGHT),
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::Acquire) { Err(BrokerError::Closed) } else { Ok(()) }
    }

    /// The log itself, for whoever shares it with this broker in this process. What is changed there
    /// of a topic the broker takes over; a topic's partitions are added best by
    /// [`FileBroker::add_partitions`], a log is closed by the broker alone.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Gives a topic more partitions: `total` in all. Fewer than it has are refused, as many change
    /// nothing.
    ///
    /// **Keys move.** A key lies in another partition from then on, unless it happens to stay. The
    /// groups of this process, and those who read alone, keep the order of its events nevertheless:
    /// what was published after the growth is delivered only when everything that was published before
    /// it in the partitions that a key may have come from is done, by the group's position. Which those
    /// are follows from the numbers: from 8 partitions to 16, each new partition waits for one old
    /// one, and the old ones go on without waiting; from 8 to 9, each waits for all. What is paused or
    /// given back below that point holds the others back. The same holds for groups that come later, or
    /// come back, and after a restart, as the log remembers where the partitions ended.
    ///
    /// Publishers of this process use the new partitions at once, and running subscriptions are
    /// assigned them. **Readers outside of this process are not held back**, such as Kafka clients:
    /// a warning is logged, and who depends on the order there stops publishing, lets them finish,
    /// and goes on after the growth.
    pub async fn add_partitions(&self, topic: &Topic, total: u32) -> Result<(), BrokerError> {
        self.check_open()?;
        check_spec(&TopicSpec { name: topic.clone(), partitions: Some(total) })?;
        if self.topics.find(topic).is_none() {
            return Err(BrokerError::Refused {
                what: format!("there is no topic {topic} to add partitions to; declare it"),
            });
        }
        let (log, text) = (self.log.clone(), topic.clone());
        // It waits for a commit.
        let growing = self.world.spawn_blocking(move || log.add_partitions(text.as_str(), total));
        growing.await.map_err(closed_early)?.map_err(from_log)?;
        self.topics.catch_up();
        Ok(())
    }

    async fn find_or_declare(
        &self,
        name: &Topic,
        partitions: Option<u32>,
    ) -> Result<Arc<FileTopic>, BrokerError> {
        let count = partitions.unwrap_or(DEFAULT_PARTITIONS);
        for _ in 0..MOST_TRIES {
            if let Some(topic) = self.topics.find(name) {
                return Ok(topic);
            }
            check_topic(name.as_str())?;
            let (log, text) = (self.log.clone(), name.clone());
            // It waits for a commit.
            let making = self.world.spawn_blocking(move || log.create_topic(text.as_str(), count));
            match making.await.map_err(closed_early)? {
                // It may be gone again by now.
                Ok(_) | Err(LogError::Unknown { .. } | LogError::Exists { .. }) => {}
                Err(error) => return Err(from_log(error)),
            }
        }
        Err(BrokerError::Unavailable {
            what: format!(
                "topic {name} was made {MOST_TRIES} times, and somebody deleted it again"
            ),
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
        for _ in 0..MOST_TRIES {
            self.check_open()?;
            let targets = self.targets(&batch).await?;
            let encoded = Encoded::new(&batch, &targets)?;
            if encoded.is_empty() {
                return Ok(Positions::Many(Vec::new()));
            }
            match self.append(&encoded, &targets).await? {
                Ok(appended) => {
                    encoded.show(&targets, appended.base_offsets());
                    return Ok(encoded.positions(appended.base_offsets()));
                }
                // Nothing was appended; some of the messages belong into other partitions now.
                Err(LogError::Repartitioned { .. }) => {}
                Err(LogError::Unknown { partition }) => {
                    return Err(BrokerError::Unavailable {
                        what: format!(
                            "topic {} was deleted while a batch was on its way to it; nothing of \
                             the batch was published: publish it again, which makes the topic anew",
                            partition.topic
                        ),
                        source: None,
                    });
                }
                Err(error) => return Err(from_log(error)),
            }
        }
        Err(BrokerError::Unavailable {
            what: format!(
                "the topics of a batch were given partitions {MOST_TRIES} times while it \
                           was on its way; nothing of it was published: publish it again"
            ),
            source: None,
        })
    }

    /// The topics of a batch, as they are now.
    async fn targets(&self, batch: &Batch) -> Result<Vec<Target>, BrokerError> {
        let mut targets: Vec<Target> = Vec::with_capacity(1);
        for message in batch.as_slice() {
            if !targets.iter().any(|known| known.asked == message.topic) {
                let topic = self.find_or_declare(&message.topic, None).await?;
                let layout = topic.layout();
                targets.push(Target { asked: message.topic.clone(), topic, layout });
            }
        }
        Ok(targets)
    }

    async fn append(
        &self,
        encoded: &Encoded,
        targets: &[Target],
    ) -> Result<Result<Appended, LogError>, BrokerError> {
        // Waiting here is the back-pressure: what waits for its commit is bounded.
        let wanted = encoded.bytes().clamp(1, MOST_IN_FLIGHT);
        let permits = u32::try_from(wanted).unwrap_or(u32::MAX);
        let _in_flight =
            self.in_flight.acquire_many(permits).await.map_err(|_| BrokerError::Closed)?;
        Ok(self.log.append(encoded.append(targets)).await)
    }

    async fn seat(&self, mut request: Subscribe) -> Result<Arc<dyn Subscription>, BrokerError> {
        self.check_open()?;
        let group = match &request.group {
            Group::Named(name) => {
                check_group(name)?;
                Some(name.clone())
            }
            Group::Alone => None,
        };
        let mut topics: Vec<Arc<FileTopic>> = Vec::new();
        for name in &request.topics {
            let topic = self.find_or_declare(name, None).await?;
            if !topics.iter().any(|known| Arc::ptr_eq(known, &topic)) {
                topics.push(topic);
            }
        }
        // Under an alias, the topic itself is read.
        request.topics = topics.iter().map(|topic| topic.name.clone()).collect();
        let mut seats = Vec::new();
        let mut before = Vec::new();
        for topic in &topics {
            let layout = topic.layout();
            self.topics.show(layout.partitions().iter());
            seats.extend(self.topics.seats(topic, &layout, group.as_ref()));
            before.push((topic, layout));
        }
        let joined = self.groups.join(&request, seats)?;
        before.iter().for_each(|(topic, layout)| self.topics.seated(topic, layout));
        Ok(joined)
    }

    fn rows(&self, group: &str, topics: &[Topic]) -> Result<Vec<Progress>, BrokerError> {
        self.check_open()?;
        let mut rows = Vec::new();
        for name in topics {
            let Some(topic) = self.topics.find(name) else { continue };
            let layout = topic.layout();
            self.topics.show(layout.partitions().iter());
            let partitions = layout.numbered(&topic.name);
            rows.extend(partitions.map(|(partition, source)| self.row(group, partition, source)));
        }
        Ok(rows)
    }

    fn row(&self, group: &str, partition: TopicPartition, source: &FilePartition) -> Progress {
        let committed = match self.groups.position(group, &partition) {
            Some(position) => position,
            None => self.log.committed(group, source.name()).map(|kept| kept.offset),
        };
        let bounds = source.bounds();
        Progress { partition, committed, earliest: bounds.earliest, end: bounds.end }
    }

    /// Takes no more work; the subscriptions end.
    fn end(&self) {
        self.closed.store(true, Ordering::Release);
        self.groups.close();
        self.in_flight.close();
        self.changes.abort();
    }

    /// Has what is left of the positions written with the last commit, which comes with the closing
    /// of the log. To be called when the keeper has ended.
    fn take_committer(&self) -> Option<Committer> {
        let offsets = positions::offsets(self.groups.take_positions());
        if !offsets.is_empty() {
            drop(self.log.append(Append::lazy_offsets(offsets)));
        }
        self.topics.clear();
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
