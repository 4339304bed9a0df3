//! What `mem:` keeps, and what it does at its bounds.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use bytes::Bytes;
use dhara::broker::mem::{MemBroker, MemOptions};
use dhara::broker::{
    Batch, Broker, BrokerError, Delivery, Message, Signal, Start, Subscribe, Subscription, Topic,
    TopicSpec,
};
use dhara::world::{Timestamp, World};

const BODY: usize = 1000;

async fn broker(retain: u64, limit: u64) -> MemBroker {
    let broker = MemBroker::new(&World::real(), MemOptions { retain, limit });
    let spec = TopicSpec { name: topic(), partitions: Some(1) };
    broker.declare(&[spec]).await.unwrap();
    broker
}

fn topic() -> Topic {
    Topic::new("orders")
}

async fn publish(broker: &MemBroker, count: usize) -> Result<(), BrokerError> {
    for _ in 0..count {
        let message = Message {
            topic: topic(),
            key: Some(Bytes::from_static(b"k")),
            body: Bytes::from(vec![0; BODY]),
            headers: Vec::new(),
            timestamp: Timestamp::from_millis(1),
        };
        broker.publish(Batch::One(message)).await?;
    }
    Ok(())
}

async fn next_deliveries(reader: &dyn Subscription) -> Result<Vec<Delivery>, BrokerError> {
    loop {
        match reader.next().await? {
            Signal::Deliveries(deliveries) => return Ok(deliveries),
            Signal::Assigned(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn handle(reader: &dyn Subscription, count: usize) {
    let mut left = count;
    while left > 0 {
        let deliveries = next_deliveries(reader).await.unwrap();
        left -= deliveries.len();
        reader.ack(deliveries.into_iter().map(|it| it.receipt).collect()).await.unwrap();
    }
}

async fn earliest(broker: &MemBroker) -> u64 {
    broker.progress("g", &[topic()]).await.unwrap()[0].earliest
}

#[tokio::test]
async fn what_every_group_has_done_is_dropped_beyond_the_bound() {
    let broker = broker(1 << 20, 1 << 30).await;
    let reader = broker.subscribe(Subscribe::group("g", [topic()])).await.unwrap();
    for _ in 0..20 {
        publish(&broker, 500).await.unwrap();
        handle(reader.as_ref(), 500).await;
    }
    let kept = 10_000 - earliest(&broker).await;
    assert!((500..2_500).contains(&kept), "{kept} messages are kept in a mebibyte");
}

#[tokio::test]
async fn what_a_group_has_not_done_is_kept_beyond_the_bound() {
    let broker = broker(1 << 20, 1 << 30).await;
    let reader = broker.subscribe(Subscribe::group("g", [topic()])).await.unwrap();
    publish(&broker, 10_000).await.unwrap();
    assert_eq!(earliest(&broker).await, 0);
    handle(reader.as_ref(), 10_000).await;
}

#[tokio::test]
async fn a_publish_beyond_the_limit_is_refused_until_the_group_has_caught_up() {
    let broker = broker(1 << 20, 4 << 20).await;
    let reader = broker.subscribe(Subscribe::group("g", [topic()])).await.unwrap();
    let refused = publish(&broker, 10_000).await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
    assert!(refused.to_string().contains("mem:?limit="), "{refused}");
    let rows = broker.progress("g", &[topic()]).await.unwrap();
    handle(reader.as_ref(), usize::try_from(rows[0].lag()).unwrap()).await;
    publish(&broker, 10).await.unwrap();
}

#[tokio::test]
async fn a_reader_alone_that_is_too_slow_is_told_once_and_goes_on_with_the_earliest() {
    let broker = broker(1 << 20, 1 << 30).await;
    let request = Subscribe { max_in_hand: 1, ..Subscribe::alone([topic()], Start::Earliest) };
    let reader = broker.subscribe(request).await.unwrap();
    publish(&broker, 1).await.unwrap();
    let first = next_deliveries(reader.as_ref()).await.unwrap();
    publish(&broker, 10_000).await.unwrap();
    reader.ack(first.into_iter().map(|it| it.receipt).collect()).await.unwrap();
    let told = next_deliveries(reader.as_ref()).await.unwrap_err();
    let BrokerError::Expired { earliest: from, .. } = told else { panic!("{told:?}") };
    let next = next_deliveries(reader.as_ref()).await.unwrap();
    assert_eq!(next[0].offset, from);
    assert_eq!(from, earliest(&broker).await);
}
