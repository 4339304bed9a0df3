//! Events, and a system of broker, store and world to run services in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dhara::broker::{self, Broker, Delivery, Message, Receipt, Signal, Start, Subscribe, Topic};
use dhara::event::Envelope;
use dhara::store::Store;
use dhara::world::{World, timeout};
use dhara::{Event, Publisher};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(topic = "orders", key = order_id)]
pub(crate) struct OrderCreated {
    pub(crate) order_id: String,
    pub(crate) amount: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(topic = "payments", key = order_id)]
pub(crate) struct PaymentCompleted {
    pub(crate) order_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(topic = "payments", key = order_id)]
pub(crate) struct PaymentFailed {
    pub(crate) order_id: String,
}

pub(crate) fn order(id: &str, amount: i64) -> OrderCreated {
    OrderCreated { order_id: id.to_owned(), amount }
}

/// A broker and a store on a folder of their own, which goes when this does.
pub(crate) struct System {
    pub(crate) world: World,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) store: Arc<dyn Store>,
    dir: tempfile::TempDir,
}

impl System {
    pub(crate) async fn mem() -> Self {
        Self::with("mem:").await
    }

    /// Another embedded log in the same folder as everything else.
    pub(crate) async fn log(&self, name: &str) -> Arc<dyn Broker> {
        let url = format!("file:{}", self.dir.path().join(name).display());
        broker::open(&url, &self.world).await.unwrap()
    }

    async fn with(broker_url: &str) -> Self {
        let world = World::real();
        let dir = tempfile::tempdir().unwrap();
        let broker = broker::open(broker_url, &world).await.unwrap();
        let store = crate::backend::new_store(dir.path(), &world).await;
        Self { world, broker, store, dir }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::new(&self.world, &self.broker, "test")
    }

    /// Reads what was published to `topic` from the beginning, until `count` events were seen.
    pub(crate) async fn read(&self, topic: &str, count: usize) -> Vec<Seen> {
        let deliveries = self.deliveries(topic, count).await;
        deliveries.into_iter().map(|delivery| Seen::of(&delivery.body, delivery.key)).collect()
    }

    /// The messages of `topic` from the beginning, `count` of them at least.
    pub(crate) async fn deliveries(&self, topic: &str, count: usize) -> Vec<Delivery> {
        let request = Subscribe::alone([Topic::from(topic)], Start::Earliest);
        let reader = self.broker.subscribe(request).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < count {
            let next = timeout(PATIENCE, reader.next()).await;
            let next = next.unwrap_or_else(|| panic!("{topic}: {} of {count}", seen.len()));
            if let Signal::Deliveries(deliveries) = next.unwrap() {
                for mut delivery in deliveries {
                    let receipt = Receipt::new(u32::MAX, 0, 0);
                    let receipt = std::mem::replace(&mut delivery.receipt, receipt);
                    reader.ack(vec![receipt]).await.unwrap();
                    seen.push(delivery);
                }
            }
        }
        reader.close().await.unwrap();
        seen
    }
}

/// How long a test waits for what must come; reached only by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) event_type: String,
    pub(crate) key: Option<Bytes>,
    pub(crate) id: String,
    pub(crate) correlation: Option<String>,
    pub(crate) causation: Option<String>,
    pub(crate) source: String,
}

impl Seen {
    fn of(body: &[u8], key: Option<Bytes>) -> Self {
        let envelope = Envelope::parse(body).unwrap();
        Self {
            event_type: envelope.event_type.to_string(),
            key,
            id: envelope.id.to_string(),
            correlation: envelope.correlation_id.as_ref().map(ToString::to_string),
            causation: envelope.causation_id.as_ref().map(ToString::to_string),
            source: envelope.source.to_string(),
        }
    }
}

/// What handlers did, by key, in order; and a way to wait for it.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    entries: Arc<Mutex<BTreeMap<String, Vec<i64>>>>,
    changed: Arc<tokio::sync::Notify>,
}

impl Ledger {
    pub(crate) fn add(&self, key: &str, value: i64) {
        self.entries.lock().unwrap().entry(key.to_owned()).or_default().push(value);
        self.changed.notify_waiters();
    }

    pub(crate) fn of(&self, key: &str) -> Vec<i64> {
        self.entries.lock().unwrap().get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn total(&self) -> usize {
        self.entries.lock().unwrap().values().map(Vec::len).sum()
    }

    /// Waits until `condition` holds of this ledger.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if condition(self) {
                    return;
                }
                changed.await;
            }
        };
        let waited = timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|| panic!("{what}: {:?}", self.entries.lock().unwrap()));
    }
}

/// A message with any bytes as its body.
pub(crate) fn message(key: &str, body: &[u8]) -> Message {
    Message {
        topic: Topic::from(OrderCreated::TOPIC),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        body: Bytes::copy_from_slice(body),
        headers: Vec::new(),
        timestamp: World::real().now(),
    }
}

/// An order's message under an id of the caller's choice.
pub(crate) fn order_message(event_id: &str, id: &str, amount: i64) -> Message {
    let body = format!(
        r#"{{"eventId":"{event_id}","eventType":"OrderCreated","timestamp":"2026-11-22T10:30:00Z","source":"elsewhere","data":{{"order_id":"{id}","amount":{amount}}}}}"#
    );
    message(id, body.as_bytes())
}

/// Polls `probe` until it gives a value; the paused or real clock goes on between two looks.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let wait = async {
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|| panic!("{what}: not in time"))
}
