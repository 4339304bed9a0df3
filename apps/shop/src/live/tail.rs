//! The one reader of the broker, which fills the ring.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dhara::broker::{BrokerError, Delivery, Signal, Start, Subscribe, Subscription, Topic};
use dhara::world::timeout;
use tokio::sync::watch;

use super::frame::Frame;
use super::{Ring, Shared};
use crate::events::TOPICS;

/// How many events of each partition are read from before the beginning.
const BEFORE: u64 = 25;
/// How long the reader waits for those.
const PRIMING: Duration = Duration::from_secs(1);
/// How long it reads on when the last client has gone.
const LINGER: Duration = Duration::from_secs(10);
/// The pause after the broker failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads while there are clients, for ever.
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut clients = shared.clients.subscribe();
    while clients.wait_for(|clients| *clients > 0).await.is_ok() {
        if let Err(error) = read(&shared).await {
            tracing::warn!(%error, "the stream of events broke off; it is taken up again");
            shared.world.sleep(PAUSE).await;
        }
        shared.primed.send_replace(false);
    }
}

async fn read(shared: &Shared) -> Result<(), BrokerError> {
    let topics: Vec<Topic> = TOPICS.iter().map(|(topic, _)| Topic::from(*topic)).collect();
    let ends: HashMap<_, _> = shared
        .broker
        .progress("shop-page", &topics)
        .await?
        .into_iter()
        .map(|row| (row.partition, (row.earliest, row.end)))
        .collect();
    let mut request = Subscribe::alone(topics, Start::Latest);
    request.max_in_hand = 1024;
    let subscription = shared.broker.subscribe(request).await?;
    let mut before = Vec::new();
    let mut waited_for: u64 = ends.values().map(|(first, end)| (end - first).min(BEFORE)).sum();
    let prime = async {
        // Until the partitions are assigned, nothing is known of where they begin.
        let mut assigned = false;
        while !assigned || waited_for > 0 {
            match subscription.next().await? {
                Signal::Assigned(assignments) => {
                    assigned = true;
                    for partition in assignments.into_iter().map(|a| a.partition) {
                        let Some((first, end)) = ends.get(&partition) else { continue };
                        let from = end.saturating_sub(BEFORE).max(*first);
                        subscription.seek(&partition, from)?;
                    }
                }
                Signal::Deliveries(deliveries) => {
                    waited_for = waited_for.saturating_sub(deliveries.len() as u64);
                    before.extend(deliveries);
                }
                _ => return Ok(()),
            }
        }
        Ok::<_, BrokerError>(())
    };
    timeout(PRIMING, prime).await.unwrap_or(Ok(()))?;
    before.sort_by_key(|delivery| delivery.timestamp);
    *shared.ring() = Ring { run: shared.world.random().next_u64(), ..Ring::default() };
    push(shared, subscription.as_ref(), before).await?;
    shared.primed.send_replace(true);
    let outcome = go_on(shared, subscription.as_ref()).await;
    subscription.close().await?;
    outcome
}

/// Reads until nobody has listened for a while.
async fn go_on(shared: &Shared, subscription: &dyn Subscription) -> Result<(), BrokerError> {
    // One wait for all deliveries: they do not begin it anew.
    let nobody = nobody(shared.clients.subscribe());
    tokio::pin!(nobody);
    loop {
        tokio::select! {
            signal = subscription.next() => match signal? {
                Signal::Deliveries(deliveries) => push(shared, subscription, deliveries).await?,
                Signal::Closed => return Ok(()),
                _ => (),
            },
            () = &mut nobody => return Ok(()),
        }
    }
}

/// Done when there has been no client for a while.
async fn nobody(mut clients: watch::Receiver<usize>) {
    loop {
        if clients.wait_for(|clients| *clients == 0).await.is_err() {
            return;
        }
        let back = clients.wait_for(|clients| *clients > 0);
        if timeout(LINGER, back).await.is_none() {
            return;
        }
    }
}

async fn push(
    shared: &Shared,
    subscription: &dyn Subscription,
    deliveries: Vec<Delivery>,
) -> Result<(), BrokerError> {
    let frames: Vec<Frame> = deliveries.iter().map(Frame::of).collect();
    {
        let mut ring = shared.ring();
        frames.into_iter().for_each(|frame| ring.push(frame));
    }
    shared.changed.notify_waiters();
    subscription.ack(deliveries.into_iter().map(|delivery| delivery.receipt).collect()).await
}

#[cfg(test)]
mod tests {
    use dhara::broker::{Message, TopicSpec};
    use dhara::world::World;

    use super::*;
    use crate::live::{Client, Live};

    #[tokio::test(start_paused = true)]
    async fn the_reader_ends_after_the_last_client_also_while_events_keep_coming() {
        let world = World::real();
        let broker = dhara::broker::open("mem:", &world).await.unwrap();
        let topics = TOPICS.map(|(name, _)| TopicSpec { name: name.into(), partitions: Some(1) });
        broker.declare(&topics).await.unwrap();
        let live = Live::start(&world, broker.clone(), 1);
        let client = Client::join(live.shared.clone(), None).await;
        assert!(client.is_some() && Client::join(live.shared.clone(), None).await.is_none());
        assert!(*live.shared.primed.borrow(), "it reads");
        drop(client);
        for _ in 0..LINGER.as_secs() + 5 {
            let message = Message {
                topic: "orders".into(),
                key: None,
                body: "{}".into(),
                headers: Default::default(),
                timestamp: world.now(),
            };
            broker.publish(message.into()).await.unwrap();
            world.sleep(Duration::from_secs(1)).await;
        }
        assert!(!*live.shared.primed.borrow(), "nobody listens any more");
    }
}
