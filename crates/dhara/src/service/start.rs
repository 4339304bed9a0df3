//! How a service starts, and what keeps it from starting.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Service;
use super::core::{Core, Parts};
use super::intake::Intake;
use super::lane::Lane;
use super::relay::relay;
use super::running::Running;
use crate::answer::BoxFuture;
use crate::broker::{Broker, BrokerError, Subscribe, Subscription, Topic, TopicPartition};
use crate::store::{ServiceStore, StoreError, Tx, Unit};
use crate::world::Task;

/// Why a service did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The service is not put together rightly, or cannot keep what it promises with this broker
    /// and store.
    Misfit {
        /// What does not fit, and what would.
        what: String,
    },
    /// The broker did not let it subscribe.
    Broker(BrokerError),
    /// Its store could not be opened or set up.
    Store(StoreError),
    /// The signals that stop a process could not be listened for.
    Signals {
        /// What the system says.
        what: String,
    },
}

impl<S: Clone + Send + Sync + 'static> Service<S> {
    /// Starts the service and gives the handle to it.
    ///
    /// # Errors
    ///
    /// When it is not put together rightly, or broker or store cannot be used.
    pub async fn start(self, broker: &Arc<dyn Broker>) -> Result<Running, StartError> {
        self.check(broker.as_ref())?;
        let place = match &self.store {
            Some(store) => Some(store.open(&self.name).await.map_err(StartError::Store)?),
            None => None,
        };
        let topics = self.topics();
        let mut stored = HashMap::new();
        if let Some(place) = &place {
            set_up(place.as_ref(), self.setup.clone()).await.map_err(StartError::Store)?;
            stored = positions(place.as_ref(), broker.as_ref(), &self.name, &topics).await?;
        }
        let subscription = match topics.is_empty() {
            true => None,
            false => Some(self.subscribe(broker.as_ref(), &topics).await?),
        };
        let core = Arc::new(Core::new(Parts {
            world: self.world,
            name: self.name,
            broker: broker.clone(),
            store: place,
            subscription,
            topics,
            endpoints: self.endpoints,
        }));
        Ok(begin(core, self.lanes, stored))
    }

    /// Runs the service until the process is told to end (SIGTERM, Ctrl-C) or an error stops it,
    /// then stops gracefully.
    ///
    /// # Errors
    ///
    /// As [`Service::start`]; and when the broker could not be told at the end.
    pub async fn run(self, broker: &Arc<dyn Broker>) -> Result<(), StartError> {
        let signals = |error: std::io::Error| StartError::Signals { what: error.to_string() };
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
        let running = self.start(broker).await?;
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
            () = running.stopped() => (),
        }
        running.stop().await.map_err(StartError::Broker)
    }

    async fn subscribe(
        &self,
        broker: &dyn Broker,
        topics: &[Topic],
    ) -> Result<Arc<dyn Subscription>, StartError> {
        let mut request = Subscribe::group(self.name.clone(), topics.iter().cloned());
        request.max_in_hand = self.max_in_hand;
        request.max_bytes = self.max_bytes;
        broker.subscribe(request).await.map_err(StartError::Broker)
    }

    fn topics(&self) -> Vec<Topic> {
        let mut topics: Vec<Topic> =
            self.endpoints.iter().map(|endpoint| endpoint.spec().topic.clone()).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    fn check(&self, broker: &dyn Broker) -> Result<(), StartError> {
        let name = &self.name;
        let misfit = |what: String| Err(StartError::Misfit { what });
        if self.endpoints.len() > 64 {
            let count = self.endpoints.len();
            return misfit(format!(
                "service {name:?} has {count} handlers, and one service may have 64: make two of it"
            ));
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let spec = endpoint.spec();
            if spec.in_tx && self.store.is_none() {
                return misfit(format!(
                    "handler {:?} of service {name:?} takes a Tx, and the service has no store: \
                     give it one with .store(..)",
                    spec.name
                ));
            }
            if self.endpoints.iter().take(index).any(|other| other.spec().name == spec.name) {
                return misfit(format!(
                    "service {name:?} has two handlers called {:?}, which its inbox could not tell \
                     apart: give one another name with .on(handler.named(..))",
                    spec.name
                ));
            }
        }
        if self.store.is_some() && !self.endpoints.is_empty() && !broker.capabilities().redelivers {
            return misfit(format!(
                "service {name:?} has a store, so each of its events is to have one effect, and \
                 this broker delivers at most once: take one that redelivers, such as file:DIR"
            ));
        }
        if let Some(setup) = self.setup.first()
            && self.store.is_none()
        {
            return misfit(format!(
                "service {name:?} sets up tables ({setup:?}) and has no store: give it one with \
                 .store(..)"
            ));
        }
        Ok(())
    }
}

/// Begins the tasks of a service.
fn begin(core: Arc<Core>, lanes: usize, stored: HashMap<TopicPartition, u64>) -> Running {
    let lanes: Arc<[Arc<Lane>]> = (0..lanes).map(|_| Arc::new(Lane::new(core.clone()))).collect();
    let world = &core.world;
    let mut workers: Vec<Task<()>> =
        lanes.iter().map(|lane| world.spawn(lane.clone().run())).collect();
    let mut helpers = Vec::new();
    if let Some(subscription) = &core.subscription {
        let intake = Intake {
            core: core.clone(),
            subscription: subscription.clone(),
            lanes: lanes.clone(),
            pending: lanes.iter().map(|_| Vec::new()).collect(),
            stored,
        };
        workers.push(world.spawn(intake.run()));
        let (acking, subscription) = (core.clone(), subscription.clone());
        helpers.push(world.spawn(async move { acking.acknowledge(subscription.as_ref()).await }));
    }
    if let Some(store) = &core.store {
        workers.push(world.spawn(relay(core.clone(), store.clone())));
    }
    Running { core: core.clone(), lanes, workers, helpers }
}

/// Runs the service's own set-up statements, in one transaction.
async fn set_up(place: &dyn ServiceStore, statements: Vec<String>) -> Result<(), StoreError> {
    if statements.is_empty() {
        return Ok(());
    }
    let (answer, answered) = oneshot::channel();
    place.submit(Box::new(SetUp { statements, error: None, answer }));
    answered.await.unwrap_or(Err(StoreError::Closed))
}

struct SetUp {
    statements: Vec<String>,
    error: Option<StoreError>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

impl Unit for SetUp {
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            for statement in &self.statements {
                if let Err(error) = tx.execute(statement, &[]).await {
                    self.error = Some(error);
                    return Err(StoreError::Aborted { what: "the set-up failed".to_owned() });
                }
            }
            Ok(())
        })
    }

    fn finished(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { error, answer, .. } = *self;
        // The starter may have been cancelled; the tables are there or not all the same.
        let _ = answer.send(outcome.map_err(|aborted| error.unwrap_or(aborted)));
    }
}

/// How far the service has come with this broker, by its store. A position past a partition's end
/// is left out: the broker has lost messages, and others have their offsets now.
async fn positions(
    place: &dyn ServiceStore,
    broker: &dyn Broker,
    service: &str,
    topics: &[Topic],
) -> Result<HashMap<TopicPartition, u64>, StartError> {
    let Some(id) = broker.id() else { return Ok(HashMap::new()) };
    let rows = place.positions().await.map_err(StartError::Store)?;
    let own = rows.into_iter().filter(|row| row.broker == id);
    let mut positions: HashMap<_, _> = own.map(|row| (row.partition, row.next)).collect();
    if positions.is_empty() {
        return Ok(positions);
    }
    for row in broker.progress(service, topics).await.map_err(StartError::Broker)? {
        let (partition, end) = (&row.partition, row.end);
        if let Some(next) = positions.get(partition).copied().filter(|next| *next > end) {
            positions.remove(partition);
            tracing::error!(service, %partition, next, end, "the broker ends before what this \
                service has done; it goes on from the broker's own position");
        }
    }
    Ok(positions)
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misfit { what } => f.write_str(what),
            Self::Signals { what } => write!(f, "cannot listen for SIGTERM and Ctrl-C: {what}"),
            Self::Broker(error) => fmt::Display::fmt(error, f),
            Self::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broker(error) => Some(error),
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
