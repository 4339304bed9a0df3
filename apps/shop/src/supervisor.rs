//! The five services, each of which can be stopped and started by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dhara::broker::{Broker, Progress, Topic};
use dhara::service::{StartError, Status};
use dhara::store::ServiceStore;
use dhara::world::World;
use dhara::{BoxFuture, EventId, Running, Writer};
use serde_json::{Value, json};
use tokio::sync::{Mutex, RwLock, watch};

use crate::events::TOPICS;

/// Starts a service; called each time that it is to run.
pub(crate) type Start =
    Box<dyn Fn() -> BoxFuture<'static, Result<Running, StartError>> + Send + Sync>;
/// Lets go whatever a service's handlers wait for, so that it can stop soon.
pub(crate) type LetGo = Box<dyn Fn() + Send + Sync>;

/// The place of one service.
pub(crate) struct Slot {
    name: &'static str,
    world: World,
    broker: Arc<dyn Broker>,
    store: Arc<dyn ServiceStore>,
    start: Start,
    let_go: LetGo,
    /// Held from the beginning of a start or a stop to its end: there is one of them at a time.
    turn: Mutex<()>,
    phase: watch::Sender<Phase>,
    /// Read by whoever asks the service something, and given back as soon as the phase changes;
    /// written only to put the service in and to take it out.
    running: RwLock<Option<Running>>,
}

/// What becomes of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Stopped,
    Starting,
    Running,
    Stopping,
    /// It could not be started, for this reason.
    Failed(String),
}

impl Phase {
    fn name(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Failed(_) => "failed",
        }
    }
}

impl Slot {
    /// A place whose service does not run yet. `store` is the service's own, also while it is
    /// stopped.
    pub(crate) fn new(
        name: &'static str,
        world: &World,
        broker: Arc<dyn Broker>,
        store: Arc<dyn ServiceStore>,
        start: Start,
        let_go: LetGo,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            world: world.clone(),
            broker,
            store,
            start,
            let_go,
            turn: Mutex::default(),
            phase: watch::Sender::new(Phase::Stopped),
            running: RwLock::default(),
        })
    }

    /// Starts the service unless it runs. It is started to the end, also when whoever asked for it
    /// goes away.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), String> {
        let slot = self.clone();
        let started = self.world.spawn(async move { slot.start_now().await });
        started.await.unwrap_or_else(|error| Err(self.fail(error.to_string())))
    }

    /// Stops the service gracefully, if it runs. It is stopped to the end, also when whoever asked
    /// for it goes away.
    pub(crate) async fn stop(self: &Arc<Self>) {
        let slot = self.clone();
        let stopped = self.world.spawn(async move { slot.stop_now().await });
        if let Err(error) = stopped.await {
            tracing::error!(service = self.name, %error, "the service was not stopped");
            self.fail(error.to_string());
        }
    }

    async fn start_now(&self) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        if self.ask(|service| !service.is_stopped()).unwrap_or(false) {
            return Ok(());
        }
        self.enter(Phase::Starting);
        self.end().await;
        let service = (self.start)().await.map_err(|error| self.fail(error.to_string()))?;
        *self.running.write().await = Some(service);
        self.enter(Phase::Running);
        Ok(())
    }

    async fn stop_now(&self) {
        let _turn = self.turn.lock().await;
        self.enter(Phase::Stopping);
        self.end().await;
        self.enter(Phase::Stopped);
    }

    /// Ends what runs, if anything does. The phase was changed before, so that nobody keeps it.
    async fn end(&self) {
        let Some(service) = self.running.write().await.take() else { return };
        (self.let_go)();
        if let Err(error) = service.stop().await {
            tracing::warn!(service = self.name, %error, "the broker was not told how far the service came");
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    fn fail(&self, why: String) -> String {
        self.enter(Phase::Failed(why.clone()));
        why
    }

    /// What the service says at once; `None` while it does not run.
    fn ask<T>(&self, question: impl FnOnce(&Running) -> T) -> Option<T> {
        // The lock is written only while the service comes or goes.
        let running = self.running.try_read().ok()?;
        running.as_ref().map(question)
    }

    /// What the service says in the end; `None` while it does not run, and as soon as it is to end.
    async fn ask_on<T>(&self, question: impl AsyncFnOnce(&Running) -> T) -> Option<T> {
        let mut phase = self.phase.subscribe();
        let answer = async {
            let running = self.running.read().await;
            match running.as_ref() {
                Some(service) => Some(question(service).await),
                None => None,
            }
        };
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase != Phase::Running) => None,
            answer = answer => answer,
        }
    }

    /// Writes to the service's store, with events; `None` while the service does not run, also
    /// where an error has stopped it.
    pub(crate) fn writer(&self) -> Option<Writer> {
        if *self.phase.borrow() != Phase::Running {
            return None;
        }
        self.ask(|service| if service.is_stopped() { None } else { service.writer() })?
    }

    /// Waits until the service's handler has dealt with the event.
    pub(crate) async fn caught_up(
        &self,
        handler: &str,
        event: &EventId,
        limit: Duration,
    ) -> Result<(), String> {
        let waited =
            self.ask_on(async |service| service.caught_up(handler, event, limit).await).await;
        let waited = waited.ok_or_else(|| format!("{} is stopped", self.name))?;
        waited.map_err(|error| error.to_string())
    }

    /// The service's row in the shop's health. It waits for no start and no stop.
    pub(crate) async fn row(&self) -> Value {
        let status = self.ask_on(async |service| (service.is_stopped(), service.status().await));
        match status.await {
            Some((stopped, Ok(status))) => row_of(stopped, &status),
            Some((_, Err(error))) => self.row_at_rest("failed", Some(error.to_string())).await,
            None => {
                let phase = self.phase.borrow().clone();
                let trouble = match &phase {
                    Phase::Failed(why) => Some(why.clone()),
                    _ => None,
                };
                self.row_at_rest(phase.name(), trouble).await
            }
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

    pub(crate) async fn start_all(&self) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use dhara::world::timeout;
    use dhara::{Service, State, WriteError};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::events::{NotificationRequested, OrderId, UserId};
    use crate::testing::Folder;

    const NAME: &str = "notification";
    const A_WHILE: Duration = Duration::from_millis(50);

    /// A service whose handler, and whose start, wait at a gate.
    struct Stand {
        slot: Arc<Slot>,
        broker: Arc<dyn Broker>,
        /// What the handler waits for.
        work: Arc<Semaphore>,
        /// Whether a start waits too.
        slow_start: Arc<AtomicBool>,
        start: Arc<Semaphore>,
        _dir: Folder,
    }

    async fn handle(_: NotificationRequested, State(gate): State<Arc<Semaphore>>) {
        gate.acquire().await.unwrap().forget();
    }

    impl Stand {
        async fn new() -> Self {
            let (dir, world) = (Folder::new("supervisor"), World::real());
            let broker = dhara::broker::open("mem:", &world).await.unwrap();
            let url = format!("sqlite:{}", dir.path().display());
            let store = dhara::store::open(&url, &world).await.unwrap();
            let place = store.open(NAME).await.unwrap();
            let gate = || Arc::new(Semaphore::new(0));
            let (work, start, slow_start) = (gate(), gate(), Arc::new(AtomicBool::new(false)));
            let (state, starting, slow) = (work.clone(), start.clone(), slow_start.clone());
            let (own_broker, own_world) = (broker.clone(), world.clone());
            let starter: Start = Box::new(move || {
                let service = Service::new(NAME).world(&own_world).store(store.clone());
                let service = service.state(state.clone()).on(handle);
                let (broker, gate, slow) = (own_broker.clone(), starting.clone(), slow.clone());
                Box::pin(async move {
                    if slow.load(Ordering::Relaxed) {
                        gate.acquire().await.unwrap().forget();
                    }
                    service.start(&broker).await
                })
            });
            let slot = Slot::new(NAME, &world, broker.clone(), place, starter, Box::new(|| ()));
            Self { slot, broker, work, slow_start, start, _dir: dir }
        }

        async fn publish(&self) {
            let text = || "text".to_owned();
            let event = NotificationRequested {
                order_id: OrderId(text()),
                user_id: UserId(text()),
                to: text(),
                subject: text(),
                text: text(),
            };
            let work = move |_| {
                let event = event.clone();
                async move { Ok::<_, StartError>(((), event)) }
            };
            let written: Result<_, WriteError<_>> = self.slot.writer().unwrap().write(work).await;
            written.unwrap();
        }

        async fn until(&self, member: &str, value: Value) {
            let seen = async {
                while self.slot.row().await[member] != value {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(20), seen).await.expect("it comes about");
        }
    }

    #[tokio::test]
    async fn a_stop_goes_to_its_end_also_when_whoever_asked_for_it_hangs_up() {
        let stand = Stand::new().await;
        stand.slot.start().await.unwrap();
        stand.publish().await;
        stand.until("inHand", json!(1)).await;
        assert!(timeout(A_WHILE, stand.slot.stop()).await.is_none(), "the handler holds it up");
        stand.until("state", json!("stopping")).await;
        assert!(stand.slot.writer().is_none(), "nobody writes to a service that is being stopped");

        stand.work.add_permits(1);
        stand.until("state", json!("stopped")).await;
        stand.slot.start().await.unwrap();
        stand.work.add_permits(1);
        stand.publish().await;
        stand.until("lag", json!(0)).await;
        stand.until("handled", json!(1)).await;
        stand.slot.stop().await;
    }

    #[tokio::test]
    async fn a_stop_during_a_start_wins_and_leaves_no_writer() {
        let stand = Stand::new().await;
        stand.slow_start.store(true, Ordering::Relaxed);
        assert!(timeout(A_WHILE, stand.slot.start()).await.is_none(), "it waits at the gate");
        stand.until("state", json!("starting")).await;
        assert!(timeout(A_WHILE, stand.slot.stop()).await.is_none(), "the start goes first");
        stand.start.add_permits(1);
        stand.until("state", json!("stopped")).await;
        assert!(stand.slot.writer().is_none());
        stand.start.add_permits(1);
        stand.slot.start().await.unwrap();
        assert!(stand.slot.writer().is_some());
        stand.slot.stop().await;
    }

    #[tokio::test]
    async fn a_service_that_an_error_has_stopped_is_failed_and_takes_nothing() {
        let stand = Stand::new().await;
        stand.slot.start().await.unwrap();
        assert!(stand.slot.writer().is_some());
        stand.broker.close().await.unwrap();
        stand.until("state", json!("failed")).await;
        assert!(stand.slot.writer().is_none());
    }

    #[tokio::test]
    async fn whoever_waits_for_an_event_holds_up_neither_a_stop_nor_a_look() {
        let stand = Stand::new().await;
        stand.slot.start().await.unwrap();
        let event = EventId::from(stand.slot.world.uuid());
        let slot = stand.slot.clone();
        let waiting = tokio::spawn(async move {
            slot.caught_up("handle", &event, Duration::from_secs(600)).await
        });
        tokio::task::yield_now().await;
        assert_eq!(stand.slot.row().await["state"], "running");
        stand.slot.stop().await;
        assert_eq!(waiting.await.unwrap(), Err(format!("{NAME} is stopped")));
    }
}
