//! What whoever picks partitions by keys, or keeps topics in mind, is told of their changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use dhara_log::{Append, Condition, Log, LogError, Options, TopicPartition, Watch};
use dhara_world::disk::SimDisk;
use support::{batch, read_from};

fn open() -> Log {
    let options = Options { salt: Some(7), ..Options::default() };
    let log = Log::open(Arc::new(SimDisk::new()), Path::new("/log"), options).unwrap();
    log.create_topic("orders", 2).unwrap();
    log
}

/// An append to the first partition, on the condition of how many there are.
fn append(log: &Log, topics: &[&str], count: u32) -> Result<(), LogError> {
    let batches =
        topics.iter().map(|topic| (TopicPartition::new(*topic, 0), batch(&["value"]))).collect();
    let append = Append { batches, ..Append::default() }
        .only_if(Condition::Partitions("orders".into(), count));
    let ticket = log.append(append);
    log.commit_step();
    ticket.wait().map(drop)
}

fn is_told(watch: &Watch) -> bool {
    matches!(watch.poll_advanced(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_)))
}

#[test]
fn an_append_for_another_number_of_partitions_is_refused_whole() {
    let log = open();
    log.create_topic("stock", 1).unwrap();
    for topics in [&["orders"][..], &["orders", "stock"]] {
        let count = log.topic("orders").unwrap().partitions;
        append(&log, topics, count).unwrap();
        let grown = log.add_partitions("orders", count + 1).unwrap();
        let end = log.bounds(&TopicPartition::new("orders", 0)).unwrap().end;
        assert_eq!(grown.growths.last().unwrap().ends.first(), Some(&end));
        let refused = append(&log, topics, count).unwrap_err();
        assert!(
            matches!(refused, LogError::Repartitioned { expected, actual, .. }
                if expected == count && actual == count + 1),
            "{refused}"
        );
        assert_eq!(log.bounds(&TopicPartition::new("orders", 0)).unwrap().end, end);
    }
    assert_eq!(read_from(&log, &TopicPartition::new("stock", 0), 0).len(), 1);
}

#[test]
fn an_append_that_waits_when_its_topic_grows_is_refused() {
    let log = open();
    let append = Append::batch(TopicPartition::new("orders", 0), batch(&["value"]))
        .only_if(Condition::Partitions("orders".into(), 2));
    let waiting = log.append(append.clone());
    log.add_partitions("orders", 4).unwrap();
    waiting.wait().unwrap();
    let ends = &log.topic("orders").unwrap().growths.first().unwrap().ends.clone();
    assert_eq!(ends, &[1, 0], "what waited before is counted in");
    let late = log.append(append);
    log.commit_step();
    assert!(matches!(late.wait(), Err(LogError::Repartitioned { .. })));
}

#[test]
fn every_change_of_topics_is_told_once() {
    let log = open();
    let watch = log.watch_topics();
    let mut changes = log.topic_changes();
    assert!(is_told(&watch), "at the beginning");
    assert!(!is_told(&watch));
    let steps: [&dyn Fn(); 5] = [
        &|| drop(log.create_topic("stock", 1).unwrap()),
        &|| drop(log.add_partitions("stock", 2).unwrap()),
        &|| drop(log.set_aliases("stock", &["goods"]).unwrap()),
        &|| drop(log.configure_topic("goods", dhara_log::TopicConfig::default()).unwrap()),
        &|| log.delete_topic("stock").unwrap(),
    ];
    for step in steps {
        step();
        assert!(is_told(&watch));
        assert!(!is_told(&watch));
        assert!(log.topic_changes() > changes);
        changes = log.topic_changes();
    }
    support::append(&log, &TopicPartition::new("orders", 0), &["value"]).unwrap();
    assert!(!is_told(&watch), "records are no change");
    assert_eq!(log.topic_changes(), changes);
}
