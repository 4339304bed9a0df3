//! What is no longer in the journal: settled, expired, deleted, compacted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dhara_log::batch::BatchBuilder;
use dhara_log::{
    Append, GroupOffset, Log, LogError, NewTopic, Options, TopicConfig, TopicPartition,
};
use dhara_world::disk::SimDisk;
use dhara_world::{Clock, Timestamp};
use support::{append, batch, read_from};

const DIR: &str = "/log";
const SEGMENT: u64 = 8 << 10;

fn open(disk: &SimDisk, clock: &Clock) -> Log {
    let options = Options {
        first_segment_bytes: SEGMENT,
        segment_bytes: SEGMENT,
        settle_bytes: 2 * SEGMENT,
        max_unsettled_bytes: 4 * SEGMENT,
        tail_bytes: 0,
        clock: clock.clone(),
        salt: Some(7),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_000_000))
}

fn orders(partition: u32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn keep_house(log: &Log) {
    while log.housekeep_step().unwrap() {}
}

/// Appends `count` records to two partitions in turn.
fn fill(log: &Log, count: u64) {
    for number in 0..count {
        append(
            log,
            &orders((number % 2) as u32),
            &[&format!("value {number:04} {}", "x".repeat(80))],
        )
        .unwrap();
        if number % 10 == 0 {
            keep_house(log);
        }
    }
}

#[test]
fn records_are_read_from_settled_files_and_the_journal_alike_and_after_a_restart() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    log.create_topic("orders", 2).unwrap();
    fill(&log, 600);
    assert!(log.stats().settled_files > 1, "{:?}", log.stats());
    assert!(log.stats().unsettled_bytes <= 4 * SEGMENT, "{:?}", log.stats());
    for round in 0..2 {
        let log = if round == 0 { log.clone() } else { open(&disk, &clock) };
        for partition in 0..2 {
            let found = read_from(&log, &orders(partition), 0);
            assert_eq!(found.len(), 300, "round {round}");
            for (place, (offset, value)) in (0..).zip(&found) {
                assert_eq!(*offset, place);
                let number = place * 2 + u64::from(partition);
                assert!(value.starts_with(&format!("value {number:04}")), "{value}");
            }
            for offset in [0, 1, 57, 123, 299, 300] {
                assert_eq!(read_from(&log, &orders(partition), offset).len() as u64, 300 - offset);
            }
        }
        if round == 0 {
            log.close().unwrap();
        }
    }
}

#[test]
fn what_is_older_than_the_retention_goes_and_its_space_with_it() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    let config = TopicConfig { retention: Some(Duration::from_secs(60)), ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 2) }).unwrap();
    log.create_topic("kept", 1).unwrap();
    append(&log, &TopicPartition::new("kept", 0), &["for ever"]).unwrap();
    let now = clock.now().as_millis() as i64;
    for number in 0..600 {
        let mut builder = BatchBuilder::new();
        builder.push(now, None, Some(&[b'x'; 90]), []).unwrap();
        let ticket = log.append(Append::batch(orders(number % 2), builder.finish()));
        log.commit_step();
        ticket.wait().unwrap();
        keep_house(&log);
    }
    let full = disk.used();
    clock.set(clock.now().plus(Duration::from_secs(59)));
    keep_house(&log);
    assert_eq!(log.bounds(&orders(0)).unwrap().earliest, 0);
    clock.set(clock.now().plus(Duration::from_secs(2)));
    keep_house(&log);
    let bounds = log.bounds(&orders(0)).unwrap();
    assert_eq!((bounds.earliest, bounds.end), (300, 300));
    let error = log.read(&orders(0), 5, 1000).unwrap_err();
    assert!(matches!(error, LogError::OutOfRange { earliest: 300, .. }), "{error}");
    assert!(disk.used() < full / 2, "{} of {full}", disk.used());
    assert_eq!(read_from(&log, &TopicPartition::new("kept", 0), 0), [(0, "for ever".to_owned())]);
    drop(log);
    let log = open(&disk, &clock);
    assert_eq!(log.bounds(&orders(1)).unwrap().earliest, 300);
    assert_eq!(append(&log, &orders(0), &["next"]).unwrap(), 300);
    assert_eq!(read_from(&log, &TopicPartition::new("kept", 0), 0), [(0, "for ever".to_owned())]);
}

#[test]
fn of_each_key_the_newest_record_stays_and_a_deleted_key_goes_after_its_delay() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    let config = TopicConfig {
        compact: true,
        tombstone_delay: Duration::from_secs(60),
        ..TopicConfig::default()
    };
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 2) }).unwrap();
    let mut newest: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let now = clock.now().as_millis() as i64;
    for number in 0..800_u32 {
        let key = format!("key {}", number % 7);
        let value = format!("value {number} {}", "x".repeat(60));
        let mut builder = BatchBuilder::new();
        let is_gone = number % 7 == 3 && number > 500;
        let body = (!is_gone).then_some(value.as_bytes());
        builder.push(now, Some(key.as_bytes()), body, []).unwrap();
        let ticket = log.append(Append::batch(orders(0), builder.finish()));
        log.commit_step();
        newest.insert(key, (ticket.wait().unwrap().base_offset(), value));
        keep_house(&log);
    }
    let records = |log: &Log| {
        let (mut next, mut found) = (0, Vec::new());
        loop {
            let fetched = log.read(&orders(0), next, 10_000).unwrap();
            for batch in &fetched.batches {
                found.extend(batch.records().unwrap().map(Result::unwrap));
            }
            if fetched.next == next {
                return found;
            }
            next = fetched.next;
        }
    };
    let found = records(&log);
    assert!(found.len() < 400, "{} are left", found.len());
    for (key, (offset, _)) in &newest {
        assert!(found.iter().any(|it| it.offset == *offset), "{key} lost its newest, at {offset}");
    }
    assert!(found.is_sorted_by_key(|record| record.offset));
    clock.set(clock.now().plus(Duration::from_secs(120)));
    // Everything is settled once more is appended.
    for _ in 0..400 {
        append(&log, &orders(1), &["y".repeat(100).as_str()]).unwrap();
        keep_house(&log);
    }
    let found = records(&log);
    assert!(found.iter().all(|record| record.value.is_some()), "a tombstone is left");
    assert_eq!(found.len(), 6, "{found:?}");
    drop(log);
    assert_eq!(records(&open(&disk, &clock)), found);
}

#[test]
fn a_deleted_topic_gives_its_space_back_and_its_name_free() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    log.create_topic("orders", 2).unwrap();
    log.create_topic("kept", 1).unwrap();
    append(&log, &TopicPartition::new("kept", 0), &["for ever"]).unwrap();
    fill(&log, 600);
    let full = disk.used();
    let old = log.topic("orders").unwrap();
    log.delete_topic("orders").unwrap();
    assert!(matches!(log.read(&orders(0), 0, 100), Err(LogError::Unknown { .. })));
    keep_house(&log);
    assert!(disk.used() < full / 2, "{} of {full}", disk.used());
    let new = log.create_topic("orders", 1).unwrap();
    assert_ne!(old.id, new.id);
    assert_eq!(append(&log, &orders(0), &["anew"]).unwrap(), 0);
    drop(log);
    let log = open(&disk, &clock);
    assert_eq!(read_from(&log, &orders(0), 0), [(0, "anew".to_owned())]);
    assert_eq!(read_from(&log, &TopicPartition::new("kept", 0), 0), [(0, "for ever".to_owned())]);
    assert_eq!(batch(&["x"]).len(), 69);
}

#[test]
fn offsets_committed_for_a_deleted_topic_do_not_come_back_with_an_opening() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    log.create_topic("orders", 2).unwrap();
    fill(&log, 100);
    let offsets = vec![GroupOffset::new("group", orders(0), 1)];
    let ticket = log.append(Append { offsets, ..Append::default() });
    log.commit_step();
    ticket.wait().unwrap();
    log.delete_topic("orders").unwrap();
    assert_eq!(log.groups(), []);
    // The state knows nothing of the topic; the frame with the offsets is still in the journal.
    log.settle().unwrap();
    drop(log);
    assert_eq!(open(&disk, &clock).groups(), []);
}

#[test]
fn appends_go_on_while_a_large_compaction_takes_its_time() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    let config = TopicConfig { compact: true, ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
    log.create_topic("others", 1).unwrap();
    // The disk lets somebody append whenever the merge reads on: the journal fills up many times.
    let appending = log.clone();
    let put = move |number: u32| {
        let mut builder = BatchBuilder::new();
        let key = format!("key {}", number % 50);
        builder.push(1_000, Some(key.as_bytes()), Some(&[b'x'; 300]), []).unwrap();
        appending.append(Append::batch(orders(0), builder.finish())).wait().unwrap();
    };
    for number in 0..600 {
        put(number);
        log.settle().unwrap();
    }
    let before = log.bounds(&orders(0)).unwrap().end;
    let writer = std::thread::spawn(move || (0..600).for_each(put));
    while !writer.is_finished() {
        while log.housekeep_step().unwrap() {}
    }
    writer.join().unwrap();
    keep_house(&log);
    assert_eq!(log.bounds(&orders(0)).unwrap().end, before + 600);
    assert!(log.stats().unsettled_bytes <= 4 * SEGMENT, "{:?}", log.stats());
    drop(log);
    assert_eq!(open(&disk, &clock).bounds(&orders(0)).unwrap().end, before + 600);
}
