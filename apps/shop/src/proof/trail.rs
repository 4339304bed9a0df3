//! The events of a topic that some group has still to deal with.

use std::collections::HashMap;
use std::time::Duration;

use dhara::broker::{Delivery, Signal, Start, Subscribe, Topic, TopicPartition};
use dhara::store::{Param, Row, ServiceStore};
use dhara::world::timeout;

use super::book::{Book, Lesson};
use super::{AuditError, Sources};
use crate::events::TOPICS;

/// How long the broker may take for what it has said to be there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where reading goes on, and where it ends, for each partition that has something new.
type Spans = HashMap<u32, (u64, u64)>;

/// Learns where the orders' last events lie in the topic, and how far all groups have come there.
///
/// How far they have come is asked first: whatever was undelivered at that moment lies below the end
/// that was told with it.
pub(super) async fn read(
    sources: &Sources,
    book: &Book,
    number: usize,
    lesson: &mut Lesson,
) -> Result<(), AuditError> {
    let Some((name, groups)) = TOPICS.get(number) else { return Ok(()) };
    let topic = Topic::from(*name);
    let mut ends = HashMap::new();
    let broker = sources.broker.id();
    for group in *groups {
        let done = match &broker {
            Some(broker) => positions(sources.store(group)?, broker, name).await?,
            None => HashMap::new(),
        };
        let topics = std::slice::from_ref(&topic);
        for row in sources.broker.progress(group, topics).await? {
            let partition = row.partition.partition;
            let stored = done.get(&partition).copied().unwrap_or(0);
            let committed = row.committed.unwrap_or(0).max(row.earliest).max(stored);
            let least = lesson.settled.entry((number, partition)).or_insert(u64::MAX);
            *least = committed.min(*least);
            let end = ends.entry(partition).or_insert(0);
            *end = row.end.max(*end);
        }
    }
    let tails = book.tails().await?;
    let spans: Spans = ends
        .into_iter()
        .filter_map(|(partition, end)| {
            let known = tails.get(&(number, partition)).copied().unwrap_or(0);
            // What every group has done is on its way no more.
            let from = known.max(lesson.settled.get(&(number, partition)).copied().unwrap_or(0));
            (from < end).then_some((partition, (from, end)))
        })
        .collect();
    if spans.is_empty() {
        return Ok(());
    }
    let read = read_spans(sources, book, number, topic, spans, lesson);
    let late = || AuditError(format!("the broker gave nothing of {name:?} for a while"));
    read.await?.then_some(()).ok_or_else(late)
}

/// How far a service has come in the topic, as its own store says: the broker's word may be older.
async fn positions(
    store: &dyn ServiceStore,
    broker: &str,
    topic: &str,
) -> Result<HashMap<u32, u64>, AuditError> {
    let query = "SELECT \"partition\", next FROM dhara_positions WHERE broker = $1 AND topic = $2";
    let rows = store.query(query, &[Param::from(broker), Param::from(topic)]).await?;
    let position = |row: &Row| Ok((row.get("partition")?, row.get("next")?));
    rows.iter().map(position).collect()
}

/// Reads the spans to their ends; `false` where the broker stopped giving before.
async fn read_spans(
    sources: &Sources,
    book: &Book,
    number: usize,
    topic: Topic,
    mut spans: Spans,
    lesson: &mut Lesson,
) -> Result<bool, AuditError> {
    let request = Subscribe::alone([topic.clone()], Start::Latest);
    let subscription = sources.broker.subscribe(request).await?;
    while !spans.is_empty() {
        let Some(signal) = timeout(PATIENCE, subscription.next()).await else { break };
        match signal? {
            Signal::Assigned(_) => {
                for (partition, (from, _)) in &spans {
                    let partition = TopicPartition { topic: topic.clone(), partition: *partition };
                    subscription.seek(&partition, *from)?;
                }
            }
            Signal::Deliveries(deliveries) => {
                for delivery in &deliveries {
                    note(number, delivery, &mut spans, lesson);
                }
                subscription.ack(deliveries.into_iter().map(|d| d.receipt).collect()).await?;
            }
            _ => break,
        }
        if lesson.is_long() {
            book.keep(lesson).await?;
        }
    }
    subscription.close().await?;
    Ok(spans.is_empty())
}

fn note(number: usize, delivery: &Delivery, spans: &mut Spans, lesson: &mut Lesson) {
    let Delivery { partition, offset, key, .. } = delivery;
    let Some((from, end)) = spans.get_mut(partition) else { return };
    if offset < from {
        return;
    }
    *from = offset + 1;
    let next = *from;
    if next >= *end {
        spans.remove(partition);
    }
    lesson.tails.insert((number, *partition), next);
    if let Some(key) = key {
        let order_id = String::from_utf8_lossy(key).into_owned();
        if let Some(place) = lesson.order(order_id).places.get_mut(number) {
            *place = Some((*partition, *offset));
        }
    }
}
