//! A broker on a simulated disk, and readers that remember what they were given.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhara::broker::file::FileBroker;
use dhara::broker::{
    Batch, Broker, BrokerError, Delivery, Message, Position, Positions, Receipt, Signal, Subscribe,
    Subscription, Topic, TopicPartition, TopicSpec,
};
use dhara::world::{Clock, Random, Timestamp, World};
use dhara_world::disk::SimDisk;

/// How often something is repeated that differs from time to time.
pub(crate) fn runs(usual: u64) -> u64 {
    std::env::var("DHARA_GROWTH_RUNS").ok().and_then(|it| it.parse().ok()).unwrap_or(usual)
}

/// A world whose disk is in memory.
pub(crate) fn world(seed: u64) -> World {
    world_on(SimDisk::new(), seed)
}

pub(crate) fn world_on(disk: SimDisk, seed: u64) -> World {
    World::new(Clock::system(), Random::from_seed(seed), Arc::new(disk))
}

pub(crate) async fn open(world: &World) -> Arc<FileBroker> {
    Arc::new(FileBroker::open("/log", world).await.unwrap())
}

pub(crate) fn orders() -> Topic {
    Topic::new("orders")
}

pub(crate) async fn declare(broker: &FileBroker, partitions: u32) {
    let spec = TopicSpec { name: orders(), partitions: Some(partitions) };
    broker.declare(&[spec]).await.unwrap();
}

/// Grows the topic as another holder of the log does.
pub(crate) async fn grow_beside(broker: &FileBroker, total: u32) {
    let log = broker.log().clone();
    tokio::task::spawn_blocking(move || log.add_partitions("orders", total))
        .await
        .unwrap()
        .unwrap();
}

pub(crate) fn message(topic: &str, key: usize, number: usize) -> Message {
    Message {
        topic: Topic::new(topic),
        key: Some(Bytes::from(format!("key-{key}"))),
        body: Bytes::from(number.to_string()),
        headers: Vec::new(),
        timestamp: Timestamp::from_millis(1),
    }
}

pub(crate) async fn publish(broker: &FileBroker, key: usize, number: usize) -> Position {
    match broker.publish(message("orders", key, number).into()).await.unwrap() {
        Positions::One(position) => position,
        other => panic!("{other:?}"),
    }
}

/// A key that lies in `before` of `counts.0` partitions and in `after` of `counts.1`.
pub(crate) fn key_that_moves(counts: (u32, u32), before: u32, after: u32) -> usize {
    let moves = |key: &usize| {
        let text = format!("key-{key}");
        dhara::broker::partition_of(text.as_bytes(), counts.0) == before
            && dhara::broker::partition_of(text.as_bytes(), counts.1) == after
    };
    (0..100_000).find(moves).unwrap()
}

/// Where each event of each key was published, by its number.
#[derive(Debug, Default)]
pub(crate) struct Published {
    pub(crate) keys: HashMap<usize, Vec<u32>>,
}

impl Published {
    /// Publishes the next events of these keys, in one batch.
    pub(crate) async fn add(&mut self, broker: &FileBroker, keys: &[usize]) {
        let mut batch = Vec::new();
        let mut added: HashMap<usize, usize> = HashMap::new();
        for key in keys {
            let before = self.keys.get(key).map_or(0, Vec::len);
            let more = added.entry(*key).or_default();
            batch.push(message("orders", *key, before + *more));
            *more += 1;
        }
        let answer = broker.publish(Batch::Many(batch)).await.unwrap();
        let Positions::Many(positions) = answer else { panic!("{answer:?}") };
        for (key, position) in keys.iter().zip(positions) {
            self.keys.entry(*key).or_default().push(position.partition);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }
}

/// What one group was given and has done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) given: HashSet<(usize, usize)>,
    pub(crate) acked: HashSet<(usize, usize)>,
}

/// An event in the hand of a reader.
#[derive(Debug)]
pub(crate) struct InHand {
    pub(crate) key: usize,
    pub(crate) number: usize,
    pub(crate) partition: u32,
    pub(crate) receipt: Receipt,
}

impl InHand {
    pub(crate) fn of(delivery: Delivery) -> Self {
        let key = String::from_utf8_lossy(delivery.key.as_ref().unwrap()).into_owned();
        let number = String::from_utf8_lossy(&delivery.body).parse().unwrap();
        Self {
            key: key.trim_start_matches("key-").parse().unwrap(),
            number,
            partition: delivery.partition,
            receipt: delivery.receipt,
        }
    }
}

/// A member of a group.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) subscription: Arc<dyn Subscription>,
    pub(crate) assigned: HashSet<TopicPartition>,
    pub(crate) in_hand: Vec<InHand>,
}

impl Reader {
    pub(crate) async fn join(broker: &FileBroker, request: Subscribe) -> Self {
        let subscription = broker.subscribe(request).await.unwrap();
        Self { subscription, assigned: HashSet::new(), in_hand: Vec::new() }
    }

    pub(crate) async fn of_group(broker: &FileBroker, group: &str) -> Self {
        Self::join(broker, Subscribe::group(group, [orders()])).await
    }

    /// Takes in what comes within `time`; tells whether something came.
    pub(crate) async fn step(
        &mut self,
        time: Duration,
        published: &Published,
        done: &mut Done,
    ) -> bool {
        let Ok(signal) = tokio::time::timeout(time, self.subscription.next()).await else {
            return false;
        };
        match signal.unwrap() {
            Signal::Assigned(all) => {
                self.assigned.extend(all.into_iter().map(|it| it.partition));
            }
            Signal::Revoked(partitions) => {
                let kept = |it: &InHand| !partitions.iter().any(|p| p.partition == it.partition);
                self.in_hand.retain(kept);
                self.assigned.retain(|it| !partitions.contains(it));
                self.subscription.release(&partitions).await.unwrap();
            }
            Signal::Deliveries(deliveries) => {
                for delivery in deliveries.into_iter().map(InHand::of) {
                    let owned = TopicPartition { topic: orders(), partition: delivery.partition };
                    assert!(self.assigned.contains(&owned), "{owned} came before it was assigned");
                    assert_eq!(published.keys[&delivery.key][delivery.number], delivery.partition);
                    check_order(delivery.key, delivery.number, published, done);
                    self.in_hand.push(delivery);
                }
            }
            other => panic!("{other:?}"),
        }
        true
    }

    pub(crate) async fn ack(&mut self, which: impl Fn(&InHand) -> bool, done: &mut Done) {
        let (acked, kept): (Vec<_>, Vec<_>) = self.in_hand.drain(..).partition(which);
        self.in_hand = kept;
        done.acked.extend(acked.iter().map(|it| (it.key, it.number)));
        self.subscription.ack(acked.into_iter().map(|it| it.receipt).collect()).await.unwrap();
    }

    pub(crate) async fn give_back(&mut self, which: impl Fn(&InHand) -> bool, delay: Duration) {
        let (back, kept): (Vec<_>, Vec<_>) = self.in_hand.drain(..).partition(which);
        self.in_hand = kept;
        let receipts = back.into_iter().map(|it| it.receipt).collect();
        self.subscription.give_back(receipts, delay).await.unwrap();
    }

    /// The numbers of what is in hand, of one key.
    pub(crate) fn numbers(&self, key: usize) -> Vec<usize> {
        self.in_hand.iter().filter(|it| it.key == key).map(|it| it.number).collect()
    }
}

/// Whatever was published of the key before is done where it lies in another partition, and was given
/// where it lies in the same.
pub(crate) fn check_order(key: usize, number: usize, published: &Published, done: &mut Done) {
    let partitions = &published.keys[&key];
    let own = partitions[number];
    for (earlier, partition) in partitions[..number].iter().enumerate() {
        let is_fine = match *partition == own {
            true => done.given.contains(&(key, earlier)),
            false => done.acked.contains(&(key, earlier)),
        };
        assert!(
            is_fine,
            "event {number} of key {key} came from partition {own} before {earlier} was done in \
             partition {partition}: {partitions:?}"
        );
    }
    done.given.insert((key, number));
}

/// Drains and acks until everything is done.
pub(crate) async fn finish(readers: &mut [Reader], published: &Published, done: &mut Done) {
    let mut idle = 0;
    while done.acked.len() < published.count() {
        let mut came = false;
        for reader in readers.iter_mut() {
            came |= reader.step(Duration::from_millis(20), published, done).await;
            reader.ack(|_| true, done).await;
        }
        idle = if came { 0 } else { idle + 1 };
        assert!(idle < 200, "{} of {} are done", done.acked.len(), published.count());
    }
}

/// The next signal that is no assignment, or the next error.
pub(crate) async fn signal(reader: &dyn Subscription) -> Result<Signal, BrokerError> {
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), reader.next());
        match next.await.unwrap() {
            Ok(Signal::Assigned(_)) => {}
            other => return other,
        }
    }
}
