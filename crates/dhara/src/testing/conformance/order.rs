//! Messages of one key come in order.

use std::collections::{BTreeMap, BTreeSet};

use super::kit::{Kit, ensure, message, needs, number, numbers, publish_numbers, sorted};
use super::{Checked, Failure, Outcome};
use crate::broker::{Batch, Delivery, Message, partition_of};

/// The numbers of each key, in the order in which they came.
pub(super) fn by_key(deliveries: &[Delivery]) -> BTreeMap<Vec<u8>, Vec<u64>> {
    let mut keys: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
    for delivery in deliveries {
        let key = delivery.key.clone().unwrap_or_default().to_vec();
        keys.entry(key).or_default().push(number(delivery));
    }
    keys
}

pub(super) fn ensure_rising(deliveries: &[Delivery]) -> Result<(), Failure> {
    for (key, numbers) in by_key(deliveries) {
        let key = String::from_utf8_lossy(&key).into_owned();
        ensure!(numbers.is_sorted(), "key {key}: out of order: {numbers:?}");
    }
    Ok(())
}

pub(super) async fn messages_of_one_key_keep_their_order(kit: Kit) -> Checked {
    let broker = kit.open_with(4).await?;
    needs!(broker, ordered_by_key);
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(4).await?;
    for n in 0..60 {
        broker.publish(message(Some(&format!("key-{}", n % 5)), n).into()).await?;
    }
    let got = reader.take(60).await?;
    ensure_rising(&got)?;
    ensure!(sorted(&got) == (0..60).collect::<Vec<_>>(), "not all came once: {:?}", sorted(&got));
    reader.is_quiet().await?;
    Ok(Outcome::Passed)
}

pub(super) async fn a_batch_keeps_the_order_of_each_key(kit: Kit) -> Checked {
    let broker = kit.open_with(4).await?;
    needs!(broker, ordered_by_key);
    let mut reader = kit.group(&broker, "g").await?;
    let batch: Vec<Message> = (0..500).map(|n| message(Some(&format!("k{}", n % 9)), n)).collect();
    broker.publish(Batch::Many(batch)).await?;
    let got = reader.take(500).await?;
    ensure_rising(&got)?;
    ensure!(sorted(&got) == (0..500).collect::<Vec<_>>(), "not all came once");
    reader.is_quiet().await?;
    Ok(Outcome::Passed)
}

pub(super) async fn many_publishers_lose_nothing_and_keep_their_order(kit: Kit) -> Checked {
    const EACH: u64 = 50;
    let broker = kit.open_with(4).await?;
    needs!(broker, ordered_by_key);
    let mut reader = kit.group(&broker, "g").await?;
    let publishers: Vec<_> = (0..16_u64)
        .map(|publisher| {
            let broker = broker.clone();
            kit.world().spawn(async move {
                for n in 0..EACH {
                    let key = format!("publisher-{publisher}");
                    broker.publish(message(Some(&key), publisher * EACH + n).into()).await?;
                }
                Ok::<(), Failure>(())
            })
        })
        .collect();
    let mut got = Vec::new();
    while got.len() < 16 * 50 {
        let some = reader.take(1).await?;
        got.extend(some);
    }
    for publisher in publishers {
        publisher.await.map_err(|error| Failure::new(error.to_string()))??;
    }
    ensure_rising(&got)?;
    ensure!(sorted(&got) == (0..16 * EACH).collect::<Vec<_>>(), "not all came once");
    Ok(Outcome::Passed)
}

pub(super) async fn a_key_lies_where_kafka_would_put_it(kit: Kit) -> Checked {
    let broker = kit.open_with(5).await?;
    needs!(broker, ordered_by_key);
    let keys = ["21", "foobar", "a-little-bit-long-string", "abc", "", "order_789", "ключ"];
    for (n, key) in (0..).zip(keys) {
        broker.publish(message(Some(key), n).into()).await?;
    }
    let mut reader = kit.group(&broker, "g").await?;
    for delivery in reader.take(keys.len()).await? {
        let key = delivery.key.clone().unwrap_or_default();
        let expected = partition_of(&key, 5);
        let partition = delivery.partition;
        ensure!(partition == expected, "{key:?} lies in {partition} instead of {expected}");
    }
    Ok(Outcome::Passed)
}

pub(super) async fn messages_without_a_key_reach_every_partition(kit: Kit) -> Checked {
    let broker = kit.open_with(3).await?;
    needs!(broker, replay);
    for n in 0..30 {
        broker.publish(message(None, n).into()).await?;
    }
    let mut reader = kit.group(&broker, "g").await?;
    let got = reader.take(30).await?;
    let partitions: BTreeSet<u32> = got.iter().map(|it| it.partition).collect();
    ensure!(partitions.len() == 3, "30 messages reached only {partitions:?}");
    ensure!(sorted(&got) == (0..30).collect::<Vec<_>>(), "not all came once");
    Ok(Outcome::Passed)
}

pub(super) async fn a_cancelled_publish_leaves_no_hole_in_a_partition(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, replay);
    for round in 0..10_u64 {
        let batch = (0..10).map(|n| message(Some("k"), round * 100 + n)).collect::<Vec<_>>();
        // Begun and dropped before the answer is there, where it is not there at once.
        let publishing = broker.publish(Batch::Many(batch));
        let _ = crate::world::timeout(std::time::Duration::ZERO, publishing).await;
    }
    publish_numbers(&broker, Some("k"), 5_000..5_001).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let mut got = Vec::new();
    while got.last().is_none_or(|last| number(last) != 5_000) {
        got.extend(reader.take(1).await?);
    }
    for round in 0..10_u64 {
        let seen: Vec<u64> =
            numbers(&got).into_iter().filter(|n| *n < 5_000 && n / 100 == round).collect();
        let whole: Vec<u64> = (round * 100..).take(seen.len()).collect();
        ensure!(
            seen == whole,
            "round {round}: some are there and others before them not: {seen:?}"
        );
    }
    Ok(Outcome::Passed)
}
