//! The promise of a growth, step by step.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use dhara::broker::{Broker, BrokerError, Positions, Signal, Start, Subscribe, TopicPartition};

use crate::kit::{
    Done, Published, Reader, declare, grow_beside, key_that_moves, message, open, orders, publish,
    world,
};

const SHORT: Duration = Duration::from_millis(50);

/// Everything that comes until nothing more does.
async fn drain(reader: &mut Reader, published: &Published, done: &mut Done) {
    while reader.step(SHORT, published, done).await {}
}

#[tokio::test]
async fn a_new_partition_waits_for_the_old_one_that_its_keys_come_from_and_for_no_other() {
    for beside in [false, true] {
        let broker = open(&world(1)).await;
        declare(&broker, 2).await;
        let (moving, other) = (key_that_moves((2, 4), 0, 2), key_that_moves((2, 4), 1, 3));
        let staying = key_that_moves((2, 4), 1, 1);
        let (mut published, mut done) = (Published::default(), Done::default());
        published.add(&broker, &[moving, other]).await;
        let mut reader = Reader::of_group(&broker, "g").await;
        drain(&mut reader, &published, &mut done).await;
        assert_eq!(reader.in_hand.len(), 2);
        match beside {
            false => broker.add_partitions(&orders(), 4).await.unwrap(),
            true => grow_beside(&broker, 4).await,
        }
        published.add(&broker, &[moving, other, staying]).await;
        drain(&mut reader, &published, &mut done).await;
        assert_eq!(reader.assigned.len(), 4, "the new partitions are assigned at once");
        assert_eq!(reader.numbers(staying), [0], "who does not move does not wait");
        assert_eq!((reader.numbers(moving), reader.numbers(other)), (vec![0], vec![0]));
        reader.ack(|it| it.key == other, &mut done).await;
        drain(&mut reader, &published, &mut done).await;
        assert_eq!((reader.numbers(moving), reader.numbers(other)), (vec![0], vec![1]));
        reader.give_back(|it| it.key == moving, Duration::ZERO).await;
        drain(&mut reader, &published, &mut done).await;
        assert_eq!(reader.numbers(moving), [0], "given back is not done");
        reader.ack(|it| it.key == moving, &mut done).await;
        drain(&mut reader, &published, &mut done).await;
        assert_eq!(reader.numbers(moving), [1]);
    }
}

#[tokio::test]
async fn a_growth_is_not_forgotten_for_the_next_one() {
    let broker = open(&world(5)).await;
    declare(&broker, 1).await;
    let moves = |key: &usize| {
        [(2, 1), (4, 3)].iter().all(|(count, partition)| {
            let key = format!("key-{key}");
            dhara::broker::partition_of(key.as_bytes(), *count) == *partition
        })
    };
    let moving = (0..1000).find(moves).unwrap();
    let (mut published, mut done) = (Published::default(), Done::default());
    published.add(&broker, &[moving]).await;
    let mut reader = Reader::of_group(&broker, "g").await;
    drain(&mut reader, &published, &mut done).await;
    // Between the growths nothing comes to the partition that the key would have been in.
    broker.add_partitions(&orders(), 2).await.unwrap();
    broker.add_partitions(&orders(), 4).await.unwrap();
    published.add(&broker, &[moving]).await;
    drain(&mut reader, &published, &mut done).await;
    assert_eq!(reader.numbers(moving), [0]);
    reader.ack(|_| true, &mut done).await;
    drain(&mut reader, &published, &mut done).await;
    assert_eq!(reader.numbers(moving), [1]);
}

#[tokio::test]
async fn a_publish_that_waits_for_its_turn_while_the_topic_grows_goes_where_its_key_lies_then() {
    let broker = open(&world(6)).await;
    declare(&broker, 1).await;
    let moving = key_that_moves((1, 2), 0, 1);
    // As much as may be on its way at a time.
    let mut large = message("orders", 0, 0);
    large.body = Bytes::from(vec![0; (64 << 20) - 100]);
    let mut first = broker.publish(large.into());
    let mut second = broker.publish(message("orders", moving, 0).into());
    let nothing = &mut Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut first).poll(nothing).is_pending());
    assert!(Pin::new(&mut second).poll(nothing).is_pending());
    grow_beside(&broker, 2).await;
    first.await.unwrap();
    let Positions::One(position) = second.await.unwrap() else { panic!("one message") };
    assert_eq!((position.partition, position.offset), (1, 0));
}

#[tokio::test]
async fn another_member_is_woken_when_the_last_old_event_is_done() {
    let broker = open(&world(2)).await;
    declare(&broker, 1).await;
    let moving = key_that_moves((1, 2), 0, 1);
    let (mut published, mut done) = (Published::default(), Done::default());
    published.add(&broker, &[moving]).await;
    let mut one = Reader::of_group(&broker, "g").await;
    drain(&mut one, &published, &mut done).await;
    broker.add_partitions(&orders(), 2).await.unwrap();
    published.add(&broker, &[moving]).await;
    let mut two = Reader::of_group(&broker, "g").await;
    drain(&mut one, &published, &mut done).await;
    drain(&mut two, &published, &mut done).await;
    drain(&mut one, &published, &mut done).await;
    let newer = |reader: &Reader| {
        reader.assigned.contains(&TopicPartition { topic: orders(), partition: 1 })
    };
    // Whoever has the new partition waits while the other has the old event in hand.
    let (old, new) = if newer(&one) { (&mut two, &one) } else { (&mut one, &two) };
    drain(old, &published, &mut done).await;
    assert_eq!(old.numbers(moving), [0]);
    let subscription = new.subscription.clone();
    // In a task of its own, which nothing else wakes.
    let waiting = tokio::spawn(async move { subscription.next().await });
    tokio::time::sleep(SHORT).await;
    old.ack(|_| true, &mut done).await;
    let woken = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    let Signal::Deliveries(all) = woken.expect("it was not woken").unwrap().unwrap() else {
        panic!("no deliveries")
    };
    assert_eq!((all[0].partition, all.len()), (1, 1));
}

#[tokio::test]
async fn a_group_that_begins_with_the_latest_leaves_nothing_of_a_growth_out() {
    let world = world(3);
    let broker = open(&world).await;
    declare(&broker, 2).await;
    publish(&broker, 0, 0).await;
    let latest =
        |group: &str| Subscribe { start: Start::Latest, ..Subscribe::group(group, [orders()]) };
    let (running, away) = (Reader::join(&broker, latest("running")).await, latest("away"));
    drop(Reader::join(&broker, away.clone()).await);
    broker.add_partitions(&orders(), 5).await.unwrap();
    let mut published = Published::default();
    published.keys.insert(0, vec![99]);
    let keys: Vec<usize> = (1..40).collect();
    published.add(&broker, &keys).await;
    for mut reader in [running, Reader::join(&broker, away.clone()).await] {
        let mut done = Done::default();
        drain(&mut reader, &published, &mut done).await;
        assert_eq!(reader.in_hand.len(), keys.len());
    }
    broker.close().await.unwrap();
    drop(broker);
    let broker = open(&world).await;
    let mut reader = Reader::join(&broker, away).await;
    drain(&mut reader, &published, &mut Done::default()).await;
    assert_eq!(reader.in_hand.len(), keys.len(), "after a restart");
    let mut new = Reader::join(&broker, latest("new")).await;
    drain(&mut new, &published, &mut Done::default()).await;
    assert_eq!(new.in_hand.len(), 0, "who is new begins with what comes");
}

#[tokio::test]
async fn what_cannot_be_grown_is_refused() {
    let broker = open(&world(4)).await;
    let unknown = broker.add_partitions(&orders(), 4).await.unwrap_err();
    assert!(matches!(&unknown, BrokerError::Refused { what } if what.contains("no topic orders")));
    declare(&broker, 4).await;
    let fewer = broker.add_partitions(&orders(), 3).await.unwrap_err();
    assert!(matches!(&fewer, BrokerError::Refused { what } if what.contains("4 partitions")));
    broker.add_partitions(&orders(), 4).await.unwrap();
    assert!(broker.add_partitions(&orders(), 0).await.is_err());
    declare(&broker, 9).await;
    assert_eq!(broker.progress("g", &[orders()]).await.unwrap().len(), 4, "declared is not grown");
}
