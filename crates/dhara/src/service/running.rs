//! A service that runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::Core;
use super::lane::Lane;
use super::writer::Writer;
use crate::broker::BrokerError;
use crate::event::EventId;
use crate::store::{Param, ServiceStore, StoreError};
use crate::world::{Task, timeout};

/// A service that runs. Dropping it leaves the service running; [`Running::stop`] ends it.
#[derive(Debug)]
pub struct Running {
    pub(crate) core: Arc<Core>,
    pub(crate) lanes: Arc<[Arc<Lane>]>,
    /// Intake, lanes and relay: they end by themselves once the service stops.
    pub(crate) workers: Vec<Task<()>>,
    /// Acks: ended when nothing is left for them.
    pub(crate) helpers: Vec<Task<()>>,
}

/// How long [`Running::stop`] waits for handlers that are at work.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How a service is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Whether it takes deliveries.
    pub state: ServiceState,
    /// Events that are published and not yet done, those in hand included.
    pub lag: u64,
    /// Deliveries that it has taken and not yet finished.
    pub in_hand: u64,
    /// Deliveries that wait for a retry, or behind one.
    pub retrying: u64,
    /// Events in its dead letters.
    pub dead_letters: u64,
    /// Committed events that are not yet published.
    pub outbox: u64,
    /// Deliveries finished since it started.
    pub handled: u64,
    /// The last trouble with its broker or store, if there was any.
    pub last_error: Option<String>,
}

/// Whether a service takes deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceState {
    /// It does.
    Running,
    /// It was stopped, or an error stopped it.
    Stopped,
}

/// A read model did not show an event's effect in the time that was given.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotCaughtUp {
    /// The effect was not there yet.
    InTime {
        /// How long was waited.
        waited: Duration,
    },
    /// The service has no store that could tell.
    NoStore,
    /// The store could not be read.
    Store(StoreError),
}

impl Running {
    /// The service's name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Its place in the store, to read from; `None` without a store.
    pub fn store(&self) -> Option<&Arc<dyn ServiceStore>> {
        self.core.store.as_ref()
    }

    /// Writes to its store, with events; `None` without a store.
    pub fn writer(&self) -> Option<Writer> {
        let store = self.core.store.clone()?;
        Some(Writer::new(&self.core.world, self.core.name.clone(), store))
    }

    /// Whether the service has stopped, by a call or by an error.
    pub fn is_stopped(&self) -> bool {
        self.core.is_stopping()
    }

    /// Waits until the service stops, by a call from elsewhere or by an error.
    pub async fn stopped(&self) {
        self.core.stopped().await;
    }

    /// How the service is doing, with its lag asked of the broker.
    ///
    /// # Errors
    ///
    /// When broker or store cannot be asked.
    pub async fn status(&self) -> Result<Status, StatusError> {
        let core = &self.core;
        let progress = core.broker.progress(&core.name, &core.topics).await;
        let lag = progress.map_err(StatusError::Broker)?.iter().map(|row| row.lag()).sum();
        let (mut dead_letters, mut outbox) = (core.counters.dead.load(Ordering::Relaxed), 0);
        if let Some(store) = &core.store {
            let count = "SELECT (SELECT count(*) FROM dhara_dead_letters) AS dead, \
                         (SELECT count(*) FROM dhara_outbox) AS waiting";
            let rows = store.query(count, &[]).await.map_err(StatusError::Store)?;
            if let Some(row) = rows.first() {
                dead_letters = row.get("dead").map_err(StatusError::Store)?;
                outbox = row.get("waiting").map_err(StatusError::Store)?;
            }
        }
        let retrying = self.lanes.iter().map(|lane| lane.waiting() as u64).sum();
        let stopped = core.is_stopping();
        Ok(Status {
            name: core.name.to_string(),
            state: if stopped { ServiceState::Stopped } else { ServiceState::Running },
            lag,
            in_hand: core.counters.in_hand.load(Ordering::Relaxed),
            retrying,
            dead_letters,
            outbox,
            handled: core.counters.handled.load(Ordering::Relaxed),
            last_error: core.last_error(),
        })
    }

    /// Waits until the effect of `event` by `handler` is committed: what is read of the service's
    /// data after that shows it.
    ///
    /// # Errors
    ///
    /// [`NotCaughtUp::InTime`] when it was not there within `limit`.
    pub async fn caught_up(
        &self,
        handler: &str,
        event: &EventId,
        limit: Duration,
    ) -> Result<(), NotCaughtUp> {
        let store = self.core.store.as_ref().ok_or(NotCaughtUp::NoStore)?;
        let wait = async {
            loop {
                let progressed = self.core.progressed.notified();
                if self.inbox_has(store.as_ref(), handler, event).await? {
                    return Ok(());
                }
                progressed.await;
            }
        };
        match timeout(limit, wait).await {
            Some(found) => found.map_err(NotCaughtUp::Store),
            None => Err(NotCaughtUp::InTime { waited: limit }),
        }
    }

    async fn inbox_has(
        &self,
        store: &dyn ServiceStore,
        handler: &str,
        event: &EventId,
    ) -> Result<bool, StoreError> {
        let key = event.to_key();
        let params = [Param::from(handler), Param::from(key.as_ref())];
        let sql = "SELECT 1 AS found FROM dhara_inbox WHERE handler = $1 AND event = $2";
        Ok(!store.query(sql, &params).await?.is_empty())
    }

    /// Stops the service gracefully: no new deliveries; those that are being handled finish and
    /// are committed, the others are given back; positions are committed.
    ///
    /// A handler that has not finished after [`STOP_LIMIT`] is given up where it waits, and its
    /// delivery given back. Whoever stops waiting for the answer does not stop the ending.
    ///
    /// # Errors
    ///
    /// When the broker could not be told; what it does not know will be delivered again.
    pub async fn stop(self) -> Result<(), BrokerError> {
        let core = self.core.clone();
        core.stop();
        core.world.spawn(self.end()).await.unwrap_or_else(|error| {
            let what = format!("the ending of service {} broke off", core.name);
            Err(BrokerError::Unavailable { what, source: Some(Box::new(error)) })
        })
    }

    async fn end(mut self) -> Result<(), BrokerError> {
        let limit = self.core.world.instant() + STOP_LIMIT;
        for mut worker in self.workers.drain(..) {
            let ended = tokio::select! {
                ended = &mut worker => ended,
                () = self.core.world.sleep_until(limit) => {
                    tracing::warn!(service = %self.core.name, "a handler did not end in time; what it \
                        has in hand is delivered again");
                    worker.abort();
                    continue;
                }
            };
            if let Err(error) = ended {
                tracing::error!(service = %self.core.name, %error, "a task of the service ended badly");
            }
        }
        // What is on its way to the disk is waited for, so that its acks reach the broker.
        loop {
            let progressed = self.core.progressed.notified();
            if self.lanes.iter().all(|lane| lane.lock().commits.is_idle()) {
                break;
            }
            tokio::select! {
                () = progressed => (),
                () = self.core.world.sleep_until(limit) => break,
            }
        }
        for helper in self.helpers.drain(..) {
            helper.abort();
        }
        match &self.core.subscription {
            Some(subscription) => {
                self.core.flush_acks(subscription.as_ref()).await;
                subscription.close().await
            }
            None => Ok(()),
        }
    }
}

/// Why a service's status is not known.
#[derive(Debug)]
#[non_exhaustive]
pub enum StatusError {
    /// The broker could not be asked.
    Broker(BrokerError),
    /// The store could not be asked.
    Store(StoreError),
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(error) => write!(f, "the broker does not tell the lag: {error}"),
            Self::Store(error) => write!(f, "the store does not tell its counts: {error}"),
        }
    }
}

impl std::error::Error for StatusError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broker(error) => Some(error),
            Self::Store(error) => Some(error),
        }
    }
}

impl fmt::Display for NotCaughtUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InTime { waited } => {
                write!(f, "the event's effect was not there after {} ms", waited.as_millis())
            }
            Self::NoStore => f.write_str("a service without a store does not know its effects"),
            Self::Store(error) => write!(f, "the inbox cannot be read: {error}"),
        }
    }
}

impl std::error::Error for NotCaughtUp {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
