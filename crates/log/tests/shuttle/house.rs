//! Appends and reads while files are settled, compacted and given back.

use std::collections::BTreeMap;

use dhara_log::{Committer, Log, LogError, NewTopic, TopicConfig, TopicPartition};
use dhara_world::disk::SimDisk;
use shuttle::thread;

use crate::world::{check, long, open, orders, put, read_on, reopen, words};

fn with_topic(config: TopicConfig) -> (SimDisk, Log) {
    let disk = SimDisk::new();
    let log = open(&disk);
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
    (disk, log)
}

fn appender(log: &Log, count: u32, key: fn(u32) -> Option<String>) -> thread::JoinHandle<()> {
    let log = log.clone();
    thread::spawn(move || {
        for number in 0..count {
            let key = key(number);
            put(&log, &orders(), key.as_deref(), &long(&number.to_string()));
        }
    })
}

#[test]
fn readers_meet_every_record_whatever_is_settled_meanwhile() {
    check(|| {
        let (disk, log) = with_topic(TopicConfig::default());
        let committer = Committer::start(&log).unwrap();
        let appender = appender(&log, 9, |_| None);
        let settler = {
            let log = log.clone();
            thread::spawn(move || (0..3).for_each(|_| log.settle().unwrap()))
        };
        for _ in 0..3 {
            let (found, end) = read_on(&log, &orders(), 0).unwrap();
            let offsets: Vec<_> = found.iter().map(|(offset, ..)| *offset).collect();
            assert_eq!(offsets, (0..end).collect::<Vec<_>>());
            if end > 0 {
                assert_eq!(log.offset_at(&orders(), 500).unwrap(), Some((0, 1_000)));
            }
        }
        appender.join().unwrap();
        settler.join().unwrap();
        committer.stop().unwrap();
        let all: Vec<_> = (0..9).map(|number| number.to_string()).collect();
        assert_eq!(words(&log, &orders()), all);
        assert_eq!(log.damage(), []);
        assert_eq!(words(&reopen(&disk), &orders()), all);
    });
}

/// The last value of each key, as a reader of all of it sees them.
fn latest(log: &Log) -> (BTreeMap<String, u32>, u64) {
    let (found, end) = read_on(log, &orders(), 0).unwrap();
    let value =
        |(_, key, word): (u64, Option<String>, String)| (key.unwrap(), word.parse().unwrap());
    (found.into_iter().map(value).collect(), end)
}

#[test]
fn readers_meet_the_last_value_of_every_key_whatever_is_compacted_meanwhile() {
    check(|| {
        let (disk, log) = with_topic(TopicConfig { compact: true, ..TopicConfig::default() });
        let committer = Committer::start(&log).unwrap();
        let appender = appender(&log, 10, |number| Some((number % 3).to_string()));
        let settler = {
            let log = log.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    log.settle().unwrap();
                    log.housekeep_step().unwrap();
                }
            })
        };
        for _ in 0..3 {
            let (values, end) = latest(&log);
            let end = u32::try_from(end).unwrap();
            for key in 0..3.min(end) {
                let newest = *values.get(&key.to_string()).unwrap();
                // One that came while this was read may have been met, or not.
                assert!(newest % 3 == key && newest + 3 >= end, "{key}: {newest} of {end}");
            }
        }
        appender.join().unwrap();
        settler.join().unwrap();
        committer.stop().unwrap();
        let all: BTreeMap<_, _> = [7, 8, 9].map(|it| ((it % 3).to_string(), it)).into();
        assert_eq!(latest(&log).0, all);
        assert_eq!(log.damage(), []);
        assert_eq!(latest(&reopen(&disk)).0, all);
    });
}

#[test]
fn a_reader_behind_a_trim_is_told_where_the_partition_begins() {
    check(|| {
        let (disk, log) = with_topic(TopicConfig::default());
        let committer = Committer::start(&log).unwrap();
        appender(&log, 7, |_| None).join().unwrap();
        let trimmer = {
            let log = log.clone();
            thread::spawn(move || {
                log.settle().unwrap();
                log.trim(&[(orders(), 3)]).unwrap();
                log.trim(&[(orders(), 5)]).unwrap();
            })
        };
        let mut next = 0;
        while next < 7 {
            match log.read(&orders(), next, 100) {
                Ok(fetched) => {
                    assert_eq!(fetched.batches.first().unwrap().base_offset(), next);
                    next = fetched.next;
                }
                Err(LogError::OutOfRange { earliest, .. }) if earliest > next => next = earliest,
                Err(error) => unreachable!("at offset {next}: {error}"),
            }
            match log.offset_at(&orders(), 500) {
                Ok(Some((offset, _))) => assert!([0, 3, 5].contains(&offset), "{offset}"),
                other => unreachable!("{other:?}"),
            }
        }
        trimmer.join().unwrap();
        committer.stop().unwrap();
        assert_eq!(words(&log, &orders()), ["5", "6"]);
        assert_eq!(words(&reopen(&disk), &orders()), ["5", "6"]);
    });
}

#[test]
fn what_fits_into_the_bytes_to_be_kept_never_expires() {
    const KEPT: u64 = 2_000;
    check(|| {
        let config = TopicConfig { retention_bytes: Some(KEPT), ..TopicConfig::default() };
        let (disk, log) = with_topic(config);
        let committer = Committer::start(&log).unwrap();
        let appender = appender(&log, 8, |_| None);
        let house = {
            let log = log.clone();
            thread::spawn(move || (0..4).for_each(|_| assert!(log.housekeep_step().is_ok())))
        };
        log.settle().unwrap();
        appender.join().unwrap();
        house.join().unwrap();
        log.settle().unwrap();
        committer.stop().unwrap();
        // Each record takes about 640 bytes; three do not fill what is to be kept.
        assert!(words(&log, &orders()).len() >= 3);
        assert!(words(&reopen(&disk), &orders()).len() >= 3);
    });
}

#[test]
fn a_user_that_trims_leaves_more_room_to_what_retention_keeps() {
    const KEPT: u64 = 2_000;
    check(|| {
        let config = TopicConfig { retention_bytes: Some(KEPT), ..TopicConfig::default() };
        let (_disk, log) = with_topic(config);
        let committer = Committer::start(&log).unwrap();
        appender(&log, 6, |_| None).join().unwrap();
        let house = {
            let log = log.clone();
            thread::spawn(move || (0..4).for_each(|_| assert!(log.housekeep_step().is_ok())))
        };
        match log.trim(&[(TopicPartition::new("orders", 0), 2)]) {
            Ok(()) | Err(LogError::OutOfRange { .. }) => {}
            Err(error) => unreachable!("{error}"),
        }
        house.join().unwrap();
        committer.stop().unwrap();
        assert!(words(&log, &orders()).len() >= 3);
    });
}
