//! How it ends.

use std::sync::Arc;

use super::kit::{Kit, ensure, message, needs, orders, publish_numbers, sorted};
use super::{Checked, Failure, Outcome};
use crate::broker::{BrokerError, Signal, Subscribe, Subscription};

/// Takes signals until the end; fails where deliveries come first.
async fn ends(kit: &Kit, subscription: &Arc<dyn Subscription>) -> Result<(), Failure> {
    loop {
        match kit.within("the end of a subscription", subscription.next()).await?? {
            Signal::Closed => return Ok(()),
            Signal::Deliveries(late) => {
                return Err(Failure::new(format!("deliveries after the end: {late:?}")));
            }
            _ => {}
        }
    }
}

pub(super) async fn a_closed_subscription_says_so(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(1).await?;
    let subscription = Arc::clone(&reader.subscription);
    let waiting = kit.world().spawn(async move { subscription.next().await });
    tokio::task::yield_now().await;
    reader.subscription.close().await?;
    let told = kit.within("the one who waits", waiting).await?;
    let told = told.map_err(|error| Failure::new(error.to_string()))??;
    ensure!(matches!(told, Signal::Closed), "the one who waited was told {told:?}");
    publish_numbers(&broker, Some("k"), 0..1).await?;
    for _ in 0..2 {
        ends(&kit, &reader.subscription).await?;
    }
    reader.subscription.close().await?;
    Ok(Outcome::Passed)
}

pub(super) async fn a_closed_broker_ends_its_subscriptions(kit: Kit) -> Checked {
    let broker = kit.open_with(2).await?;
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(2).await?;
    let subscription = Arc::clone(&reader.subscription);
    let world = kit.world();
    let within = kit.clone();
    let waiting = world.spawn(async move { ends(&within, &subscription).await });
    tokio::task::yield_now().await;
    kit.within("the broker to close", broker.close()).await??;
    let told = kit.within("the one who waits", waiting).await?;
    told.map_err(|error| Failure::new(error.to_string()))??;
    Ok(Outcome::Passed)
}

pub(super) async fn a_closed_broker_takes_no_more_work(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    kit.within("the broker to close", broker.close()).await??;
    let published = broker.publish(message(None, 1).into()).await;
    ensure!(matches!(published, Err(BrokerError::Closed)), "publish: {published:?}");
    let joined = broker.subscribe(Subscribe::group("g", [orders()])).await;
    ensure!(matches!(joined, Err(BrokerError::Closed)), "subscribe: {joined:?}");
    let declared = broker.declare(&[]).await;
    ensure!(matches!(declared, Err(BrokerError::Closed)), "declare: {declared:?}");
    kit.within("the broker to close again", broker.close()).await??;
    Ok(Outcome::Passed)
}

pub(super) async fn shutting_down_with_deliveries_in_hand_loses_none(kit: Kit) -> Checked {
    let broker = kit.open_with(4).await?;
    needs!(broker, durable);
    publish_numbers(&broker, Some("k"), 0..20).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let mut in_hand = reader.take(20).await?;
    let rest = in_hand.split_off(7);
    reader.ack(in_hand).await?;
    let broker = kit.reopen(broker).await?;
    // The old subscription is at its end, and what it still holds harms nobody.
    reader.ack(rest).await.ok();
    drop(reader);
    let mut next = kit.group(&broker, "g").await?;
    let got = next.take(13).await?;
    ensure!(sorted(&got) == (7..20).collect::<Vec<_>>(), "after it came {:?}", sorted(&got));
    Ok(Outcome::Passed)
}
