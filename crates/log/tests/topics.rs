//! Topics: made, grown, named otherwise, configured, deleted, and very many of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dhara_log::batch::BatchBuilder;
use dhara_log::{
    Append, GroupOffset, Growth, Log, LogError, MAX_PARTITIONS, NewTopic, Options, SyncPolicy,
    TopicConfig, TopicPartition,
};
use dhara_world::disk::SimDisk;
use dhara_world::{Clock, Timestamp};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{append, batch, read_from};

#[global_allocator]
static ALLOCATED: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const SEGMENT: u64 = 8 << 10;

fn open(disk: &SimDisk, clock: &Clock) -> Log {
    let options = Options {
        first_segment_bytes: SEGMENT,
        segment_bytes: SEGMENT,
        settle_bytes: 2 * SEGMENT,
        tail_bytes: 0,
        clock: clock.clone(),
        salt: Some(7),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new("/log"), options).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_000_000))
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn keep_house(log: &Log) {
    while log.housekeep_step().unwrap() {}
}

fn fill(log: &Log, topic: &str, partition: u32, count: u64) {
    for number in 0..count {
        append(log, &at(topic, partition), &[&format!("{number} {}", "x".repeat(200))]).unwrap();
        keep_house(log);
    }
}

#[test]
fn a_topic_that_exists_is_given_or_refused_and_its_growths_tell_where_the_old_partitions_ended() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    let made = log.create_topic("orders", 2).unwrap();
    assert_eq!(log.create_topic("orders", 5).unwrap(), made);
    let error = log.new_topic(NewTopic::new("orders", 2)).unwrap_err();
    assert!(matches!(&error, LogError::Exists { topic } if &**topic == "orders"), "{error}");
    fill(&log, "orders", 0, 3);
    fill(&log, "orders", 1, 1);
    let grown = log.add_partitions("orders", 3).unwrap();
    assert_eq!((grown.partitions, grown.id), (3, made.id));
    fill(&log, "orders", 2, 2);
    log.add_partitions("orders", 3).unwrap();
    let grown = log.add_partitions("orders", 5).unwrap();
    let growths = [Growth { ends: vec![3, 1] }, Growth { ends: vec![3, 1, 2] }];
    assert_eq!(grown.growths, growths);
    assert!(matches!(log.add_partitions("orders", 4), Err(LogError::Invalid { .. })));
    assert!(matches!(log.add_partitions("nothing", 4), Err(LogError::Unknown { .. })));
    fill(&log, "orders", 4, 300);
    drop(log);
    let log = open(&disk, &clock);
    assert_eq!(log.topic("orders").unwrap(), grown);
    assert_eq!(read_from(&log, &at("orders", 2), 0).len(), 2);
    assert_eq!(read_from(&log, &at("orders", 4), 0).len(), 300);
}

#[test]
fn a_topic_of_more_partitions_than_a_log_may_have_is_refused() {
    let log = open(&SimDisk::new(), &clock());
    for count in [0, MAX_PARTITIONS + 1] {
        assert!(matches!(log.create_topic("orders", count), Err(LogError::Invalid { .. })));
    }
    log.create_topic("orders", MAX_PARTITIONS - 1).unwrap();
    log.create_topic("one", 1).unwrap();
    let error = log.create_topic("two", 1).unwrap_err();
    assert!(error.to_string().contains("at most 1048576"), "{error}");
    assert!(matches!(log.add_partitions("one", 2), Err(LogError::Invalid { .. })));
    log.delete_topic("orders").unwrap();
    log.create_topic("two", 1).unwrap();
}

#[test]
fn an_alias_stands_for_its_topic_wherever_it_is_named_and_is_nobody_elses() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    let aliases = vec![Arc::from("OrderCreated")];
    log.new_topic(NewTopic { aliases, ..NewTopic::new("orders", 2) }).unwrap();
    log.create_topic("payments", 1).unwrap();
    assert_eq!(append(&log, &at("OrderCreated", 1), &["by the alias"]).unwrap(), 0);
    assert_eq!(append(&log, &at("orders", 1), &["by the name"]).unwrap(), 1);
    let offsets = vec![GroupOffset::new("group", at("OrderCreated", 1), 1)];
    let ticket = log.append(Append { offsets, ..Append::default() });
    log.commit_step();
    ticket.wait().unwrap();
    let clash = |result: Result<_, LogError>| {
        assert!(matches!(result, Err(LogError::Exists { .. })), "{result:?}");
    };
    clash(log.new_topic(NewTopic::new("OrderCreated", 1)));
    clash(log.set_aliases("payments", &["OrderCreated"]));
    clash(log.set_aliases("payments", &["orders"]));
    clash(log.set_aliases("orders", &["orders"]));
    let taken = NewTopic { aliases: vec![Arc::from("orders")], ..NewTopic::new("other", 1) };
    clash(log.new_topic(taken));
    let bad = log.set_aliases("orders", &["a/b"]);
    assert!(matches!(bad, Err(LogError::Invalid { .. })));
    for round in 0..2 {
        let log = if round == 0 { log.clone() } else { open(&disk, &clock) };
        assert_eq!(log.topic("OrderCreated"), log.topic("orders"));
        assert_eq!(read_from(&log, &at("OrderCreated", 1), 0).len(), 2);
        assert_eq!(log.committed("group", &at("OrderCreated", 1)).unwrap().offset, 1);
        assert_eq!(log.committed_all("group")[0].0, at("orders", 1));
        if round == 0 {
            log.close().unwrap();
        }
    }
    let log = open(&SimDisk::holding(disk.contents()), &clock);
    log.set_aliases("orders", &["OrderPlaced"]).unwrap();
    assert!(log.topic("OrderCreated").is_none());
    log.set_aliases("payments", &["OrderCreated"]).unwrap();
    assert_eq!(log.topic("OrderCreated").unwrap().name.as_ref(), "payments");
    log.delete_topic("OrderPlaced").unwrap();
    assert!(log.topic("orders").is_none() && log.topic("OrderPlaced").is_none());
}

#[test]
fn a_configuration_comes_back_as_it_was_given() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    let other = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact,delete".to_owned()),
        ("=odd".to_owned(), String::new()),
    ]);
    let config = TopicConfig {
        retention: Some(Duration::from_millis(1)),
        retention_bytes: Some(u64::MAX),
        compact: true,
        tombstone_delay: Duration::ZERO,
        sync: SyncPolicy::Interval(Duration::from_millis(20)),
        other,
    };
    log.new_topic(NewTopic { config: config.clone(), ..NewTopic::new("orders", 1) }).unwrap();
    assert_eq!(*log.topic("orders").unwrap().config, config);
    let log = {
        drop(log);
        open(&disk, &clock)
    };
    assert_eq!(*log.topic("orders").unwrap().config, config);
    let changed = TopicConfig { sync: SyncPolicy::Os, compact: false, ..TopicConfig::default() };
    log.configure_topic("orders", changed.clone()).unwrap();
    let log = {
        drop(log);
        open(&disk, &clock)
    };
    assert_eq!(*log.topic("orders").unwrap().config, changed);
    let large = BTreeMap::from([("name".to_owned(), "x".repeat(40 << 10))]);
    let refused = log.configure_topic("orders", TopicConfig { other: large, ..changed.clone() });
    assert!(matches!(refused, Err(LogError::Invalid { .. })), "{refused:?}");
    assert_eq!(*log.topic("orders").unwrap().config, changed);
}

/// Appends records of few keys until most of them are compacted away.
fn fill_keys(log: &Log, clock: &Clock, count: u32) {
    for number in 0..count {
        let mut builder = BatchBuilder::new();
        let (key, value) = (format!("key {}", number % 3), format!("{number} {}", "x".repeat(150)));
        let now = clock.now().as_millis() as i64;
        builder.push(now, Some(key.as_bytes()), Some(value.as_bytes()), []).unwrap();
        let ticket = log.append(Append::batch(at("orders", 0), builder.finish()));
        log.commit_step();
        ticket.wait().unwrap();
        keep_house(log);
    }
}

#[test]
fn a_topic_that_is_compacted_no_longer_is_still_readable_after_a_restart() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    let config = TopicConfig { compact: true, ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
    fill_keys(&log, &clock, 300);
    log.configure_topic("orders", TopicConfig::default()).unwrap();
    fill_keys(&log, &clock, 5);
    let before = read_from(&log, &at("orders", 0), 0);
    assert!(before.len() < 200, "{} are left", before.len());
    drop(log);
    let log = open(&disk, &clock);
    assert_eq!(read_from(&log, &at("orders", 0), 0), before);
}

#[test]
fn a_tombstone_stays_while_older_records_of_its_key_were_settled_before_the_topic_was_compacted() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    log.create_topic("orders", 1).unwrap();
    fill_keys(&log, &clock, 100);
    log.settle().unwrap();
    let config =
        TopicConfig { compact: true, tombstone_delay: Duration::ZERO, ..TopicConfig::default() };
    log.configure_topic("orders", config).unwrap();
    let mut builder = BatchBuilder::new();
    builder.push(clock.now().as_millis() as i64, Some(b"key 1"), None, []).unwrap();
    let ticket = log.append(Append::batch(at("orders", 0), builder.finish()));
    log.commit_step();
    let gone = ticket.wait().unwrap().base_offset();
    clock.set(clock.now().plus(Duration::from_secs(60)));
    for _ in 0..200 {
        append_key(&log, "key 0");
        keep_house(&log);
    }
    clock.set(clock.now().plus(Duration::from_secs(7200)));
    keep_house(&log);
    let fetched = log.read(&at("orders", 0), gone, 1 << 20).unwrap();
    assert_eq!(fetched.batches[0].base_offset(), gone, "the deleted key is back");
}

fn append_key(log: &Log, key: &str) {
    let mut builder = BatchBuilder::new();
    builder.push(1, Some(key.as_bytes()), Some(&[b'x'; 150]), []).unwrap();
    let ticket = log.append(Append::batch(at("orders", 0), builder.finish()));
    log.commit_step();
    ticket.wait().unwrap();
}

#[test]
fn what_a_topic_leaves_that_is_deleted_right_after_an_opening_is_counted_once() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    log.create_topic("large", 1).unwrap();
    log.create_topic("small", 1).unwrap();
    for number in 0..120 {
        append(&log, &at("large", 0), &["x".repeat(400).as_str()]).unwrap();
        append(&log, &at("small", 0), &[&format!("{number} {}", "x".repeat(120))]).unwrap();
        keep_house(&log);
    }
    log.settle().unwrap();
    let before = read_from(&log, &at("small", 0), 0);
    drop(log);
    let log = open(&disk, &clock);
    log.delete_topic("large").unwrap();
    keep_house(&log);
    assert_eq!(read_from(&log, &at("small", 0), 0), before);
    drop(log);
    let log = open(&disk, &clock);
    assert_eq!(log.report().damage, []);
    assert_eq!(read_from(&log, &at("small", 0), 0), before);
}

#[test]
fn a_trim_before_the_first_look_after_an_opening_is_counted_once() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    log.create_topic("orders", 2).unwrap();
    for number in 0..200 {
        append(&log, &at("orders", 0), &["x".repeat(400).as_str()]).unwrap();
        append(&log, &at("orders", 1), &[&format!("{number} {}", "x".repeat(120))]).unwrap();
        keep_house(&log);
    }
    log.settle().unwrap();
    let before = read_from(&log, &at("orders", 1), 0);
    drop(log);
    let log = open(&disk, &clock);
    log.trim(&[(at("orders", 0), 190)]).unwrap();
    keep_house(&log);
    assert_eq!(read_from(&log, &at("orders", 1), 0), before);
}

#[test]
fn a_hundred_thousand_partitions_are_made_kept_and_take_less_than_a_kibibyte_each() {
    const COUNT: u32 = 100_000;
    let (disk, clock) = (SimDisk::new(), clock());
    let region = Region::new(ALLOCATED);
    let log = open(&disk, &clock);
    log.create_topic("orders", COUNT).unwrap();
    let change = region.change();
    let taken = change.bytes_allocated as u64 - change.bytes_deallocated as u64;
    assert!(taken / u64::from(COUNT) < 1024, "{} bytes a partition", taken / u64::from(COUNT));
    for partition in (0..COUNT).step_by(9973) {
        append(&log, &at("orders", partition), &["value"]).unwrap();
    }
    log.settle().unwrap();
    log.close().unwrap();
    drop(log);
    let log = open(&disk, &clock);
    assert_eq!(log.topic("orders").unwrap().partitions, COUNT);
    for partition in (0..COUNT).step_by(9973) {
        assert_eq!(read_from(&log, &at("orders", partition), 0), [(0, "value".to_owned())]);
    }
    assert_eq!(log.bounds(&at("orders", 1)).unwrap().end, 0);
    let grown = log.add_partitions("orders", COUNT + 5).unwrap();
    assert_eq!(grown.growths[0].ends.len(), COUNT as usize);
    drop(log);
    assert_eq!(open(&disk, &clock).topic("orders").unwrap(), grown);
}

#[test]
fn who_waits_for_a_topic_that_is_deleted_is_woken_and_finds_it_gone() {
    let log = open(&SimDisk::new(), &clock());
    log.create_topic("orders", 1).unwrap();
    log.create_topic("kept", 1).unwrap();
    let watch = log.watch(&[at("orders", 0), at("kept", 0)]).unwrap();
    assert_eq!(watch.wait().unwrap(), [0, 1]);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| watch.wait().unwrap());
        log.delete_topic("orders").unwrap();
        assert_eq!(waiter.join().unwrap(), [0]);
    });
    assert!(matches!(log.read(&at("orders", 0), 0, 100), Err(LogError::Unknown { .. })));
    let gone = log.append(Append::batch(at("orders", 0), batch(&["late"]))).wait();
    assert!(matches!(gone, Err(LogError::Unknown { .. })), "{gone:?}");
    append(&log, &at("kept", 0), &["more"]).unwrap();
    assert_eq!(watch.wait().unwrap(), [1]);
}
