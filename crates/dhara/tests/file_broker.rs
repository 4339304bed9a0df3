//! What only the broker over the embedded log does.
#![cfg(feature = "file")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dhara::broker::{
    self, Batch, Broker, BrokerError, Delivery, Message, Positions, Signal, Subscribe,
    Subscription, Topic, TopicSpec,
};
use dhara::world::{Timestamp, World};

/// A folder that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("dhara-file-{:032x}", World::real().uuid().as_u128());
        Self(std::env::temp_dir().join(name))
    }

    async fn open(&self) -> Result<Arc<dyn Broker>, BrokerError> {
        broker::open(&format!("file:{}", self.0.display()), &World::real()).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn message(number: usize) -> Message {
    Message {
        topic: Topic::new("orders"),
        key: Some(Bytes::from(format!("key-{}", number % 20))),
        body: Bytes::from(format!("{number:0200}")),
        headers: Vec::new(),
        timestamp: Timestamp::from_millis(1),
    }
}

async fn declare(broker: &Arc<dyn Broker>) {
    let spec = TopicSpec { name: Topic::new("orders"), partitions: Some(2) };
    broker.declare(&[spec]).await.unwrap();
}

async fn read(reader: &dyn Subscription, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        match reader.next().await.unwrap() {
            Signal::Deliveries(deliveries) => {
                let receipts = deliveries
                    .iter()
                    .map(|it| &it.receipt)
                    .map(|it| broker::Receipt::new(it.slot(), it.epoch(), it.tag()))
                    .collect();
                all.extend(deliveries);
                reader.ack(receipts).await.unwrap();
            }
            Signal::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_far_behind_gets_everything_in_order() {
    const COUNT: usize = 60_000;
    let folder = Folder::new();
    let broker = folder.open().await.unwrap();
    declare(&broker).await;
    for chunk in (0..COUNT).collect::<Vec<_>>().chunks(500) {
        let batch = chunk.iter().copied().map(message).collect();
        broker.publish(Batch::Many(batch)).await.unwrap();
    }
    for reopened in [false, true] {
        let broker = if reopened {
            broker.close().await.unwrap();
            folder.open().await.unwrap()
        } else {
            broker.clone()
        };
        let group = format!("group-{reopened}");
        let request =
            Subscribe { max_bytes: 200_000, ..Subscribe::group(group, [Topic::new("orders")]) };
        let reader = broker.subscribe(request).await.unwrap();
        let all = read(reader.as_ref(), COUNT).await;
        let mut next = [0_u64; 2];
        for delivery in &all {
            let place = delivery.partition as usize;
            assert_eq!(delivery.offset, next[place], "partition {place}");
            next[place] += 1;
        }
        assert_eq!(next.iter().sum::<u64>(), COUNT as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_publishers_share_their_commits() {
    let folder = Folder::new();
    let broker = folder.open().await.unwrap();
    declare(&broker).await;
    let publishers: Vec<_> = (0..64)
        .map(|publisher| {
            let broker = broker.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    let position = broker.publish(message(publisher * 20 + n).into()).await;
                    assert!(matches!(position, Ok(Positions::One(_))), "{position:?}");
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    let reader = broker.subscribe(Subscribe::group("g", [Topic::new("orders")])).await.unwrap();
    read(reader.as_ref(), 64 * 20).await;
}

#[tokio::test]
async fn a_folder_that_is_in_use_is_refused_for_now() {
    let folder = Folder::new();
    let first = folder.open().await.unwrap();
    let second = folder.open().await.unwrap_err();
    assert!(second.is_transient(), "{second:?}");
    assert!(second.to_string().contains("open in another process"), "{second}");
    first.close().await.unwrap();
    folder.open().await.unwrap();
}

#[tokio::test]
async fn epochs_of_assignments_rise_from_opening_to_opening() {
    let folder = Folder::new();
    let mut last = 0;
    for _ in 0..3 {
        let broker = folder.open().await.unwrap();
        declare(&broker).await;
        let reader = broker.subscribe(Subscribe::group("g", [Topic::new("orders")])).await.unwrap();
        let Signal::Assigned(all) = reader.next().await.unwrap() else { panic!("no assignment") };
        assert!(all.iter().all(|it| it.epoch > last), "{all:?} after {last}");
        last = all.iter().map(|it| it.epoch).max().unwrap();
        broker.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_is_dropped_unclosed_keeps_what_was_acked() {
    let folder = Folder::new();
    let broker = folder.open().await.unwrap();
    declare(&broker).await;
    broker.publish(Batch::Many((0..10).map(message).collect())).await.unwrap();
    let request = || Subscribe::group("g", [Topic::new("orders")]);
    let reader = broker.subscribe(request()).await.unwrap();
    read(reader.as_ref(), 10).await;
    drop((reader, broker));
    let broker = folder.open().await.unwrap();
    let rows = broker.progress("g", &[Topic::new("orders")]).await.unwrap();
    let lag: u64 = rows.iter().map(broker::Progress::lag).sum();
    assert_eq!(lag, 0, "{rows:?}");
}
