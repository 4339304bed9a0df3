//! Space that is given back is counted once, whatever finds it dead first.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::path::Path;
use std::sync::Arc;

use dhara_log::{Log, Options, TopicPartition};
use dhara_world::disk::SimDisk;
use support::{append, read_from};

fn open(disk: &SimDisk) -> Log {
    let options =
        Options { first_segment_bytes: 16 << 10, segment_bytes: 16 << 10, ..Options::default() };
    Log::open(Arc::new(disk.clone()), Path::new("/log"), options).unwrap()
}

fn keep_house(log: &Log) {
    while log.housekeep_step().unwrap() {}
}

/// A log with two settled files, of which the older holds more of `gone` than of `kept`.
fn two_files(disk: &SimDisk) -> (TopicPartition, TopicPartition) {
    let (kept, gone) = (TopicPartition::new("kept", 0), TopicPartition::new("gone", 0));
    let log = open(disk);
    log.create_topic("kept", 1).unwrap();
    log.create_topic("gone", 1).unwrap();
    let long = "x".repeat(6_000);
    append(&log, &kept, &["first"]).unwrap();
    for _ in 0..3 {
        append(&log, &gone, &[&long]).unwrap();
    }
    log.settle().unwrap();
    append(&log, &kept, &["second"]).unwrap();
    for _ in 0..3 {
        append(&log, &kept, &[&long]).unwrap();
    }
    log.settle().unwrap();
    assert_eq!(log.stats().settled_files, 2);
    log.close().unwrap();
    (kept, gone)
}

#[test]
fn a_topic_that_is_deleted_before_the_look_after_an_opening_takes_no_other_along() {
    let disk = SimDisk::default();
    let (kept, _) = two_files(&disk);
    let log = open(&disk);
    log.delete_topic("gone").unwrap();
    keep_house(&log);
    assert_eq!(read_from(&log, &kept, 0).first().unwrap().1, "first");
}

#[test]
fn a_trim_before_the_look_after_an_opening_takes_no_other_partition_along() {
    let disk = SimDisk::default();
    let (kept, gone) = two_files(&disk);
    let log = open(&disk);
    let end = log.bounds(&gone).unwrap().end;
    log.trim(&[(gone, end)]).unwrap();
    keep_house(&log);
    assert_eq!(read_from(&log, &kept, 0).first().unwrap().1, "first");
}
