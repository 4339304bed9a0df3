//! What the checks are written with.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::{Factory, Failure};
use crate::broker::{
    Assignment, Batch, Broker, Delivery, Message, Positions, Receipt, Signal, Subscribe,
    Subscription, Topic, TopicPartition, TopicSpec,
};
use crate::world::{Timestamp, World, timeout};

/// Fails the check unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::testing::conformance::Failure::new(format!($($what)+)));
        }
    };
}

/// Ends the check where the back end says that it cannot do what it is about.
macro_rules! needs {
    ($broker:expr, $ability:ident) => {
        if !$crate::broker::Broker::capabilities(&*$broker).$ability {
            return Ok($crate::testing::conformance::Outcome::Lacks(stringify!($ability)));
        }
    };
}

pub(super) use {ensure, needs};

/// Opens brokers for a check, and waits for what must come.
#[derive(Clone)]
pub struct Kit {
    factory: Arc<dyn Factory>,
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kit")
    }
}

impl Kit {
    pub(super) fn new(factory: Arc<dyn Factory>) -> Self {
        Self { factory }
    }

    pub(super) fn world(&self) -> World {
        self.factory.world()
    }

    pub(super) async fn open(&self) -> Result<Arc<dyn Broker>, Failure> {
        Ok(self.factory.open().await?)
    }

    /// A broker with the topic `orders` of `partitions` partitions.
    pub(super) async fn open_with(&self, partitions: u32) -> Result<Arc<dyn Broker>, Failure> {
        let broker = self.open().await?;
        declare(&broker, "orders", partitions).await?;
        Ok(broker)
    }

    /// Closes the broker and opens one on the same data.
    pub(super) async fn reopen(&self, broker: Arc<dyn Broker>) -> Result<Arc<dyn Broker>, Failure> {
        self.within("the broker to close", broker.close()).await??;
        drop(broker);
        self.open().await
    }

    /// What `future` gives, or a failure that says that `what` was waited for in vain.
    pub(super) async fn within<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        timeout(self.factory.patience(), future)
            .await
            .ok_or_else(|| Failure::new(format!("waited in vain for {what}")))
    }

    /// Joins as `request` says.
    pub(super) async fn join(
        &self,
        broker: &Arc<dyn Broker>,
        request: Subscribe,
    ) -> Result<Reader, Failure> {
        let subscription = self.within("a subscription", broker.subscribe(request)).await??;
        Ok(Reader {
            kit: self.clone(),
            subscription,
            assigned: BTreeMap::new(),
            arrived: VecDeque::new(),
        })
    }

    /// Joins `group` as a reader of `orders`.
    pub(super) async fn group(
        &self,
        broker: &Arc<dyn Broker>,
        group: &str,
    ) -> Result<Reader, Failure> {
        self.join(broker, Subscribe::group(group, [orders()])).await
    }
}

/// The topic that most checks are about.
pub(super) fn orders() -> Topic {
    Topic::new("orders")
}

/// A partition of it.
pub(super) fn orders_partition(partition: u32) -> TopicPartition {
    TopicPartition { topic: orders(), partition }
}

pub(super) async fn declare(
    broker: &Arc<dyn Broker>,
    name: &str,
    partitions: u32,
) -> Result<(), Failure> {
    let spec = TopicSpec { name: Topic::new(name), partitions: Some(partitions) };
    Ok(broker.declare(&[spec]).await?)
}

/// A message for `orders` whose body is a number.
pub(super) fn message(key: Option<&str>, number: u64) -> Message {
    message_to("orders", key, number)
}

pub(super) fn message_to(topic: &str, key: Option<&str>, number: u64) -> Message {
    Message {
        topic: Topic::new(topic),
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        body: Bytes::from(number.to_string()),
        headers: Vec::new(),
        timestamp: Timestamp::from_millis(1_700_000_000_000 + number),
    }
}

/// The number that a delivery's body is.
pub(super) fn number(delivery: &Delivery) -> u64 {
    let text = std::str::from_utf8(&delivery.body).unwrap_or_default();
    text.parse().unwrap_or(u64::MAX)
}

pub(super) fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(number).collect()
}

pub(super) fn sorted(deliveries: &[Delivery]) -> Vec<u64> {
    let mut numbers = numbers(deliveries);
    numbers.sort_unstable();
    numbers
}

pub(super) fn receipts(deliveries: Vec<Delivery>) -> Vec<Receipt> {
    deliveries.into_iter().map(|delivery| delivery.receipt).collect()
}

/// Publishes `numbers` with one key, in one batch.
pub(super) async fn publish_numbers(
    broker: &Arc<dyn Broker>,
    key: Option<&str>,
    numbers: std::ops::Range<u64>,
) -> Result<Positions, Failure> {
    let batch: Vec<Message> = numbers.map(|number| message(key, number)).collect();
    Ok(broker.publish(Batch::Many(batch)).await?)
}

/// A subscription with what it was told so far.
#[derive(Debug)]
pub(super) struct Reader {
    kit: Kit,
    pub(super) subscription: Arc<dyn Subscription>,
    pub(super) assigned: BTreeMap<TopicPartition, Assignment>,
    arrived: VecDeque<Delivery>,
}

impl Reader {
    /// The next signal, noted.
    pub(super) async fn signal(&mut self) -> Result<Signal, Failure> {
        let next = self.subscription.next();
        let signal = self.kit.within("the next signal", next).await??;
        self.note(&signal);
        Ok(signal)
    }

    fn note(&mut self, signal: &Signal) {
        match signal {
            Signal::Assigned(all) => {
                let named = all.iter().map(|it| (it.partition.clone(), it.clone()));
                self.assigned.extend(named);
            }
            Signal::Revoked(all) | Signal::Lost(all) => {
                self.assigned.retain(|partition, _| !all.contains(partition));
            }
            _ => {}
        }
    }

    /// Takes in one signal. Partitions that are revoked are let go at once; deliveries of them that
    /// were not looked at are left to their next owner.
    pub(super) async fn step(&mut self) -> Result<(), Failure> {
        match self.signal().await? {
            Signal::Deliveries(deliveries) => {
                ensure!(!deliveries.is_empty(), "a signal brought no deliveries at all");
                self.arrived.extend(deliveries);
            }
            Signal::Revoked(partitions) => {
                self.arrived.retain(|delivery| {
                    !partitions
                        .iter()
                        .any(|it| it.topic == delivery.topic && it.partition == delivery.partition)
                });
                self.subscription.release(&partitions).await?;
            }
            Signal::Closed => return Err(Failure::new("the subscription ended too soon")),
            _ => {}
        }
        Ok(())
    }

    /// Waits until it has `count` partitions.
    pub(super) async fn has_partitions(&mut self, count: usize) -> Result<(), Failure> {
        while self.assigned.len() != count {
            self.step().await?;
        }
        Ok(())
    }

    /// The next `count` deliveries.
    pub(super) async fn take(&mut self, count: usize) -> Result<Vec<Delivery>, Failure> {
        while self.arrived.len() < count {
            let had = self.arrived.len();
            self.step().await.map_err(|failure| {
                Failure::new(format!("{failure} (after {had} of {count} deliveries)"))
            })?;
        }
        Ok(self.arrived.drain(..count).collect())
    }

    /// Fails when a delivery comes although none should.
    pub(super) async fn is_quiet(&mut self) -> Result<(), Failure> {
        let quiet = self.kit.factory.quiet();
        while self.arrived.is_empty() {
            match timeout(quiet, self.step()).await {
                Some(result) => result?,
                None => return Ok(()),
            }
        }
        Err(Failure::new(format!("deliveries came that should not: {:?}", self.arrived)))
    }

    pub(super) async fn ack(&self, deliveries: Vec<Delivery>) -> Result<(), Failure> {
        Ok(self.subscription.ack(receipts(deliveries)).await?)
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        Ok(self.subscription.close().await?)
    }
}
