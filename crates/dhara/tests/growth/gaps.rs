//! Offsets that are gone: expired, or compacted away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhara::broker::file::FileBroker;
use dhara::broker::{Batch, Broker, BrokerError, Delivery, Message, Progress, Signal, Subscribe};
use dhara::world::{Clock, Random, Timestamp, World};
use dhara_log::{NewTopic, Options, TopicConfig, TopicPartition};
use dhara_world::disk::SimDisk;

use crate::kit::{Done, Published, Reader, declare, open, orders, publish, signal, world};

async fn trim(broker: &FileBroker, partition: u32, to: u64) {
    let log = broker.log().clone();
    let trimming = move || log.trim(&[(TopicPartition::new("orders", partition), to)]);
    tokio::task::spawn_blocking(trimming).await.unwrap().unwrap();
}

async fn lag(broker: &FileBroker) -> u64 {
    let rows = broker.progress("g", &[orders()]).await.unwrap();
    rows.iter().map(Progress::lag).sum()
}

#[tokio::test]
async fn what_was_trimmed_is_told_once_and_reading_goes_on() {
    let broker = open(&world(1)).await;
    declare(&broker, 1).await;
    for number in 0..10 {
        publish(&broker, 1, number).await;
    }
    let request = Subscribe { max_in_hand: 2, ..Subscribe::group("g", [orders()]) };
    let reader = broker.subscribe(request).await.unwrap();
    let Signal::Deliveries(first) = signal(reader.as_ref()).await.unwrap() else { panic!() };
    trim(&broker, 0, 7).await;
    reader.ack(first.into_iter().map(|it| it.receipt).collect()).await.unwrap();
    let mut told = 0;
    let mut offsets = Vec::new();
    while offsets.last() != Some(&9) {
        match signal(reader.as_ref()).await {
            Ok(Signal::Deliveries(some)) => {
                offsets.extend(some.iter().map(|it| it.offset));
                reader.ack(some.into_iter().map(|it| it.receipt).collect()).await.unwrap();
            }
            Err(BrokerError::Expired { earliest, .. }) => {
                assert_eq!(earliest, 7);
                told += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(offsets.ends_with(&[7, 8, 9]), "{offsets:?}");
    // What had been read already may still be given; then nothing was missed that is not told.
    let missed = (2..7).any(|offset| !offsets.contains(&offset));
    assert_eq!(told, u32::from(missed), "{offsets:?}");
    assert_eq!(lag(&broker).await, 0);
    // A group that comes new begins with what is there, and misses nothing.
    let new = broker.subscribe(Subscribe::group("new", [orders()])).await.unwrap();
    let Signal::Deliveries(some) = signal(new.as_ref()).await.unwrap() else { panic!() };
    assert_eq!(some[0].offset, 7);
}

#[tokio::test]
async fn what_expired_before_a_growth_holds_nobody_back() {
    let broker = open(&world(2)).await;
    declare(&broker, 1).await;
    let mut published = Published::default();
    published.add(&broker, &(0..10).collect::<Vec<_>>()).await;
    let mut reader = Reader::of_group(&broker, "g").await;
    let mut done = Done::default();
    reader.step(Duration::from_secs(10), &published, &mut done).await;
    reader.step(Duration::from_secs(10), &published, &mut done).await;
    reader.ack(|it| it.number == 0 && it.key == 0, &mut done).await;
    drop(reader);
    broker.add_partitions(&orders(), 3).await.unwrap();
    trim(&broker, 0, 10).await;
    let after: Vec<usize> = (20..40).collect();
    published.add(&broker, &after).await;
    // The broker's memory of the group is fresh: it finds its position expired.
    let reader = broker.subscribe(Subscribe::group("late", [orders()])).await.unwrap();
    let mut count = 0;
    while count < after.len() {
        match signal(reader.as_ref()).await {
            Ok(Signal::Deliveries(some)) => {
                count += some.len();
                reader.ack(some.into_iter().map(|it| it.receipt).collect()).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    let reader = broker.subscribe(Subscribe::group("g", [orders()])).await.unwrap();
    let (mut count, mut told) = (0, 0);
    while count < after.len() {
        match signal(reader.as_ref()).await {
            Ok(Signal::Deliveries(some)) => {
                count += some.iter().filter(|it| it.partition > 0 || it.offset >= 10).count();
                reader.ack(some.into_iter().map(|it| it.receipt).collect()).await.unwrap();
            }
            Err(BrokerError::Expired { .. }) => told += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(told > 0, "it is told that nine are gone");
}

/// A log with small files, so that little is settled and compacted soon.
fn small(clock: &Clock) -> Options {
    Options {
        first_segment_bytes: 8 << 10,
        segment_bytes: 8 << 10,
        settle_bytes: 16 << 10,
        max_unsettled_bytes: 32 << 10,
        tail_bytes: 0,
        clock: clock.clone(),
        salt: Some(7),
        ..Options::default()
    }
}

async fn keep_house(broker: &FileBroker) {
    let log = broker.log().clone();
    let keeping = move || while log.housekeep_step().unwrap() {};
    tokio::task::spawn_blocking(keeping).await.unwrap();
}

async fn open_small() -> (World, Arc<FileBroker>) {
    let clock = Clock::manual(Timestamp::from_millis(1_000_000));
    let world = World::new(clock.clone(), Random::from_seed(1), Arc::new(SimDisk::new()));
    let broker = FileBroker::open_with("/log", &world, small(&clock)).await.unwrap();
    (world, Arc::new(broker))
}

async fn make(broker: &FileBroker, config: TopicConfig) {
    let log = broker.log().clone();
    let making = move || log.new_topic(NewTopic { config, ..NewTopic::new("orders", 2) });
    tokio::task::spawn_blocking(making).await.unwrap().unwrap();
}

/// Publishes events of a few keys that write over one another.
async fn write_over(broker: &FileBroker, world: &World, keys: usize, count: usize) {
    for chunk in (0..count).collect::<Vec<_>>().chunks(20) {
        let message = |number: &usize| Message {
            topic: orders(),
            key: Some(Bytes::from(format!("key-{}", number % keys))),
            body: Bytes::from(format!("{number:0100}")),
            headers: Vec::new(),
            timestamp: world.now(),
        };
        broker.publish(Batch::Many(chunk.iter().map(message).collect())).await.unwrap();
        keep_house(broker).await;
    }
}

/// Reads and acks until everything is done; each offset is to come once.
async fn read_all(broker: &FileBroker, request: Subscribe) -> BTreeMap<(u32, u64), Delivery> {
    let reader = broker.subscribe(request).await.unwrap();
    let mut all = BTreeMap::new();
    let mut turn = 0;
    loop {
        let next = tokio::time::timeout(Duration::from_millis(300), reader.next()).await;
        let Ok(next) = next else { return all };
        let Signal::Deliveries(mut some) = next.unwrap() else { continue };
        turn += 1;
        if turn % 3 == 1 {
            // Every other one is given again, which finds it among the gaps.
            let mut place = 0_u32;
            let (back, kept): (Vec<_>, Vec<_>) = some.into_iter().partition(|_| {
                place += 1;
                place.is_multiple_of(2)
            });
            some = kept;
            let receipts = back.into_iter().map(|it| it.receipt).collect();
            reader.give_back(receipts, Duration::ZERO).await.unwrap();
        }
        let mut receipts = Vec::new();
        for mut delivery in some {
            let none = dhara::broker::Receipt::new(u32::MAX, 0, 0);
            receipts.push(std::mem::replace(&mut delivery.receipt, none));
            let place = (delivery.partition, delivery.offset);
            assert!(all.insert(place, delivery).is_none(), "{place:?} was acked before");
        }
        reader.ack(receipts).await.unwrap();
    }
}

#[tokio::test]
async fn a_compacted_topic_is_read_over_its_gaps_by_near_and_far_readers() {
    const COUNT: usize = 20_000;
    let (world, broker) = open_small().await;
    make(&broker, TopicConfig { compact: true, ..TopicConfig::default() }).await;
    write_over(&broker, &world, 7, COUNT).await;
    // From far behind it is fetched in pieces, on another thread.
    for (group, max_bytes) in [("g", 16 << 20), ("narrow", 3_000)] {
        let request = Subscribe { max_bytes, ..Subscribe::group(group, [orders()]) };
        let all = read_all(&broker, request).await;
        assert!(all.len() < COUNT / 2, "{} are left", all.len());
        let newest: std::collections::BTreeSet<String> =
            all.values().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect();
        for number in COUNT - 7..COUNT {
            assert!(newest.contains(&format!("{number:0100}")), "{number} is missing");
        }
    }
    assert_eq!(lag(&broker).await, 0);
}

#[tokio::test]
async fn a_group_passes_a_growth_over_what_a_compaction_removed_below_it() {
    let (world, broker) = open_small().await;
    make(&broker, TopicConfig { compact: true, ..TopicConfig::default() }).await;
    write_over(&broker, &world, 7, 2_000).await;
    broker.add_partitions(&orders(), 3).await.unwrap();
    // Whatever lies below the growth is written over by what lies behind it, and compacted away.
    write_over(&broker, &world, 7, 4_000).await;
    let all = read_all(&broker, Subscribe::group("g", [orders()])).await;
    assert!(all.len() < 3_000, "{}", all.len());
    let last = all.values().map(|it| String::from_utf8_lossy(&it.body).into_owned()).max();
    assert_eq!(last, Some(format!("{:0100}", 3_999)));
    assert_eq!(lag(&broker).await, 0);
}

#[tokio::test]
async fn what_retention_takes_is_told_to_the_group_that_had_it_before_it() {
    let (world, broker) = open_small().await;
    let retention = Some(Duration::from_secs(60));
    make(&broker, TopicConfig { retention, ..TopicConfig::default() }).await;
    let request = Subscribe { max_in_hand: 1, ..Subscribe::group("g", [orders()]) };
    let reader = broker.subscribe(request).await.unwrap();
    write_over(&broker, &world, 7, 600).await;
    let Signal::Deliveries(first) = signal(reader.as_ref()).await.unwrap() else { panic!() };
    world.clock().set(world.now().plus(Duration::from_secs(120)));
    // The next round of the committer's thread comes later than a test would wait.
    let bounds = || {
        let of =
            |partition| broker.log().bounds(&TopicPartition::new("orders", partition)).unwrap();
        (of(0), of(1))
    };
    for _ in 0..400 {
        write_over(&broker, &world, 7, 20).await;
        let (one, two) = bounds();
        if one.earliest > 0 && two.earliest > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (one, two) = bounds();
    assert!(one.earliest > 0 && two.earliest > 0, "nothing expired: {one:?} {two:?}");
    reader.ack(first.into_iter().map(|it| it.receipt).collect()).await.unwrap();
    let mut told = 0;
    while lag(&broker).await > 0 {
        match signal(reader.as_ref()).await {
            Ok(Signal::Deliveries(some)) => {
                reader.ack(some.into_iter().map(|it| it.receipt).collect()).await.unwrap();
            }
            Err(BrokerError::Expired { .. }) => told += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=2).contains(&told), "told {told} times");
}
