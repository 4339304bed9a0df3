//! Topics and their names.

use std::collections::BTreeSet;

use super::kit::{Kit, declare, ensure, message, message_to, orders};
use super::{Checked, Outcome};
use crate::broker::{
    Batch, BrokerError, DEFAULT_PARTITIONS, Group, Start, Subscribe, Topic, TopicSpec,
};

pub(super) async fn a_topic_has_the_partitions_it_was_declared_with(kit: Kit) -> Checked {
    let broker = kit.open_with(3).await?;
    let mut reader = kit.group(&broker, "g").await?;
    reader.has_partitions(3).await?;
    let partitions: Vec<u32> = reader.assigned.keys().map(|it| it.partition).collect();
    ensure!(partitions == [0, 1, 2], "partitions are {partitions:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn declaring_again_changes_nothing(kit: Kit) -> Checked {
    let broker = kit.open_with(3).await?;
    declare(&broker, "orders", 6).await?;
    let unsaid = TopicSpec { name: orders(), partitions: None };
    broker.declare(&[unsaid]).await?;
    let rows = broker.progress("g", &[orders()]).await?;
    ensure!(rows.len() == 3, "the topic has {} partitions instead of 3", rows.len());
    Ok(Outcome::Passed)
}

pub(super) async fn names_that_not_every_broker_could_carry_are_refused(kit: Kit) -> Checked {
    let broker = kit.open().await?;
    for bad in ["", ".", "..", "with space", "a/b", "é", &"x".repeat(250)] {
        let name = Topic::new(bad);
        let spec = TopicSpec { name: name.clone(), partitions: None };
        let declared = broker.declare(&[spec]).await;
        ensure!(matches!(declared, Err(BrokerError::Refused { .. })), "{bad:?}: {declared:?}");
        let published = broker.publish(message_to(bad, None, 1).into()).await;
        ensure!(matches!(published, Err(BrokerError::Refused { .. })), "{bad:?}: {published:?}");
        let joined = broker.subscribe(Subscribe::group("g", [name])).await;
        ensure!(matches!(joined, Err(BrokerError::Refused { .. })), "{bad:?}: {joined:?}");
    }
    let nameless =
        Subscribe { group: Group::Named("".into()), ..Subscribe::group("g", [orders()]) };
    let joined = broker.subscribe(nameless).await;
    ensure!(matches!(joined, Err(BrokerError::Refused { .. })), "a group without name: {joined:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn a_refused_batch_publishes_nothing(kit: Kit) -> Checked {
    let broker = kit.open_with(1).await?;
    let batch = Batch::Many(vec![message(None, 1), message_to("not a name", None, 2)]);
    let published = broker.publish(batch).await;
    ensure!(matches!(published, Err(BrokerError::Refused { .. })), "it was {published:?}");
    broker.publish(message(None, 3).into()).await?;
    let mut reader = kit.group(&broker, "g").await?;
    let first = reader.take(1).await?;
    ensure!(super::kit::numbers(&first) == [3], "a part of the batch was published: {first:?}");
    Ok(Outcome::Passed)
}

pub(super) async fn publishing_and_subscribing_declare_unknown_topics(kit: Kit) -> Checked {
    let broker = kit.open().await?;
    broker.publish(message_to("made-by-publish", None, 1).into()).await?;
    let topics = [Topic::new("made-by-publish"), Topic::new("made-by-subscribe")];
    let request = Subscribe { start: Start::Earliest, ..Subscribe::group("g", topics) };
    let mut reader = kit.join(&broker, request).await?;
    let got = reader.take(1).await?;
    ensure!(got.iter().all(|it| it.topic.as_str() == "made-by-publish"), "{got:?}");
    reader.has_partitions(2 * DEFAULT_PARTITIONS as usize).await?;
    let named: BTreeSet<&str> = reader.assigned.keys().map(|it| it.topic.as_str()).collect();
    ensure!(named.len() == 2, "assigned are {named:?}");
    Ok(Outcome::Passed)
}
