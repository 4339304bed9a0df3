//! How much comes, and when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::kit::{
    Kit, ensure, message, needs, numbers, orders, orders_partition, publish_numbers, sorted,
};
use super::{Checked, Failure, Outcome};
use crate::broker::{Batch, Delivery, Message, Signal, Subscribe, TopicPartition, partition_of};
use crate::world::timeout;

pub(super) async fn no_more_is_in_hand_than_was_asked_for(kit: Kit) -> Checked {
    let broker = kit.open_with(4).await?;
    needs!(broker, redelivers);
    let batch: Vec<Message> = (0..100).map(|n| message(Some(&format!("key-{n}")), n)).collect();
    broker.publish(Batch::Many(batch)).await?;
    let request = Subscribe { max_in_hand: 10, ..Subscribe::group("g", [orders()]) };
    let mut reader = kit.join(&broker, request).await?;
    let mut seen = Vec::new();
    while seen.len() < 100 {
        let got = reader.take(10).await?;
        reader.is_quiet().await?;
        seen.extend(numbers(&got));
        reader.ack(got).await?;
    }
    seen.sort_unstable();
    ensure!(seen == (0..100).collect::<Vec<_>>(), "not all came once: {seen:?}");
    Ok(Outcome::Passed)
}

fn of_size(number: u64, bytes: usize) -> Message {
    Message { body: Bytes::from(vec![b'x'; bytes]), ..message(Some("k"), number) }
}

fn bytes_of(deliveries: &[Delivery]) -> usize {
    deliveries.iter().map(|it| it.body.len() + it.key.as_ref().map_or(0, Bytes::len)).sum()
}

pub(super) async fn no_more_bytes_are_in_hand_than_were_asked_for(kit: Kit) -> Checked {
    const EACH: usize = 10_000;
    let broker = kit.open_with(1).await?;
    needs!(broker, redelivers);
    let batch = Batch::Many((0..12).map(|n| of_size(n, EACH)).collect());
    broker.publish(batch).await?;
    let request = Subscribe { max_bytes: 35_000, ..Subscribe::group("g", [orders()]) };
    let mut reader = kit.join(&broker, request).await?;
    let mut left = 12;
    while left > 0 {
        // The bound may be passed by one message.
        let got = reader.take(left.min(3)).await?;
        let more = match timeout(Duration::from_millis(20), reader.take(1)).await {
            Some(more) => more?,
            None => Vec::new(),
        };
        let got: Vec<Delivery> = got.into_iter().chain(more).collect();
        ensure!(bytes_of(&got) < 35_000 + EACH + 10, "{} bytes are in hand", bytes_of(&got));
        reader.is_quiet().await?;
        left -= got.len();
        reader.ack(got).await?;
    }
    Ok(Outcome::Passed)
}

pub(super) async fn a_message_larger_than_the_bound_is_still_given(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, redelivers);
    let batch = vec![of_size(0, 10), of_size(1, 50_000), of_size(2, 10)];
    broker.publish(Batch::Many(batch)).await?;
    let request = Subscribe { max_bytes: 1_000, ..Subscribe::group("g", [orders()]) };
    let mut reader = kit.join(&broker, request).await?;
    let mut sizes = Vec::new();
    while sizes.len() < 3 {
        let got = reader.take(1).await?;
        sizes.extend(got.iter().map(|it| it.body.len()));
        reader.ack(got).await?;
    }
    ensure!(sizes == [10, 50_000, 10], "the sizes that came: {sizes:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn a_paused_partition_gives_nothing_until_it_is_resumed(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    needs!(broker, redelivers);
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(2).await?;
    let paused = [orders_partition(partition_of(b"paused", 2))];
    let other = (0..).map(|n| format!("key-{n}"));
    let on_other = |key: &String| partition_of(key.as_bytes(), 2) != partition_of(b"paused", 2);
    let other = other.into_iter().find(on_other).unwrap_or_default();
    reader.subscription.pause(&paused)?;
    broker.publish(message(Some("paused"), 1).into()).await?;
    broker.publish(message(Some(&other), 2).into()).await?;
    let got = reader.take(1).await?;
    ensure!(numbers(&got) == [2], "while paused came {:?}", numbers(&got));
    reader.is_quiet().await?;
    reader.subscription.resume(&paused)?;
    let got = reader.take(1).await?;
    ensure!(numbers(&got) == [1], "after it came {:?}", numbers(&got));
    let unknown = TopicPartition { partition: 77, ..orders_partition(0) };
    reader.subscription.pause(&[unknown])?;
    Ok(Outcome::Passed)
}

pub(super) async fn a_cancelled_next_loses_nothing(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    needs!(broker, redelivers);
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(2).await?;
    let publisher = {
        let broker = broker.clone();
        kit.world().spawn(async move {
            for n in 0..100 {
                broker.publish(message(Some(&format!("key-{}", n % 8)), n).into()).await?;
                tokio::task::yield_now().await;
            }
            Ok::<(), Failure>(())
        })
    };
    let mut got: Vec<Delivery> = Vec::new();
    let mut tries: u32 = 0;
    while got.len() < 100 {
        tries += 1;
        // Asked for and dropped without a look, then looked at once and dropped.
        drop(reader.subscription.next());
        let look = timeout(Duration::ZERO, reader.subscription.next());
        match look.await {
            Some(Ok(Signal::Deliveries(more))) => got.extend(more),
            Some(other) => return Err(Failure::new(format!("instead of deliveries: {other:?}"))),
            None => tokio::task::yield_now().await,
        }
        if tries > 10_000 {
            got.extend(reader.take(1).await?);
        }
    }
    publisher.await.map_err(|error| Failure::new(error.to_string()))??;
    ensure!(sorted(&got) == (0..100).collect::<Vec<_>>(), "not all came once");
    super::order::ensure_rising(&got)?;
    Ok(Outcome::Passed)
}

pub(super) async fn one_busy_partition_does_not_starve_the_others(kit: Kit) -> Checked {
    let broker = kit.open_with(4).await?;
    needs!(broker, redelivers);
    publish_numbers(&broker, Some("busy"), 0..2_000).await?;
    let key = |n: u64| format!("key-{n}");
    let busy = partition_of(b"busy", 4);
    let quiet = (0..100).find(|n| partition_of(key(*n).as_bytes(), 4) != busy).unwrap_or_default();
    broker.publish(message(Some(&key(quiet)), 9_999).into()).await?;
    let request = Subscribe { max_in_hand: 50, ..Subscribe::group("g", [orders()]) };
    let mut reader = kit.join(&broker, request).await?;
    let mut before = 0;
    loop {
        let got = reader.take(1).await?;
        if numbers(&got) == [9_999] {
            break;
        }
        before += 1;
        reader.ack(got).await?;
    }
    ensure!(before < 1_500, "{before} of the busy partition came first");
    Ok(Outcome::Passed)
}

pub(super) async fn a_waiting_reader_is_told_of_what_is_published(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(2).await?;
    for n in 0..20_u64 {
        let subscription = Arc::clone(&reader.subscription);
        let waiting = kit.world().spawn(async move { subscription.next().await });
        // It waits by then, or finds the message when it looks: both must work.
        for _ in 0..n % 3 {
            tokio::task::yield_now().await;
        }
        broker.publish(message(Some("k"), n).into()).await?;
        let told = kit.within("the waiting reader", waiting).await?;
        match told.map_err(|error| Failure::new(error.to_string()))?? {
            Signal::Deliveries(got) if numbers(&got) == [n] => reader.ack(got).await?,
            other => return Err(Failure::new(format!("message {n}: it was told {other:?}"))),
        }
    }
    Ok(Outcome::Passed)
}
