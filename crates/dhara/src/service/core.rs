//! What the tasks of one running service share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::endpoint::Endpoint;
use super::failure::{Failed, FailureKind};
use super::item::{Handlers, Item};
use super::track::Track;
use crate::broker::{
    Batch, Broker, BrokerError, Delivery, Message, Receipt, Subscription, Topic, TopicPartition,
};
use crate::store::{DeadLetter, ServiceStore};
use crate::world::World;

/// What the tasks of one running service share.
pub(crate) struct Core {
    pub(crate) world: World,
    pub(crate) name: Arc<str>,
    pub(crate) broker: Arc<dyn Broker>,
    /// Under which the store keeps positions; `None` where it keeps none.
    pub(crate) broker_id: Option<Arc<str>>,
    pub(crate) store: Option<Arc<dyn ServiceStore>>,
    pub(crate) subscription: Option<Arc<dyn Subscription>>,
    pub(crate) topics: Vec<Topic>,
    endpoints: Vec<Box<dyn Endpoint>>,
    routes: Vec<(&'static str, Handlers)>,
    tracks: RwLock<HashMap<TopicPartition, Arc<Track>>>,
    pub(crate) counters: Counters,
    acks: Mutex<Vec<Receipt>>,
    acks_waiting: Notify,
    /// Something was committed or acked: whoever waits for an effect looks again.
    pub(crate) progressed: Notify,
    stop: watch::Sender<bool>,
    error: Mutex<Option<String>>,
}

/// A handler that panics so often at one delivery will do so for ever, however long it may retry.
const MOST_PANICS: u32 = 5;

/// What a service counts from its start on.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) in_hand: AtomicU64,
    pub(crate) handled: AtomicU64,
    pub(crate) dead: AtomicU64,
}

/// What becomes of a failed delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Retry(Duration),
    Dead,
}

/// The parts that a core is made of.
pub(crate) struct Parts {
    pub(crate) world: World,
    pub(crate) name: Arc<str>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) store: Option<Arc<dyn ServiceStore>>,
    pub(crate) subscription: Option<Arc<dyn Subscription>>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) endpoints: Vec<Box<dyn Endpoint>>,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { world, name, broker, store, subscription, topics, endpoints } = parts;
        let mut routes: Vec<(&'static str, Handlers)> = Vec::new();
        for (number, endpoint) in endpoints.iter().enumerate() {
            let event_type = endpoint.spec().event_type;
            match routes.iter_mut().find(|(known, _)| *known == event_type) {
                Some((_, handlers)) => *handlers |= 1 << number,
                None => routes.push((event_type, 1 << number)),
            }
        }
        Self {
            world,
            name,
            broker_id: broker.id().filter(|_| store.is_some()),
            broker,
            store,
            subscription,
            topics,
            endpoints,
            routes,
            tracks: RwLock::default(),
            counters: Counters::default(),
            acks: Mutex::default(),
            acks_waiting: Notify::new(),
            progressed: Notify::new(),
            stop: watch::Sender::new(false),
            error: Mutex::default(),
        }
    }

    /// The handlers of an event type.
    pub(crate) fn handlers_of(&self, event_type: &str) -> Handlers {
        self.routes.iter().find(|(known, _)| *known == event_type).map_or(0, |(_, all)| *all)
    }

    /// The handlers of a set, in the order in which they were added.
    pub(crate) fn endpoints(
        &self,
        handlers: Handlers,
    ) -> impl Iterator<Item = (usize, &dyn Endpoint)> {
        let all = self.endpoints.iter().enumerate();
        all.filter(move |(number, _)| handlers & (1 << number) != 0)
            .map(|(number, endpoint)| (number, endpoint.as_ref()))
    }

    /// Those of a set that run inside the transaction.
    pub(crate) fn in_tx(&self, handlers: Handlers) -> Handlers {
        self.endpoints(handlers)
            .filter(|(_, endpoint)| endpoint.spec().in_tx)
            .fold(0, |set, (number, _)| set | 1 << number)
    }

    /// Decides over a failure of handler `number`.
    pub(crate) fn verdict(&self, item: &Item, number: usize, failed: &Failed) -> Verdict {
        let retry = self.endpoints.get(number).map(|endpoint| endpoint.spec().retry);
        let attempt = item.history.attempt(number);
        let wait = match failed.kind {
            FailureKind::Permanent => None,
            FailureKind::Transient if failed.panicked && attempt >= MOST_PANICS => None,
            FailureKind::Transient => {
                retry.and_then(|retry| retry.wait_after(attempt, self.world.random()))
            }
        };
        let delivery = item.delivery();
        let handler = self.endpoints.get(number).map_or("", |endpoint| &endpoint.spec().name);
        let place = format_args!("{}/{}@{}", delivery.topic, delivery.partition, delivery.offset);
        self.note(&format!("{handler}: {}", failed.story));
        match wait {
            Some(wait) => {
                tracing::warn!(service = %self.name, handler, event = %place, attempt,
                    ?wait, error = failed.story, "a delivery failed and will be retried");
                Verdict::Retry(wait)
            }
            None => {
                tracing::error!(service = %self.name, handler, event = %place, attempts = attempt,
                    error = failed.story, "a delivery goes to the dead letters");
                Verdict::Dead
            }
        }
    }

    /// The dead letter of a delivery that handler `number` gave up on, or nobody could read.
    pub(crate) fn letter(
        &self,
        item: &Item,
        number: Option<usize>,
        event_id: Option<String>,
        error: String,
    ) -> DeadLetter {
        let delivery = item.delivery();
        let endpoint = number.and_then(|number| self.endpoints.get(number));
        DeadLetter {
            partition: partition_of(delivery),
            offset: delivery.offset,
            key: delivery.key.clone(),
            body: delivery.body.clone(),
            headers: delivery.headers.clone(),
            event_id,
            handler: endpoint.map(|endpoint| endpoint.spec().name.to_string()).unwrap_or_default(),
            error,
            attempts: number.map_or(1, |number| item.history.attempt(number)),
            at: self.world.now(),
        }
    }

    /// The track of a partition; made where no assignment came before its first delivery.
    pub(crate) fn track(&self, partition: &TopicPartition, offset: u64) -> Arc<Track> {
        let tracks = self.tracks.read().unwrap_or_else(PoisonError::into_inner);
        match tracks.get(partition) {
            Some(track) => track.clone(),
            None => {
                drop(tracks);
                self.assign(partition.clone(), offset)
            }
        }
    }

    /// Begins to follow a partition, from `next` on.
    pub(crate) fn assign(&self, partition: TopicPartition, next: u64) -> Arc<Track> {
        let track = Arc::new(Track::new(partition.clone(), next, self.broker_id.is_some()));
        let mut tracks = self.tracks.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = tracks.insert(partition, track.clone()) {
            earlier.lose();
        }
        track
    }

    /// Ends to follow a partition.
    pub(crate) fn unassign(&self, partition: &TopicPartition) -> Option<Arc<Track>> {
        self.tracks.write().unwrap_or_else(PoisonError::into_inner).remove(partition)
    }

    /// The positions that the store does not hold yet.
    pub(crate) fn unstored_positions(&self) -> Vec<(Arc<Track>, u64)> {
        let tracks = self.tracks.read().unwrap_or_else(PoisonError::into_inner);
        let unstored = |track: &Arc<Track>| Some((track.clone(), track.unstored()?));
        tracks.values().filter_map(unstored).collect()
    }

    /// Has the broker told that these deliveries are done.
    pub(crate) fn ack_soon(&self, receipts: impl IntoIterator<Item = Receipt>) {
        let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = acks.len();
        acks.extend(receipts);
        let added = acks.len() - before;
        drop(acks);
        self.counters.in_hand.fetch_sub(added as u64, Ordering::Relaxed);
        self.counters.handled.fetch_add(added as u64, Ordering::Relaxed);
        self.acks_waiting.notify_one();
        self.progressed.notify_waiters();
    }

    /// Hands acks to the broker as they come, until the service stops and none is left.
    pub(crate) async fn acknowledge(&self, subscription: &dyn Subscription) {
        loop {
            let waiting = self.acks_waiting.notified();
            self.flush_acks(subscription).await;
            waiting.await;
        }
    }

    /// Hands over the acks that wait.
    pub(crate) async fn flush_acks(&self, subscription: &dyn Subscription) {
        let receipts = {
            let mut acks = self.acks.lock().unwrap_or_else(PoisonError::into_inner);
            // There will be as many again, so that the next ones need not make room one by one.
            let next = Vec::with_capacity(acks.len());
            std::mem::replace(&mut *acks, next)
        };
        if !receipts.is_empty()
            && let Err(error) = subscription.ack(receipts).await
        {
            // What was not acked is delivered again, and the inbox knows it.
            tracing::warn!(service = %self.name, %error, "the broker did not take an ack");
        }
    }

    /// Publishes until the broker takes it; `false` when the service stops before, or the broker
    /// never will.
    pub(crate) async fn publish(&self, messages: Vec<Message>) -> bool {
        let mut wait = Duration::from_millis(20);
        let mut batch = Batch::Many(messages);
        loop {
            // The copy shares the bytes; it is what a second attempt needs.
            let again = batch.clone();
            match self.broker.publish(batch).await {
                Ok(_) => return true,
                Err(error) if error.is_transient() => {
                    tracing::warn!(service = %self.name, %error, "publishing failed, trying again");
                    self.note(&error.to_string());
                }
                Err(error) => {
                    self.fail(&error);
                    return false;
                }
            }
            if self.pause(wait).await {
                return false;
            }
            wait = (wait * 2).min(Duration::from_secs(1));
            batch = again;
        }
    }

    /// Waits; `true` when the service is to stop.
    pub(crate) async fn pause(&self, wait: Duration) -> bool {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => true,
            () = self.world.sleep(wait) => false,
        }
    }

    /// Stops the service for an error that no retry will overcome.
    pub(crate) fn fail(&self, error: &BrokerError) {
        if !matches!(error, BrokerError::Closed) {
            tracing::error!(service = %self.name, %error, "the service stops");
            self.note(&error.to_string());
        }
        self.stop();
    }

    pub(crate) fn note(&self, error: &str) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
        self.acks_waiting.notify_one();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until the service is to stop.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as this core, so that waiting cannot fail.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

pub(crate) fn partition_of(delivery: &Delivery) -> TopicPartition {
    TopicPartition { topic: delivery.topic.clone(), partition: delivery.partition }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("name", &self.name).finish_non_exhaustive()
    }
}
