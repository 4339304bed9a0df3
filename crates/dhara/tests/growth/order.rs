//! Events of one key keep their order whatever happens while topics grow.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dhara::broker::file::FileBroker;
use dhara::broker::{Broker, Signal, Start, Subscribe};
use dhara::world::{Random, World};
use dhara_world::disk::SimDisk;

use crate::kit::{
    Done, InHand, Published, Reader, check_order, declare, finish, grow_beside, open, orders,
    publish, world, world_on,
};

const SHORT: Duration = Duration::from_millis(3);

/// One run: a broker that is opened again and again, a group with some members, and what is known.
struct Run {
    world: World,
    disk: SimDisk,
    random: Random,
    broker: Arc<FileBroker>,
    partitions: u32,
    published: Published,
    group: (Vec<Reader>, Done),
    alone: (Vec<Reader>, Done),
}

impl Run {
    async fn new(seed: u64) -> Self {
        let disk = SimDisk::new();
        let world = world_on(disk.clone(), seed);
        let random = Random::from_seed(seed);
        let broker = open(&world).await;
        let partitions = 1 + random.below(4) as u32;
        declare(&broker, partitions).await;
        let group = (vec![Reader::of_group(&broker, "g").await], Done::default());
        let request = Subscribe::alone([orders()], Start::Earliest);
        let alone = (vec![Reader::join(&broker, request).await], Done::default());
        let published = Published::default();
        Self { world, disk, random, broker, partitions, published, group, alone }
    }

    async fn publish(&mut self) {
        let keys: Vec<usize> =
            (0..=self.random.below(5)).map(|_| self.random.below(12) as usize).collect();
        self.published.add(&self.broker, &keys).await;
    }

    async fn grow(&mut self) {
        self.partitions += 1 + self.random.below(4) as u32;
        match self.random.below(2) {
            0 => self.broker.add_partitions(&orders(), self.partitions).await.unwrap(),
            _ => grow_beside(&self.broker, self.partitions).await,
        }
    }

    async fn read(&mut self) {
        let (random, published) = (&self.random, &self.published);
        for (readers, done) in [&mut self.group, &mut self.alone] {
            for reader in readers {
                match random.below(4) {
                    0 => {
                        let spared = random.next_u64();
                        reader.ack(|it| (spared >> (it.number % 60)) & 1 == 0, done).await;
                    }
                    1 => {
                        let part = random.below(5) as usize;
                        let delay = Duration::from_millis(random.below(4));
                        reader.give_back(|it| it.number % 5 == part, delay).await;
                    }
                    _ => drop(reader.step(SHORT, published, done).await),
                }
            }
        }
    }

    async fn move_members(&mut self) {
        let readers = &mut self.group.0;
        if readers.len() < 2 {
            readers.push(Reader::of_group(&self.broker, "g").await);
        } else {
            let leaving = readers.swap_remove(self.random.below(readers.len() as u64) as usize);
            leaving.subscription.close().await.unwrap();
        }
    }

    /// What was not acked comes again; who reads alone begins anew.
    async fn restart(&mut self) {
        // The process is killed: the next one finds the disk as it was then.
        let disk = SimDisk::holding(self.disk.contents());
        if self.random.below(2) == 0 {
            self.group.0.clear();
            self.broker.close().await.unwrap();
        } else {
            self.group.0.clear();
            self.world = world_on(disk.clone(), self.random.next_u64());
            self.disk = disk;
        }
        self.alone = (Vec::new(), Done::default());
        self.broker = open(&self.world).await;
        let request = Subscribe::alone([orders()], Start::Earliest);
        self.alone.0.push(Reader::join(&self.broker, request).await);
        self.group.0.push(Reader::of_group(&self.broker, "g").await);
    }

    async fn go(mut self) {
        for _ in 0..120 {
            match self.random.below(40) {
                0 => self.restart().await,
                1..3 => self.grow().await,
                3..5 => self.move_members().await,
                5..15 => self.publish().await,
                _ => self.read().await,
            }
        }
        let Self { broker, published, mut group, mut alone, .. } = self;
        finish(&mut group.0, &published, &mut group.1).await;
        finish(&mut alone.0, &published, &mut alone.1).await;
        let mut late = (vec![Reader::of_group(&broker, "late").await], Done::default());
        finish(&mut late.0, &published, &mut late.1).await;
    }
}

#[tokio::test]
async fn events_of_one_key_keep_their_order_over_growths_rebalances_and_restarts() {
    for seed in 0..crate::kit::runs(25) {
        println!("seed {seed}");
        Run::new(seed).await.go().await;
    }
}

/// What a group was given and did, in order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Given(usize, usize),
    Acked(usize, usize),
}

/// Acks everything, a little later than it comes, and notes it.
async fn read_along(broker: Arc<FileBroker>, steps: Arc<Mutex<Vec<Step>>>, count: usize) {
    let reader = broker.subscribe(Subscribe::group("g", [orders()])).await.unwrap();
    let acked = |steps: &[Step]| steps.iter().filter(|it| matches!(it, Step::Acked(..))).count();
    while acked(&steps.lock().unwrap()) < count {
        let next = tokio::time::timeout(Duration::from_millis(100), reader.next()).await;
        let Ok(signal) = next else { continue };
        match signal.unwrap() {
            Signal::Deliveries(deliveries) => {
                let all: Vec<InHand> = deliveries.into_iter().map(InHand::of).collect();
                let given = all.iter().map(|it| Step::Given(it.key, it.number));
                steps.lock().unwrap().extend(given);
                tokio::task::yield_now().await;
                let done = all.iter().map(|it| Step::Acked(it.key, it.number));
                steps.lock().unwrap().extend(done);
                reader.ack(all.into_iter().map(|it| it.receipt).collect()).await.unwrap();
            }
            Signal::Revoked(partitions) => reader.release(&partitions).await.unwrap(),
            _ => {}
        }
    }
}

/// Each publisher has a key of its own and waits for each answer; the topic grows beside them, and is
/// read as they go.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn publishers_and_readers_that_race_with_a_growth_keep_each_keys_order() {
    const EACH: usize = 150;
    const KEYS: usize = 8;
    for round in 0..crate::kit::runs(4) {
        let broker = open(&world(round)).await;
        declare(&broker, 2).await;
        let steps = Arc::new(Mutex::new(Vec::new()));
        let readers: Vec<_> = (0..2)
            .map(|_| tokio::spawn(read_along(broker.clone(), steps.clone(), EACH * KEYS)))
            .collect();
        let publishers: Vec<_> = (0..KEYS)
            .map(|key| {
                let broker = broker.clone();
                tokio::spawn(async move {
                    let mut partitions = Vec::new();
                    for number in 0..EACH {
                        partitions.push(publish(&broker, key, number).await.partition);
                    }
                    (key, partitions)
                })
            })
            .collect();
        for total in [3, 4, 7, 8, 16, 17, 20] {
            tokio::time::sleep(Duration::from_millis(4)).await;
            grow_beside(&broker, total).await;
        }
        let mut published = Published::default();
        for publisher in publishers {
            let (key, partitions) = publisher.await.unwrap();
            published.keys.insert(key, partitions);
        }
        for reader in readers {
            reader.await.unwrap();
        }
        let moved = published.keys.values().filter(|it| it.first() != it.last()).count();
        assert!(moved > 0, "no key moved: {published:?}");
        let mut done = Done::default();
        for step in &*steps.lock().unwrap() {
            match *step {
                Step::Given(key, number) => check_order(key, number, &published, &mut done),
                Step::Acked(key, number) => drop(done.acked.insert((key, number))),
            }
        }
    }
}
