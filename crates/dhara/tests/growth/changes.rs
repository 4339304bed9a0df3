//! Topics that are deleted, made again, and known by other names.

use std::time::Duration;

use dhara::broker::file::FileBroker;
use dhara::broker::{Batch, Broker, BrokerError, Positions, Progress, Signal, Subscribe, Topic};

use crate::kit::{declare, message, open, orders, publish, signal, world};

async fn delete(broker: &FileBroker) {
    let log = broker.log().clone();
    tokio::task::spawn_blocking(move || log.delete_topic("orders")).await.unwrap().unwrap();
}

#[tokio::test]
async fn readers_of_a_deleted_topic_lose_it_and_are_told_why_once() {
    let broker = open(&world(1)).await;
    declare(&broker, 2).await;
    broker.publish(message("stock", 0, 0).into()).await.unwrap();
    publish(&broker, 1, 0).await;
    let topics = [orders(), Topic::new("stock")];
    let reader = broker.subscribe(Subscribe::group("g", topics)).await.unwrap();
    let mut in_hand = Vec::new();
    while in_hand.len() < 2 {
        let Signal::Deliveries(some) = signal(reader.as_ref()).await.unwrap() else { panic!() };
        in_hand.extend(some);
    }
    delete(&broker).await;
    let Signal::Lost(lost) = signal(reader.as_ref()).await.unwrap() else { panic!() };
    assert_eq!(lost.len(), 2, "{lost:?}");
    let why = signal(reader.as_ref()).await.unwrap_err();
    assert!(matches!(&why, BrokerError::Refused { what } if what.contains("deleted")), "{why}");
    // What is left goes on, and acks of what is gone do nothing.
    reader.ack(in_hand.into_iter().map(|it| it.receipt).collect()).await.unwrap();
    broker.publish(message("stock", 0, 1).into()).await.unwrap();
    let Signal::Deliveries(some) = signal(reader.as_ref()).await.unwrap() else { panic!() };
    assert_eq!(&*some[0].body, b"1");
    let quiet = tokio::time::timeout(Duration::from_millis(50), reader.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn a_topic_that_is_made_again_is_read_from_its_beginning_and_positions_are_kept() {
    let world = world(2);
    let broker = open(&world).await;
    declare(&broker, 2).await;
    for number in 0..5 {
        publish(&broker, 1, number).await;
    }
    let reader = broker.subscribe(Subscribe::group("g", [orders()])).await.unwrap();
    let Signal::Deliveries(old) = signal(reader.as_ref()).await.unwrap() else { panic!() };
    let void = old.into_iter().map(|it| it.receipt).collect();
    delete(&broker).await;
    // Publishing declares what is not there.
    assert_eq!(publish(&broker, 1, 100).await.offset, 0);
    let Signal::Lost(_) = signal(reader.as_ref()).await.unwrap() else { panic!() };
    signal(reader.as_ref()).await.unwrap_err();
    let Signal::Deliveries(new) = signal(reader.as_ref()).await.unwrap() else { panic!() };
    assert_eq!((new.len(), new[0].offset, &*new[0].body), (1, 0, &b"100"[..]));
    reader.ack(void).await.unwrap();
    let lag = |rows: Vec<Progress>| rows.iter().map(Progress::lag).sum::<u64>();
    assert_eq!(lag(broker.progress("g", &[orders()]).await.unwrap()), 1, "old receipts are void");
    reader.ack(new.into_iter().map(|it| it.receipt).collect()).await.unwrap();
    broker.close().await.unwrap();
    drop((reader, broker));
    let broker = open(&world).await;
    assert_eq!(lag(broker.progress("g", &[orders()]).await.unwrap()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_under_publishers_and_readers_leaves_no_one_hanging() {
    let broker = open(&world(3)).await;
    declare(&broker, 3).await;
    let publishing = tokio::spawn({
        let broker = broker.clone();
        async move {
            let mut told = 0;
            for number in 0..300 {
                match broker.publish(message("orders", number % 7, number).into()).await {
                    Ok(_) => {}
                    Err(error) if error.is_transient() => told += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            told
        }
    });
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(3)).await;
        if broker.log().topic("orders").is_some() {
            delete(&broker).await;
        }
    }
    publishing.await.unwrap();
    let last = publish(&broker, 1, 1000).await;
    let reader = broker.subscribe(Subscribe::group("g", [orders()])).await.unwrap();
    loop {
        let Signal::Deliveries(some) = signal(reader.as_ref()).await.unwrap() else { panic!() };
        if some.iter().any(|it| (it.partition, it.offset) == (last.partition, last.offset)) {
            return;
        }
    }
}

#[tokio::test]
async fn an_alias_is_the_same_topic() {
    let broker = open(&world(4)).await;
    declare(&broker, 4).await;
    let log = broker.log().clone();
    let naming = move || log.set_aliases("orders", &["OrderCreated"]);
    tokio::task::spawn_blocking(naming).await.unwrap().unwrap();
    let alias = || Topic::new("OrderCreated");
    // One key in one batch keeps its order, whichever name it goes by.
    let batch = vec![
        message("orders", 1, 0),
        message("OrderCreated", 1, 1),
        message("orders", 1, 2),
        message("OrderCreated", 1, 3),
    ];
    let answer = broker.publish(Batch::Many(batch)).await.unwrap();
    let Positions::Many(positions) = answer else { panic!("{answer:?}") };
    let offsets: Vec<u64> = positions.iter().map(|it| it.offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3]);
    let one = broker.subscribe(Subscribe::group("g", [alias(), orders()])).await.unwrap();
    let Signal::Deliveries(all) = signal(one.as_ref()).await.unwrap() else { panic!() };
    assert_eq!(all.len(), 4, "each comes once");
    assert!(all.iter().all(|it| it.topic == orders()));
    one.ack(all.into_iter().map(|it| it.receipt).collect()).await.unwrap();
    let rows = broker.progress("g", &[alias()]).await.unwrap();
    assert_eq!(rows, broker.progress("g", &[orders()]).await.unwrap());
    assert_eq!(rows.iter().filter_map(|row| row.committed).sum::<u64>(), 4);
    // Under the alias as well, a growth is a growth of the topic.
    broker.add_partitions(&alias(), 8).await.unwrap();
    assert_eq!(broker.progress("g", &[orders()]).await.unwrap().len(), 8);
    // An alias that is given up is a topic of its own when it is asked for again.
    let log = broker.log().clone();
    tokio::task::spawn_blocking(move || log.set_aliases("orders", &[])).await.unwrap().unwrap();
    broker.publish(message("OrderCreated", 1, 9).into()).await.unwrap();
    assert_ne!(
        broker.log().topic("OrderCreated").unwrap().id,
        broker.log().topic("orders").unwrap().id
    );
}
