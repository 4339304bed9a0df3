//! Options, configurations and folders at the edge of what a user can come up with.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhara_log::batch::BatchBuilder;
use dhara_log::{
    Append, GroupOffset, Log, LogError, NewTopic, Note, Options, TopicConfig, TopicPartition,
};
use dhara_world::disk::{OpenMode, SimDisk};
use dhara_world::{Clock, Disk, Timestamp};
use support::{append, read_from};

fn options(clock: &Clock) -> Options {
    Options {
        first_segment_bytes: 4 << 10,
        segment_bytes: 4 << 10,
        clock: clock.clone(),
        salt: Some(7),
        ..Options::default()
    }
}

fn open(disk: &SimDisk, options: Options) -> Log {
    Log::open(Arc::new(disk.clone()), Path::new("/log"), options).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(10_000))
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn keep_house(log: &Log) {
    while log.housekeep_step().unwrap() {}
}

fn commit(log: &Log, append: Append) -> Result<u64, LogError> {
    let ticket = log.append(append);
    log.commit_step();
    ticket.wait().map(|appended| appended.base_offset())
}

/// Appends one record with a key, and a time.
fn put(log: &Log, time: i64, key: &str, value: Option<&str>) {
    let mut batch = BatchBuilder::new();
    batch.push(time, Some(key.as_bytes()), value.map(str::as_bytes), []).unwrap();
    commit(log, Append::batch(orders(), batch.finish())).unwrap();
}

/// Fills the journal's last file, and settles all that was appended.
fn settle(log: &Log) {
    log.create_topic("filler", 1).unwrap();
    for _ in 0..2 {
        append(log, &TopicPartition::new("filler", 0), &["x".repeat(2_500).as_str()]).unwrap();
    }
    log.settle().unwrap();
}

#[test]
fn a_time_that_stands_for_for_ever_does_not_cost_the_topic_at_the_next_opening() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, options(&clock));
    let config = TopicConfig {
        retention: Some(Duration::MAX),
        compact: true,
        tombstone_delay: Duration::MAX,
        ..TopicConfig::default()
    };
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
    put(&log, 1_000, "key", Some("value"));
    // From the journal, then from a state.
    let replayed = open(&SimDisk::holding(disk.contents()), options(&clock));
    assert_eq!(replayed.report().damage, []);
    assert_eq!(read_from(&replayed, &orders(), 0), [(0, "value".to_owned())]);
    settle(&log);
    keep_house(&log);
    drop(log);
    let log = open(&disk, options(&clock));
    assert_eq!(log.report().damage, []);
    assert_eq!(read_from(&log, &orders(), 0), [(0, "value".to_owned())]);
}

#[test]
fn files_of_the_journal_may_be_bounded_below_the_length_of_the_first() {
    let disk = SimDisk::new();
    let log = open(&disk, Options { first_segment_bytes: 16 << 10, ..options(&clock()) });
    log.create_topic("orders", 1).unwrap();
    for _ in 0..20 {
        append(&log, &orders(), &[&"x".repeat(1_000)]).unwrap();
        keep_house(&log);
    }
    assert_eq!(read_from(&log, &orders(), 0).len(), 20);
}

#[test]
fn a_removed_key_stays_removed_where_not_all_keys_fit_into_memory() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, Options { max_key_bytes: 4_600, ..options(&clock) });
    let tombstone_delay = Duration::from_millis(1);
    let config = TopicConfig { compact: true, tombstone_delay, ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
    for value in [Some("value"), None] {
        for number in 0..400 {
            put(&log, 1_000, &format!("key {number}"), value);
        }
    }
    settle(&log);
    keep_house(&log);

    let mut there = BTreeSet::new();
    let (mut next, end) = (0, log.bounds(&orders()).unwrap().end);
    while next < end {
        let fetched = log.read(&orders(), next, 1 << 20).unwrap();
        for record in fetched.batches.iter().flat_map(|batch| batch.records().unwrap()) {
            let record = record.unwrap();
            let key = record.key.unwrap();
            if record.value.is_some() {
                there.insert(key)
            } else {
                there.remove(&key)
            };
        }
        next = fetched.next;
    }
    assert_eq!(there, BTreeSet::new(), "who reads all of it believes that these are there");
}

#[test]
fn a_folder_of_which_only_settled_files_are_left_is_refused_and_keeps_them() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, options(&clock));
    log.create_topic("orders", 1).unwrap();
    append(&log, &orders(), &["value"]).unwrap();
    settle(&log);
    drop(log);
    let mut left: BTreeMap<_, _> = disk.contents();
    left.retain(|path, _| path.extension().is_some_and(|kind| kind == "settled"));
    assert_eq!(left.len(), 1);
    let disk = SimDisk::holding(left.clone());
    let refused = Log::open(Arc::new(disk.clone()), "/log", options(&clock));
    assert!(matches!(refused, Err(LogError::Unreadable { .. })), "{refused:?}");
    let kept = disk.contents();
    assert!(left.iter().all(|(path, bytes)| kept.get(path) == Some(bytes)), "they are gone");
}

#[test]
fn notes_and_positions_count_for_what_one_append_may_hold() {
    let log = open(&SimDisk::new(), Options { max_append_bytes: 10_000, ..options(&clock()) });
    log.create_topic("orders", 1).unwrap();
    let note = |number: u32| Note {
        name: format!("note {number}").into(),
        value: Some(Bytes::from(vec![b'x'; 3_000])),
    };
    let notes = Append { notes: (0..4).map(note).collect(), ..Append::default() };
    let position = |number: u32| GroupOffset::new("g".repeat(3_000 + number as usize), orders(), 0);
    let positions = Append { offsets: (0..4).map(position).collect(), ..Append::default() };
    for append in [notes, positions] {
        let refused = commit(&log, append);
        assert!(matches!(refused, Err(LogError::Invalid { .. })), "{refused:?}");
    }
}

#[test]
fn what_an_earlier_opening_kept_aside_is_never_written_over() {
    let disk = SimDisk::new();
    let log = open(&disk, options(&clock()));
    log.create_topic("orders", 1).unwrap();
    append(&log, &orders(), &["first"]).unwrap();
    append(&log, &orders(), &["second"]).unwrap();
    let mut contents = disk.contents();
    let journal = contents.get_mut(Path::new("/log/00000000000000000001.journal")).unwrap();
    let at = journal.windows(6).position(|window| window == b"second").unwrap();
    *journal.get_mut(at).unwrap() ^= 1;
    // An opening cut it before, and a crash came while it made the bytes zeros.
    let log = open(&SimDisk::holding(contents.clone()), options(&clock()));
    let kept = log.report().cut.first().unwrap().kept.clone();
    contents.insert(kept.clone(), b"all of it".to_vec());
    let disk = SimDisk::holding(contents);
    let log = open(&disk, options(&clock()));
    assert_eq!(disk.contents().get(&kept).unwrap(), b"all of it");
    let cut = log.report().cut.first().unwrap();
    assert_eq!(disk.contents().get(&cut.kept).map(Vec::len), usize::try_from(cut.length).ok());
}

#[test]
fn a_merge_makes_no_record_younger() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, options(&clock));
    let hour = Duration::from_secs(3600);
    let config = TopicConfig { retention: Some(hour), ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
    // One has no time, the other one from the future.
    put(&log, -1, "key", Some("value"));
    put(&log, i64::MAX, "key", Some("value"));
    settle(&log);
    clock.set(clock.now().plus(hour / 2));
    for _ in 0..10 {
        settle(&log);
    }
    keep_house(&log);
    assert!(log.stats().settled_files < 8, "{:?}", log.stats());
    clock.set(clock.now().plus(hour / 2 + Duration::from_secs(1)));
    keep_house(&log);
    assert_eq!(log.bounds(&orders()).unwrap().earliest, 2, "they have expired");
}

#[test]
fn what_a_log_is_printed_as_tells_no_record_and_no_secret() {
    let log = open(&SimDisk::new(), Options { salt: Some(77_077_077), ..options(&clock()) });
    log.create_topic("orders", 1).unwrap();
    append(&log, &orders(), &["a secret of a customer"]).unwrap();
    let printed = format!("{log:?}");
    assert!(printed.contains("/log"), "{printed}");
    assert!(!printed.contains("77077077") && !printed.contains("customer"), "{printed}");
}

/// Flips a bit where a value lies in the only file of a kind that holds it.
fn flip(disk: &SimDisk, kind: &str, value: &[u8]) {
    let (path, at) = disk
        .contents()
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|it| it == kind))
        .find_map(|(path, bytes)| {
            let at = bytes.windows(value.len()).position(|window| window == value)?;
            Some((path, at as u64))
        })
        .unwrap();
    let file = disk.open(&path, OpenMode::Existing).unwrap();
    file.write_all_at(&[value.first().unwrap() ^ 1], at).unwrap();
}

#[test]
fn what_goes_bad_under_an_open_log_is_told_with_its_place_by_whoever_finds_it_first() {
    for (kind, settles_after) in [("settled", false), ("journal", false), ("journal", true)] {
        let disk = SimDisk::new();
        let log = open(&disk, Options { tail_bytes: 0, ..options(&clock()) });
        log.create_topic("orders", 1).unwrap();
        append(&log, &orders(), &["value 0"]).unwrap();
        append(&log, &orders(), &["value 1"]).unwrap();
        if kind == "settled" {
            settle(&log);
        }
        flip(&disk, kind, b"value 1");
        if settles_after {
            settle(&log);
        } else {
            let error = log.read(&orders(), 1, 1 << 20).unwrap_err();
            assert!(matches!(error, LogError::Damaged { offset: 1, next: 2, .. }), "{error}");
            assert!(error.to_string().contains(kind), "{error}");
        }
        let [damage] = &*log.damage() else { panic!("{:?}", log.damage()) };
        assert_eq!(damage.what, "orders/0, offsets 1 to below 2");
        assert_eq!(damage.file.extension().unwrap(), kind);
    }
}
