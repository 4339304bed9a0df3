//! Bugs that random workloads with crashes have found, each told once more without chance.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use dhara_log::batch::BatchBuilder;
use dhara_log::{Append, Condition, Log, NewTopic, Options, TopicConfig, TopicPartition};
use dhara_world::disk::SimDisk;
use dhara_world::{Clock, Random, Timestamp};
use support::{append, batch, read_from};

/// A log whose files are small, on a disk and with a clock of its own.
struct Place {
    disk: SimDisk,
    options: Options,
}

impl Place {
    fn new() -> Self {
        let options = Options {
            first_segment_bytes: 4 << 10,
            segment_bytes: 4 << 10,
            clock: Clock::manual(Timestamp::from_millis(10_000)),
            salt: Some(7),
            ..Options::default()
        };
        Self { disk: SimDisk::new(), options }
    }

    fn open(&self) -> Log {
        let log = Log::open(Arc::new(self.disk.clone()), "/log", self.options.clone()).unwrap();
        assert_eq!(log.report().damage, []);
        log
    }
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn compacted(compact: bool) -> TopicConfig {
    TopicConfig { compact, tombstone_delay: Duration::from_millis(1), ..TopicConfig::default() }
}

fn make(log: &Log, config: TopicConfig) {
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
}

/// Appends one record with a key.
fn put(log: &Log, key: &str, value: Option<&str>) {
    let mut batch = BatchBuilder::new();
    batch.push(1_000, Some(key.as_bytes()), value.map(str::as_bytes), []).unwrap();
    let ticket = log.append(Append::batch(orders(), batch.finish()));
    log.commit_step();
    ticket.wait().unwrap();
}

/// Settles all that was appended, by filling the journal's last file.
fn settle(log: &Log) {
    log.create_topic("filler", 1).unwrap();
    let filler = TopicPartition::new("filler", 0);
    for _ in 0..2 {
        append(log, &filler, &["x".repeat(2_500).as_str()]).unwrap();
    }
    log.settle().unwrap();
}

fn keep_house(log: &Log) {
    while log.housekeep_step().unwrap() {}
}

/// An append that is refused when there is no room for it in the journal's last file any more.
fn refused(log: &Log) {
    let batch = batch(&["y".repeat(2_000).as_str()]);
    let append = Append::batch(orders(), batch).only_if(Condition::NextOffset(orders(), 99));
    let ticket = log.append(append);
    log.commit_step();
    ticket.wait().unwrap_err();
}

#[test]
fn a_segment_in_which_nothing_was_committed_does_not_end_the_journal() {
    let place = Place::new();
    let log = place.open();
    make(&log, TopicConfig::default());
    append(&log, &orders(), &["x".repeat(2_500).as_str()]).unwrap();
    refused(&log);
    // This one does not fit into the segment that was begun for the one before.
    append(&log, &orders(), &["x".repeat(3_500).as_str()]).unwrap();
    drop(log);
    assert_eq!(read_from(&place.open(), &orders(), 0).len(), 2, "an acked record is missing");
}

#[test]
fn a_segment_that_a_state_calls_the_first_has_a_header_after_a_crash() {
    let place = Place::new();
    let log = place.open();
    make(&log, TopicConfig::default());
    for _ in 0..6 {
        // The second tells that the first was synced.
        append(&log, &orders(), &["x".repeat(1_200).as_str()]).unwrap();
        append(&log, &orders(), &["x".repeat(1_200).as_str()]).unwrap();
        log.settle().unwrap();
    }
    refused(&log);
    log.settle().unwrap();
    let random = Random::from_seed(1);
    place.disk.history().each_moment(|_, image| {
        for _ in 0..4 {
            let disk = SimDisk::holding(image.crash(&random));
            Place { disk, options: place.options.clone() }.open();
        }
    });
}

#[test]
fn each_opening_has_a_higher_epoch_however_full_the_journal_is() {
    for length in (2_300..4_600).step_by(8) {
        let place = Place::new();
        let log = place.open();
        make(&log, TopicConfig::default());
        append(&log, &orders(), &["x".repeat(length).as_str()]).unwrap();
        let mut epoch = log.epoch();
        drop(log);
        for _ in 0..4 {
            let next = place.open().epoch();
            assert!(next > epoch, "epoch {next} after {epoch}");
            epoch = next;
        }
    }
}

#[test]
fn records_after_a_file_of_which_a_compaction_left_nothing_are_found() {
    let place = Place::new();
    let log = place.open();
    make(&log, compacted(true));
    put(&log, "gone", None);
    settle(&log);
    keep_house(&log);
    put(&log, "kept", Some("value"));
    settle(&log);
    assert_eq!(read_from(&log, &orders(), 0), [(1, "value".to_owned())]);
}

#[test]
fn what_a_topic_lost_while_it_was_compacted_is_no_damage_when_it_no_longer_is() {
    let place = Place::new();
    let log = place.open();
    make(&log, compacted(true));
    put(&log, "key", Some("old"));
    put(&log, "key", Some("new"));
    settle(&log);
    keep_house(&log);
    log.configure_topic("orders", compacted(false)).unwrap();
    settle(&log);
    settle(&log);
    drop(log);
    assert_eq!(read_from(&place.open(), &orders(), 0), [(1, "new".to_owned())]);
}

#[test]
fn a_removed_key_from_before_its_topic_was_compacted_does_not_come_back() {
    let place = Place::new();
    let log = place.open();
    make(&log, compacted(false));
    put(&log, "key", Some("value"));
    settle(&log);
    log.configure_topic("orders", compacted(true)).unwrap();
    put(&log, "key", None);
    settle(&log);
    keep_house(&log);
    let fetched = log.read(&orders(), 1, 1 << 20).unwrap();
    assert_eq!(fetched.batches.len(), 1, "the tombstone is gone, and the value is not");
}

#[test]
fn a_topic_that_is_compacted_and_not_in_turn_is_read_in_order() {
    let place = Place::new();
    let log = place.open();
    make(&log, compacted(false));
    for number in 0..24 {
        log.configure_topic("orders", compacted(number % 2 == 1)).unwrap();
        put(&log, &format!("key {number}"), Some(&number.to_string()));
        settle(&log);
        if number % 2 == 1 {
            keep_house(&log);
        }
    }
    keep_house(&log);
    let wanted: Vec<_> = (0..24).map(|number| (number, number.to_string())).collect();
    assert_eq!(read_from(&log, &orders(), 0), wanted);
}

#[test]
fn what_a_merge_left_out_does_not_count_for_retention_by_bytes() {
    let place = Place::new();
    let log = place.open();
    make(&log, TopicConfig { retention_bytes: Some(1_640), ..TopicConfig::default() });
    log.create_topic("gone", 1).unwrap();
    let value = "x".repeat(200);
    for _ in 0..10 {
        append(&log, &orders(), &[&value]).unwrap();
    }
    for _ in 0..12 {
        append(&log, &TopicPartition::new("gone", 0), &["x".repeat(2_500).as_str()]).unwrap();
        log.settle().unwrap();
    }
    log.trim(&[(orders(), 8)]).unwrap();
    for _ in 0..2 {
        append(&log, &orders(), &[&value]).unwrap();
    }
    settle(&log);
    keep_house(&log);
    // Most of the files is dead now, and they are merged.
    log.delete_topic("gone").unwrap();
    keep_house(&log);
    assert_eq!(log.bounds(&orders()).unwrap().earliest, 8, "less is kept than was asked for");
}
