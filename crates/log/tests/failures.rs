//! Every call of every kind fails in its turn: what was acked is kept, and nothing is tried that
//! must not be.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on here has failed")]

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
use dhara_world::disk::SimDisk;
use dhara_world::disk::sim::{Call, Failing};
use dhara_world::{Clock, Timestamp};
use support::read_from;

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const SEGMENT: u64 = 4 << 10;
const ROUNDS: u64 = 40;
/// A lasting failure ends before this round.
const MENDED: u64 = 26;

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// What a test knows of a log.
struct Work {
    disk: SimDisk,
    clock: Clock,
    log: Option<Log>,
    failing: Failing,
    /// Values that were acked, by partition and offset.
    acked: BTreeMap<(TopicPartition, u64), String>,
    /// When a record of the topic that expires was acked.
    times: BTreeMap<u64, u64>,
    /// Values that somebody was told not to be there, or nothing of.
    unknown: BTreeSet<String>,
    /// The newest acked offset of each key.
    keys: BTreeMap<String, u64>,
    trimmed: u64,
    notes: (Option<String>, BTreeSet<String>),
    committed: (u64, u64),
    is_deleted: Option<bool>,
    has_grown: Option<bool>,
    errors: Vec<LogError>,
}

impl Work {
    fn new(failing: Failing) -> Self {
        let disk = SimDisk::new();
        disk.set_failing(Some(failing));
        Self {
            disk,
            clock: Clock::manual(Timestamp::from_millis(1_000_000)),
            log: None,
            failing,
            acked: BTreeMap::new(),
            times: BTreeMap::new(),
            unknown: BTreeSet::new(),
            keys: BTreeMap::new(),
            trimmed: 0,
            notes: (None, BTreeSet::new()),
            committed: (0, 0),
            is_deleted: None,
            has_grown: None,
            errors: Vec::new(),
        }
    }

    fn open(&self) -> Result<Log, LogError> {
        let options = Options {
            first_segment_bytes: SEGMENT,
            segment_bytes: SEGMENT,
            settle_bytes: 2 * SEGMENT,
            max_unsettled_bytes: 4 * SEGMENT,
            tail_bytes: 0,
            clock: self.clock.clone(),
            salt: Some(7),
            ..Options::default()
        };
        self.disk.forget_failed_syncs();
        Log::open(Arc::new(self.disk.clone()), Path::new("/log"), options)
    }

    /// Opens the log; where that fails for good, on a mended disk.
    fn open_at_last(&mut self) -> Log {
        for _ in 0..2 {
            match self.open() {
                Ok(log) => return log,
                Err(error) => self.note_error(error),
            }
        }
        self.mend();
        self.open().unwrap()
    }

    fn mend(&self) {
        self.disk.set_failing(None);
        self.disk.set_capacity(None);
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    fn note_error(&mut self, error: LogError) {
        let is_clear =
            matches!(error, LogError::Full { .. } | LogError::Io { .. } | LogError::Failed { .. });
        assert!(is_clear, "{error:?}");
        if self.failing.errno == ENOSPC && !self.is_of_sync() {
            assert!(matches!(error, LogError::Full { .. }), "{error:?}");
        }
        self.errors.push(error);
    }

    fn is_of_sync(&self) -> bool {
        matches!(self.failing.call, Call::Sync | Call::SyncDir)
    }

    /// What holds after each step.
    fn check_step(&self) {
        assert_eq!(self.disk.syncs_tried_again(), 0, "a sync is tried again");
        let failed = self.disk.failed_syncs();
        let is_serious =
            |path: &std::path::PathBuf| path.extension().is_none_or(|kind| kind == "journal");
        if failed.iter().any(is_serious) {
            assert!(self.log().failure().is_some(), "{failed:?} and the log goes on");
        }
        if self.failing.errno == ENOSPC && !self.is_of_sync() || self.failing.errno == EMFILE {
            assert!(self.log().failure().is_none(), "{:?}", self.log().failure());
        }
    }

    fn append(&mut self, append: Append) -> Option<u64> {
        let failed = self.log().failure().is_some();
        let ticket = self.log().append(append);
        self.log().commit_step();
        match ticket.wait() {
            Ok(appended) => {
                assert!(!failed, "acked after a failure");
                Some(appended.base_offset())
            }
            Err(error) => {
                self.note_error(error);
                None
            }
        }
    }

    fn append_value(&mut self, partition: TopicPartition, key: Option<&str>, value: String) {
        let now = self.clock.now().as_millis();
        let mut builder = BatchBuilder::new();
        let bytes = key.map(str::as_bytes);
        builder.push(now as i64, bytes, Some(value.as_bytes()), []).unwrap();
        let appended = self.append(Append::batch(partition.clone(), builder.finish()));
        let Some(offset) = appended else {
            self.unknown.insert(value);
            return;
        };
        if let Some(key) = key {
            self.keys.insert(key.to_owned(), offset);
        }
        if &*partition.topic == "short" {
            self.times.insert(offset, now);
        }
        assert_eq!(self.acked.insert((partition, offset), value), None, "given twice");
    }

    fn note(&mut self, round: u64) {
        let value = format!("note {round}");
        let note = Note { name: "note".into(), value: Some(Bytes::from(value.clone())) };
        let offsets = vec![GroupOffset::new("group", at("orders", 0), round)];
        self.committed.1 = round;
        if self.append(Append { notes: vec![note], offsets, ..Append::default() }).is_some() {
            self.notes = (Some(value), BTreeSet::new());
            self.committed.0 = round;
        } else {
            self.notes.1.insert(value);
        }
    }

    fn attempt<T>(&mut self, what: impl FnOnce(&Log) -> Result<T, LogError>) -> bool {
        let result = what(self.log()).map(drop);
        let is_ok = result.is_ok();
        result.err().into_iter().for_each(|error| self.note_error(error));
        is_ok
    }

    fn keep_house(&mut self) {
        for _ in 0..50 {
            match self.log().housekeep_step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.note_error(error),
            }
        }
        panic!("the house is never done");
    }

    fn create(&mut self) {
        let compact = TopicConfig { compact: true, ..TopicConfig::default() };
        let short =
            TopicConfig { retention: Some(Duration::from_secs(8)), ..TopicConfig::default() };
        for (name, config) in
            [("orders", TopicConfig::default()), ("prices", compact), ("short", short)]
        {
            let topic = NewTopic { config, ..NewTopic::new(name, 2) };
            if !self.attempt(|log| log.new_topic(topic.clone())) {
                // The rest of the work needs it.
                self.mend();
                drop(self.log.take());
                self.log = Some(self.open().unwrap());
                drop(self.log().new_topic(topic));
            }
        }
        let made = self.attempt(|log| log.create_topic("gone", 1));
        self.is_deleted = made.then_some(false);
    }

    fn round(&mut self, round: u64) {
        let filler = "x".repeat(150);
        self.append_value(
            at("orders", (round % 2) as u32),
            None,
            format!("order {round} {filler}"),
        );
        let key = format!("key {}", round % 3);
        self.append_value(at("prices", 0), Some(&key), format!("price {round} {filler}"));
        self.append_value(at("short", 0), None, format!("short {round} {filler}"));
        if round.is_multiple_of(4) {
            self.note(round);
        }
        match round {
            9 => {
                let end = self.log().bounds(&at("orders", 0)).unwrap().end.min(3);
                self.trimmed = end;
                self.attempt(|log| log.trim(&[(at("orders", 0), end)]));
            }
            12 if self.is_deleted.is_some() => {
                let deleted = self.attempt(|log| log.delete_topic("gone"));
                self.is_deleted = deleted.then_some(true);
            }
            14 => {
                let grown = self.attempt(|log| log.add_partitions("orders", 3));
                self.has_grown = grown.then_some(true);
            }
            20 | 33 => {
                let closed = self.log().close();
                closed.err().into_iter().for_each(|error| self.note_error(error));
                self.log = None;
                self.log = Some(self.open_at_last());
                assert_eq!(self.log().report().damage, []);
            }
            24 => drop(self.attempt(Log::settle)),
            _ => {}
        }
        self.keep_house();
        self.clock.set(self.clock.now().plus(Duration::from_secs(1)));
        self.check_step();
    }

    fn run(&mut self) {
        self.log = Some(self.open_at_last());
        self.create();
        self.check_step();
        for round in 0..ROUNDS {
            if round == MENDED && self.failing.lasting {
                self.mend();
                self.check_mended();
            }
            self.round(round);
        }
    }

    /// A log that has not failed goes on when the disk does what it is told.
    fn check_mended(&mut self) {
        self.check_contents();
        if self.log().failure().is_none() {
            self.append_value(at("orders", 1), None, "mended".to_owned());
            assert!(self.acked.values().any(|value| value == "mended"), "{:?}", self.errors);
            self.log().settle().unwrap();
            self.keep_house();
        }
    }

    /// Everything acked is there, and nothing that was never given.
    fn check_contents(&self) {
        let log = self.log();
        for name in ["orders", "prices", "short"] {
            for partition in [at(name, 0), at(name, 1)] {
                let earliest = log.bounds(&partition).unwrap().earliest;
                let found: BTreeMap<_, _> =
                    read_from(log, &partition, earliest).into_iter().collect();
                self.check_partition(&partition, &found);
            }
        }
        let note = log.note("note").map(|note| String::from_utf8(note.to_vec()).unwrap());
        let is_known =
            note == self.notes.0 || note.as_ref().is_some_and(|it| self.notes.1.contains(it));
        assert!(is_known, "{note:?} for {:?}", self.notes);
        let committed = log.committed("group", &at("orders", 0)).map_or(0, |it| it.offset);
        assert!((self.committed.0..=self.committed.1).contains(&committed), "{committed}");
        if let Some(is_deleted) = self.is_deleted {
            assert_eq!(log.topic("gone").is_none(), is_deleted);
        }
        if self.has_grown == Some(true) {
            assert_eq!(log.topic("orders").unwrap().partitions, 3);
        }
    }

    fn check_partition(&self, partition: &TopicPartition, found: &BTreeMap<u64, String>) {
        let now = self.clock.now().as_millis();
        let acked = self.acked.iter().filter(|((of, _), _)| of == partition);
        for ((_, offset), value) in acked {
            match found.get(offset) {
                Some(other) => assert_eq!(other, value),
                None => {
                    let may_be_gone = match &*partition.topic {
                        "prices" => !self.keys.values().any(|newest| newest == offset),
                        "short" => self.times.get(offset).is_some_and(|time| time + 8_000 < now),
                        _ => *offset < self.trimmed && partition.partition == 0,
                    };
                    assert!(may_be_gone, "{partition} lost {offset}");
                }
            }
        }
        let mut values = BTreeSet::new();
        for (offset, value) in found {
            let is_acked = self.acked.contains_key(&(partition.clone(), *offset));
            assert!(is_acked || self.unknown.contains(value), "{partition} has a phantom: {value}");
            assert!(values.insert(value), "{value} is there twice");
        }
    }

    fn check_reopened(&mut self) {
        self.mend();
        self.check_contents();
        for round in 0..2 {
            self.log = None;
            self.log = Some(self.open().unwrap());
            assert_eq!(self.log().report().damage, []);
            self.check_contents();
            self.append_value(at("orders", 0), None, format!("reopened {round}"));
            self.log().settle().unwrap();
            self.keep_house();
        }
        self.check_contents();
        assert_eq!(self.log().damage(), []);
    }
}

fn with(call: Call, after: u64, errno: i32, lasting: bool) -> Failing {
    Failing { call, after, errno, lasting }
}

#[test]
fn whichever_call_of_whichever_kind_fails_all_that_was_acked_is_kept() {
    let mut failed = Vec::new();
    let mut runs = 0;
    for call in Call::ALL {
        for (errno, lasting) in [
            (EIO, false),
            (EIO, true),
            (ENOSPC, false),
            (ENOSPC, true),
            (EMFILE, false),
            (EMFILE, true),
        ] {
            if errno == EMFILE && call != Call::Open {
                continue;
            }
            for after in 0.. {
                let failing = with(call, after, errno, lasting);
                let run = std::panic::AssertUnwindSafe(|| {
                    let mut work = Work::new(failing);
                    work.run();
                    let has_failed = work.disk.has_failed();
                    work.check_reopened();
                    has_failed
                });
                runs += 1;
                match std::panic::catch_unwind(run) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => {
                        eprintln!("failing: {failing:?}");
                        failed.push(failing);
                    }
                }
                assert!(failed.len() < 12, "{failed:?}");
            }
        }
    }
    eprintln!("{runs} runs");
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn a_disk_that_is_full_anywhere_refuses_appends_gives_reads_and_the_log_goes_on_with_space() {
    let never = with(Call::Punch, u64::MAX, ENOSPC, true);
    let mut whole = Work::new(never);
    whole.run();
    let most = whole.disk.contents().values().map(|bytes| bytes.len() as u64).sum::<u64>();
    let mut refused = 0;
    for capacity in (6 << 10..most).step_by(700) {
        let mut work = Work::new(never);
        work.disk.set_capacity(Some(capacity));
        work.run();
        refused += work.errors.len();
        work.check_reopened();
    }
    assert!(refused > 100, "{refused}");
}

/// A file system of its own in memory, which goes when the test ends.
struct Small(std::path::PathBuf);

impl Small {
    /// `None` where nobody may mount here.
    fn mount(bytes: u32) -> Option<Self> {
        let dir = std::env::temp_dir().join(format!("dhara-log-small-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"])
            .arg(&dir)
            .output();
        let small = Self(dir);
        mounted.is_ok_and(|output| output.status.success()).then_some(small)
    }

    fn grow(&self, bytes: u32) {
        let size = format!("remount,size={bytes}");
        let mut mount = std::process::Command::new("mount");
        assert!(mount.args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg(&self.0).output());
        drop(std::fs::remove_dir(&self.0));
    }
}

#[test]
fn on_a_file_system_that_is_really_full_the_log_goes_on_once_it_is_larger() {
    let Some(small) = Small::mount(2 << 20) else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    let options = Options {
        first_segment_bytes: 256 << 10,
        segment_bytes: 256 << 10,
        settle_bytes: 512 << 10,
        max_unsettled_bytes: 1 << 20,
        ..Options::default()
    };
    let open = || Log::open(Arc::new(dhara_world::disk::RealDisk), &small.0, options.clone());
    let log = open().unwrap();
    log.create_topic("orders", 2).unwrap();
    let value = "x".repeat(2000);
    let append = |log: &Log, number: u64| {
        let appended = support::append(log, &at("orders", (number % 2) as u32), &[&value]);
        while log.housekeep_step().unwrap_or(false) {}
        appended
    };
    let mut acked = 0;
    let error = loop {
        match append(&log, acked) {
            Ok(_) => acked += 1,
            Err(error) => break error,
        }
        assert!(acked < 10_000);
    };
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    let count = |log: &Log| -> usize {
        (0..2).map(|partition| read_from(log, &at("orders", partition), 0).len()).sum()
    };
    assert_eq!(count(&log), acked as usize);
    small.grow(16 << 20);
    for number in 0..400 {
        append(&log, acked + number).unwrap();
    }
    log.settle().unwrap();
    log.close().unwrap();
    drop(log);
    let log = open().unwrap();
    assert_eq!(log.report(), &dhara_log::OpenReport::default());
    assert_eq!(count(&log), acked as usize + 400);
}
