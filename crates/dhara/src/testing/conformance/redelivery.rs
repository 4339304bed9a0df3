//! A delivery comes until it is acked, and not after.

use std::sync::Arc;
use std::time::Duration;

use super::kit::{Kit, ensure, message, needs, number, numbers, publish_numbers, receipts, sorted};
use super::{Checked, Outcome};
use crate::broker::Broker;

pub(super) async fn what_was_acked_does_not_come_again(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, redelivers);
    publish_numbers(&broker, Some("k"), 0..6).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let got = reader.take(6).await?;
    reader.ack(got).await?;
    reader.close().await?;
    let mut again = kit.group(&broker, "g").await?;
    again.is_quiet().await?;
    publish_numbers(&broker, Some("k"), 6..7).await?;
    let got = numbers(&again.take(1).await?);
    ensure!(got == [6], "it went on with {got:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn what_was_not_acked_comes_again_to_the_next_member(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, redelivers);
    publish_numbers(&broker, Some("k"), 0..6).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let mut got = reader.take(6).await?;
    let rest = got.split_off(2);
    reader.ack(got).await?;
    reader.close().await?;
    drop(rest);
    let mut again = kit.group(&broker, "g").await?;
    let got = numbers(&again.take(4).await?);
    ensure!(got == [2, 3, 4, 5], "came again: {got:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn acks_out_of_order_skip_nothing(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, redelivers);
    publish_numbers(&broker, Some("k"), 0..10).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let got = reader.take(10).await?;
    let (mut acked, left): (Vec<_>, Vec<_>) =
        got.into_iter().partition(|it| ![3, 6].contains(&number(it)));
    acked.reverse();
    reader.ack(acked).await?;
    reader.close().await?;
    drop(left);
    let mut again = kit.group(&broker, "g").await?;
    // What was acked above the lowest may come again where one number a partition is kept.
    let mut seen = Vec::new();
    while !(seen.contains(&3) && seen.contains(&6)) {
        let some = again.take(1).await?;
        seen.extend(numbers(&some));
        ensure!(seen.iter().all(|n| *n >= 3), "what lies below all that was left came: {seen:?}");
        again.ack(some).await?;
    }
    Ok(Outcome::Passed)
}

/// Publishes six, acks the first two and the last, and gives the broker opened anew.
async fn after_a_restart(
    kit: &Kit,
    broker: Arc<dyn Broker>,
) -> Result<Arc<dyn Broker>, super::Failure> {
    publish_numbers(&broker, Some("k"), 0..6).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let got = reader.take(6).await?;
    let acked = got.into_iter().filter(|it| [0, 1, 5].contains(&number(it))).collect();
    reader.ack(acked).await?;
    kit.reopen(broker).await
}

pub(super) async fn what_was_not_acked_comes_again_after_a_restart(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, durable);
    let broker = after_a_restart(&kit, broker).await?;
    let mut again = kit.group(&broker, "g").await?;
    let got = numbers(&again.take(3).await?);
    ensure!(got == [2, 3, 4], "came again: {got:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn what_was_acked_is_remembered_after_a_restart(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, durable);
    publish_numbers(&broker, Some("k"), 0..6).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let got = reader.take(6).await?;
    reader.ack(got).await?;
    let broker = kit.reopen(broker).await?;
    let mut again = kit.group(&broker, "g").await?;
    again.is_quiet().await?;
    publish_numbers(&broker, Some("k"), 6..7).await?;
    let got = numbers(&again.take(1).await?);
    ensure!(got == [6], "it went on with {got:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn what_is_given_back_comes_again_and_is_counted(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, redelivers);
    publish_numbers(&broker, Some("k"), 0..3).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let mut in_hand = reader.take(3).await?;
    for attempt in 2..5_u32 {
        reader.subscription.give_back(receipts(in_hand), Duration::ZERO).await?;
        in_hand = reader.take(3).await?;
        ensure!(numbers(&in_hand) == [0, 1, 2], "came again: {:?}", numbers(&in_hand));
        let attempts: Vec<u32> = in_hand.iter().map(|it| it.attempt).collect();
        ensure!(attempts == [attempt; 3], "attempts are counted as {attempts:?}");
    }
    reader.ack(in_hand).await?;
    reader.is_quiet().await?;
    Ok(Outcome::Passed)
}

pub(super) async fn what_is_given_back_with_a_delay_comes_after_it(kit: Kit) -> Checked {
    const DELAY: Duration = Duration::from_millis(120);
    let broker = kit.open_with(1).await?;
    needs!(broker, delay);
    publish_numbers(&broker, Some("k"), 0..2).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let in_hand = reader.take(2).await?;
    let world = kit.world();
    let given_back = world.instant();
    reader.subscription.give_back(receipts(in_hand), DELAY).await?;
    let got = reader.take(2).await?;
    let waited = given_back.elapsed();
    ensure!(waited >= DELAY, "it came again after {waited:?}");
    ensure!(sorted(&got) == [0, 1], "came again: {:?}", numbers(&got));
    ensure!(got.iter().all(|it| it.attempt == 2), "attempts are not counted: {got:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn a_delayed_delivery_does_not_hold_up_others(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    needs!(broker, delay);
    publish_numbers(&broker, Some("k"), 0..1).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let in_hand = reader.take(1).await?;
    reader.subscription.give_back(receipts(in_hand), Duration::from_secs(3600)).await?;
    broker.publish(message(Some("other"), 1).into()).await?;
    let got = numbers(&reader.take(1).await?);
    ensure!(got == [1], "came: {got:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn a_dropped_subscription_leaves_its_group(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    needs!(broker, redelivers);
    publish_numbers(&broker, Some("k"), 0..3).await?;
    let mut gone = kit.group(&broker, "g").await?;
    let in_hand = gone.take(3).await?;
    drop(gone);
    drop(in_hand);
    let mut next = kit.group(&broker, "g").await?;
    next.has_partitions(2).await?;
    let got = numbers(&next.take(3).await?);
    ensure!(got == [0, 1, 2], "came again: {got:?}");
    Ok(Outcome::Passed)
}
