//! The five services, each of which can be stopped and started by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use dhara::broker::{Broker, Progress, Topic};
use dhara::service::{NotCaughtUp, StartError, Status};
use dhara::store::ServiceStore;
use dhara::{BoxFuture, EventId, Running, Writer};
use serde_json::{Value, json};
use tokio::sync::RwLock as AsyncRwLock;

use crate::events::TOPICS;

/// Starts a service; called each time that it is to run.
pub(crate) type Start =
    Box<dyn Fn() -> BoxFuture<'static, Result<Running, StartError>> + Send + Sync>;
/// Lets go whatever a service's handlers wait for, so that it can stop soon.
pub(crate) type LetGo = Box<dyn Fn() + Send + Sync>;

/// The place of one service.
pub(crate) struct Slot {
    name: &'static str,
    broker: Arc<dyn Broker>,
    store: Arc<dyn ServiceStore>,
    start: Start,
    let_go: LetGo,
    running: AsyncRwLock<Option<Running>>,
    /// The running service's writer, for those who only write.
    writer: RwLock<Option<Writer>>,
    /// Why it could not be started, last.
    trouble: RwLock<Option<String>>,
}

impl Slot {
    /// A place whose service does not run yet. `store` is the service's own, also while it is
    /// stopped.
    pub(crate) fn new(
        name: &'static str,
        broker: Arc<dyn Broker>,
        store: Arc<dyn ServiceStore>,
        start: Start,
        let_go: LetGo,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            broker,
            store,
            start,
            let_go,
            running: AsyncRwLock::default(),
            writer: RwLock::default(),
            trouble: RwLock::default(),
        })
    }

    /// Starts the service unless it runs.
    pub(crate) async fn start(&self) -> Result<(), StartError> {
        let mut running = self.running.write().await;
        if let Some(service) = running.take() {
            if !service.is_stopped() {
                *running = Some(service);
                return Ok(());
            }
            self.end(service).await;
        }
        match (self.start)().await {
            Ok(service) => {
                set(&self.writer, service.writer());
                set(&self.trouble, None);
                *running = Some(service);
                Ok(())
            }
            Err(error) => {
                set(&self.trouble, Some(error.to_string()));
                Err(error)
            }
        }
    }

    /// Stops the service gracefully, if it runs.
    pub(crate) async fn stop(&self) {
        set(&self.writer, None);
        let mut running = self.running.write().await;
        if let Some(service) = running.take() {
            self.end(service).await;
        }
    }

    async fn end(&self, service: Running) {
        (self.let_go)();
        if let Err(error) = service.stop().await {
            tracing::warn!(service = self.name, %error, "the broker was not told how far the service came");
        }
    }

    /// Writes to the service's store, with events; `None` while the service is stopped.
    pub(crate) fn writer(&self) -> Option<Writer> {
        self.writer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the service's handler has dealt with the event.
    pub(crate) async fn caught_up(
        &self,
        handler: &str,
        event: &EventId,
        limit: Duration,
    ) -> Result<(), String> {
        let running = self.running.read().await;
        let service = running.as_ref().ok_or_else(|| format!("{} is stopped", self.name))?;
        let waited = service.caught_up(handler, event, limit).await;
        waited.map_err(|error: NotCaughtUp| error.to_string())
    }

    /// The service's row in the shop's health.
    pub(crate) async fn row(&self) -> Value {
        let trouble = self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone();
        let running = self.running.read().await;
        let Some(service) = running.as_ref() else {
            let state = if trouble.is_some() { "failed" } else { "stopped" };
            return self.row_at_rest(state, trouble).await;
        };
        match service.status().await {
            Ok(status) => row_of(service.is_stopped(), &status),
            Err(error) => self.row_at_rest("failed", Some(error.to_string())).await,
        }
    }

    /// The row of a service that does not run: what waits for it is known all the same.
    async fn row_at_rest(&self, state: &str, trouble: Option<String>) -> Value {
        let topics: Vec<Topic> = TOPICS
            .iter()
            .filter(|(_, groups)| groups.contains(&self.name))
            .map(|(topic, _)| Topic::from(*topic))
            .collect();
        let progress = self.broker.progress(self.name, &topics).await.unwrap_or_default();
        let lag: u64 = progress.iter().map(Progress::lag).sum();
        let count = "SELECT (SELECT count(*) FROM dhara_dead_letters) AS dead, \
                     (SELECT count(*) FROM dhara_outbox) AS waiting";
        let rows = self.store.query(count, &[]).await.unwrap_or_default();
        let counted = |name: &str| rows.first().map_or(0, |row| row.get(name).unwrap_or(0_u64));
        json!({
            "name": self.name, "state": state, "lag": lag, "inHand": 0, "retrying": 0,
            "deadLetters": counted("dead"), "outbox": counted("waiting"), "handled": 0,
            "lastError": trouble,
        })
    }
}

fn row_of(stopped: bool, status: &Status) -> Value {
    let state = if stopped { "failed" } else { "running" };
    json!({
        "name": status.name, "state": state, "lag": status.lag, "inHand": status.in_hand,
        "retrying": status.retrying, "deadLetters": status.dead_letters, "outbox": status.outbox,
        "handled": status.handled, "lastError": status.last_error,
    })
}

fn set<T>(place: &RwLock<Option<T>>, value: Option<T>) {
    *place.write().unwrap_or_else(PoisonError::into_inner) = value;
}

/// All services of the shop, by name.
#[derive(Clone)]
pub(crate) struct Services(Arc<BTreeMap<&'static str, Arc<Slot>>>);

impl Services {
    pub(crate) fn new(slots: impl IntoIterator<Item = Arc<Slot>>) -> Self {
        Self(Arc::new(slots.into_iter().map(|slot| (slot.name, slot)).collect()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Slot>> {
        self.0.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }

    pub(crate) async fn start_all(&self) -> Result<(), StartError> {
        futures_util::future::try_join_all(self.0.values().map(|slot| slot.start())).await?;
        Ok(())
    }

    pub(crate) async fn stop_all(&self) {
        futures_util::future::join_all(self.0.values().map(|slot| slot.stop())).await;
    }

    pub(crate) async fn rows(&self) -> Vec<Value> {
        futures_util::future::join_all(self.0.values().map(|slot| slot.row())).await
    }
}
