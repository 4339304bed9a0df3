//! Appends under conditions: of many who race for one offset or one key, one wins.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on here has failed")]

#[path = "support/codecs.rs"]
mod codecs;
mod support;

use std::path::Path;
use std::sync::{Arc, Barrier};

use bytes::Bytes;
use codecs::CODECS;
use dhara_log::batch::BatchBuilder;
use dhara_log::{
    Append, Appended, Committer, Condition, Log, LogError, NewTopic, Note, Options, TopicConfig,
    TopicPartition,
};
use dhara_world::disk::SimDisk;
use support::{append, batch, read_from};

const WRITERS: usize = 16;
const ROUNDS: u64 = 200;
const SEGMENT: u64 = 8 << 10;

fn open(disk: &SimDisk) -> Log {
    let options = Options {
        first_segment_bytes: SEGMENT,
        segment_bytes: SEGMENT,
        settle_bytes: 2 * SEGMENT,
        tail_bytes: 0,
        salt: Some(7),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new("/log"), options).unwrap()
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn keyed(key: &str, value: Option<&str>) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(1_000, Some(key.as_bytes()), value.map(str::as_bytes), []).unwrap();
    builder.finish()
}

fn last_of(key: &str, last: Option<u64>) -> Condition {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Condition::LastOfKey { partition: orders(), key, last }
}

fn commit(log: &Log, append: Append) -> Result<Appended, LogError> {
    let ticket = log.append(append);
    log.commit_step();
    ticket.wait()
}

/// Sixteen threads race in each round; `attempt` is given the log, the round and who won the last.
fn race(attempt: impl Fn(&Log, u64, u64) -> Result<Appended, LogError> + Sync) {
    let log = open(&SimDisk::new());
    log.create_topic("orders", 1).unwrap();
    let committer = Committer::start(&log).unwrap();
    let (barrier, attempt) = (Barrier::new(WRITERS), &attempt);
    let won: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let writer = |_| {
            scope.spawn(|| {
                let mut won = Vec::new();
                for round in 0..ROUNDS {
                    barrier.wait();
                    // Nobody appends between two rounds, so that all see the same end.
                    let end = log.bounds(&orders()).unwrap().end;
                    barrier.wait();
                    match attempt(&log, round, end) {
                        Ok(appended) => {
                            assert_eq!(appended.base_offset(), end);
                            won.push(round);
                        }
                        Err(LogError::Conflict { .. } | LogError::KeyConflict { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    barrier.wait();
                }
                won
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut rounds: Vec<u64> = won.into_iter().flatten().collect();
    rounds.sort_unstable();
    assert_eq!(rounds, (0..ROUNDS).collect::<Vec<_>>(), "each round has one winner");
    assert_eq!(read_from(&log, &orders(), 0).len() as u64, ROUNDS);
    committer.stop().unwrap();
}

#[test]
fn of_sixteen_writers_that_race_for_the_next_offset_one_wins_each_round() {
    race(|log, _, end| {
        let condition = Condition::NextOffset(orders(), end);
        log.append(Append::batch(orders(), batch(&["value"])).only_if(condition)).wait()
    });
}

#[test]
fn of_sixteen_writers_that_race_for_a_key_one_wins_each_round() {
    race(|log, _, end| {
        let condition = last_of("order_789", end.checked_sub(1));
        let batch = keyed("order_789", Some("value"));
        log.append(Append::batch(orders(), batch).only_if(condition)).wait()
    });
}

#[test]
fn a_condition_on_a_note_sees_what_the_same_commit_has_changed_before_it() {
    let log = open(&SimDisk::new());
    let set = |from: Option<&str>, to: &str| {
        let value = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let notes = vec![Note { name: "owner".into(), value: Some(value(to)) }];
        let condition = Condition::Note("owner".into(), from.map(value));
        log.append(Append { notes, ..Append::default() }.only_if(condition))
    };
    let tickets = [
        set(None, "a"),
        set(None, "b"),
        set(Some("a"), "c"),
        set(Some("b"), "d"),
        set(Some("c"), "e"),
    ];
    while log.commit_step() > 0 {}
    let results = tickets.map(|ticket| ticket.wait().is_ok());
    assert_eq!(results, [true, false, true, false, true]);
    assert_eq!(log.note("owner").unwrap(), "e");
    let removed =
        Append { notes: vec![Note { name: "owner".into(), value: None }], ..Append::default() };
    commit(&log, removed).unwrap();
    assert!(log.note("owner").is_none());
    let error = {
        let ticket = set(Some("e"), "f");
        log.commit_step();
        ticket.wait().unwrap_err()
    };
    assert!(matches!(&error, LogError::NoteChanged { name } if &**name == "owner"), "{error}");
}

#[test]
fn an_append_whose_condition_fails_changes_nothing_of_all_that_it_holds() {
    let log = open(&SimDisk::new());
    log.create_topic("orders", 2).unwrap();
    append(&log, &orders(), &["first"]).unwrap();
    let mut all = Append::batch(TopicPartition::new("orders", 1), batch(&["other"]));
    all.notes.push(Note { name: "note".into(), value: Some(Bytes::from("value")) });
    let error = commit(&log, all.clone().only_if(Condition::NextOffset(orders(), 0))).unwrap_err();
    assert!(matches!(error, LogError::Conflict { expected: 0, actual: 1, .. }), "{error}");
    assert_eq!(log.bounds(&TopicPartition::new("orders", 1)).unwrap().end, 0);
    assert!(log.note("note").is_none());
    commit(&log, all.only_if(Condition::NextOffset(orders(), 1))).unwrap();
    assert!(log.note("note").is_some());
}

#[test]
fn the_last_offset_of_a_key_is_known_after_a_restart_whatever_compressed_its_batch() {
    let disk = SimDisk::new();
    let log = open(&disk);
    log.create_topic("orders", 1).unwrap();
    for (number, codec) in CODECS.into_iter().enumerate() {
        let mut builder = BatchBuilder::new();
        for key in ["first", "second"] {
            let key = format!("{key} {number}");
            builder.push(1_000, Some(key.as_bytes()), Some(&[b'x'; 300]), []).unwrap();
        }
        commit(&log, Append::batch(orders(), codec.batch(&builder.finish()))).unwrap();
    }
    let mut end = 2 * CODECS.len() as u64;
    for restarts in [false, true] {
        let log = if restarts {
            drop(log.close());
            open(&disk)
        } else {
            log.clone()
        };
        for number in 0..CODECS.len() as u64 {
            let key = format!("second {number}");
            let wrong = Append::batch(orders(), keyed(&key, None)).only_if(last_of(&key, None));
            let error = commit(&log, wrong).unwrap_err();
            let last = if restarts { 2 * CODECS.len() as u64 + number } else { 2 * number + 1 };
            assert!(
                matches!(error, LogError::KeyConflict { expected: None, actual, .. } if actual == Some(last)),
                "{error}"
            );
            let right = Append::batch(orders(), keyed(&key, Some("next")));
            let appended = commit(&log, right.only_if(last_of(&key, Some(last)))).unwrap();
            assert_eq!(appended.base_offset(), end);
            end += 1;
        }
    }
}

#[test]
fn the_last_offset_of_a_key_outlives_compaction_and_restarts() {
    let disk = SimDisk::new();
    let log = open(&disk);
    let config = TopicConfig { compact: true, ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
    let mut last = [None; 5];
    for number in 0..400_usize {
        let key = format!("key {}", number % 5);
        let value = "x".repeat(150);
        let append = Append::batch(orders(), keyed(&key, Some(&value)));
        let condition = last_of(&key, last.get(number % 5).copied().unwrap());
        let offset = commit(&log, append.only_if(condition)).unwrap().base_offset();
        *last.get_mut(number % 5).unwrap() = Some(offset);
        while log.housekeep_step().unwrap() {}
    }
    assert!(read_from(&log, &orders(), 0).len() < 200);
    drop(log);
    let log = open(&disk);
    for (number, last) in last.into_iter().enumerate() {
        let key = format!("key {number}");
        let append = Append::batch(orders(), keyed(&key, Some("next")));
        commit(&log, append.clone().only_if(last_of(&key, last))).unwrap();
        assert!(commit(&log, append.only_if(last_of(&key, last))).is_err());
    }
    let fresh = Append::batch(orders(), keyed("new", Some("value"))).only_if(last_of("new", None));
    commit(&log, fresh).unwrap();
}
