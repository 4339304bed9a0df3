//! Logs of every version of the format are opened for ever.
//!
//! The fixture of version 2 is written by one command, whenever its bytes are to change before the
//! version is released:
//!
//! ```text
//! cargo test -p dhara-log --test format -- --ignored write_the_fixture
//! ```

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod fixture;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dhara_log::{Append, Log, OpenReport, Options, SyncPolicy};
use dhara_world::Clock;
use dhara_world::disk::SimDisk;
use fixture::read::{Found, read_all};
use fixture::{DAMAGED, DIR, ROUNDS, account, order, partition};
use support::{append, read_from};

fn folder(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}"))
}

fn load(version: u32) -> SimDisk {
    let mut contents = BTreeMap::new();
    for entry in std::fs::read_dir(folder(version)).unwrap() {
        let entry = entry.unwrap();
        contents
            .insert(Path::new(DIR).join(entry.file_name()), std::fs::read(entry.path()).unwrap());
    }
    SimDisk::holding(contents)
}

fn open_v1(disk: &SimDisk) -> Log {
    let options = Options {
        first_segment_bytes: 3 << 10,
        segment_bytes: 3 << 10,
        settle_bytes: 3 << 10,
        tail_bytes: 0,
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap()
}

/// What the fixture of version 1 holds: two topics, a group, a sealed segment and one that goes on,
/// and an append over two partitions with a committed offset.
fn check_v1(log: &Log) {
    let expected: Vec<_> = (0..20).map(|number| (number, format!("value {number}"))).collect();
    assert_eq!(read_from(log, &partition("orders", 1), 0), expected);
    let pair = [(0, "a".to_owned()), (1, "b".to_owned())];
    assert!(read_from(log, &partition("orders", 0), 0).starts_with(&pair));
    assert_eq!(read_from(log, &partition("payments", 0), 0), [(0, "c".to_owned())]);
    assert_eq!(log.committed("shipping", &partition("orders", 1)).unwrap().offset, 17);
}

#[test]
fn a_log_of_version_1_opens_and_goes_on() {
    let disk = load(1);
    let log = open_v1(&disk);
    assert_eq!(log.report(), &OpenReport::default());
    check_v1(&log);
    assert_eq!(append(&log, &partition("orders", 0), &["d"]).unwrap(), 2);
}

#[test]
fn what_version_1_held_survives_settling_and_another_opening() {
    let disk = load(1);
    let log = open_v1(&disk);
    for number in 0..60 {
        append(&log, &partition("orders", 0), &[&format!("more {number} {}", "y".repeat(80))])
            .unwrap();
        while log.housekeep_step().unwrap() {}
    }
    log.settle().unwrap();
    assert!(log.stats().settled_files > 0, "{:?}", log.stats());
    check_v1(&log);
    log.close().unwrap();
    assert!(disk.contents().keys().all(|path| path.extension().is_none_or(|it| it != "index")));
    let log = open_v1(&disk);
    assert_eq!(log.report(), &OpenReport::default());
    check_v1(&log);
    assert_eq!(read_from(&log, &partition("orders", 0), 0).len(), 62);
    assert_eq!(append(&log, &partition("orders", 1), &["next"]).unwrap(), 20);
}

fn open_v2(disk: &SimDisk) -> (Log, Clock) {
    let clock = fixture::clock();
    // Nothing that is there expires.
    clock.set(clock.now().plus(Duration::from_secs(61)));
    (fixture::open(disk, &clock), clock)
}

/// All that the log of the fixture has, as far as a reader can tell.
fn check_v2(log: &Log) {
    check_topics(log);
    check_orders(log);
    check_accounts(log);
    let visits: Vec<_> = (92..ROUNDS).filter(|round| round.is_multiple_of(3)).collect();
    let (found, damaged) = read_all(log, &partition("visits", 0));
    let values: Vec<_> = found.into_iter().map(|(_, _, value)| value.unwrap()).collect();
    let all: Vec<_> = visits.iter().map(|round| format!("visit {round:03}")).collect();
    assert!(values.ends_with(&all), "{values:?}");
    assert_eq!(damaged, [0; 0]);
    let committed = log.committed("shipping", &partition("orders", 1)).unwrap();
    assert_eq!((committed.offset, &*committed.metadata), (70, "round 140"));
    assert_eq!(log.groups(), [Arc::from("shipping")]);
    assert_eq!(log.note("relay/1").unwrap(), "at 140");
}

fn check_topics(log: &Log) {
    let names: Vec<_> = log.topics().iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["accounts", "orders", "visits"]);
    let orders = log.topic("OrderPaid").unwrap();
    assert_eq!((&*orders.name, orders.partitions, orders.aliases.len()), ("orders", 3, 2));
    let ends: Vec<_> = orders.growths.iter().map(|growth| growth.ends.clone()).collect();
    assert_eq!(ends, [[31, 34]]);
    let visits = log.topic("visits").unwrap();
    assert_eq!(visits.config.retention, Some(Duration::from_secs(60)));
    assert_eq!(visits.config.sync, SyncPolicy::Interval(Duration::from_millis(5)));
    assert_eq!(visits.config.other.get("owner").unwrap(), "the shop");
    assert!(log.topic("accounts").unwrap().config.compact);
}

fn check_orders(log: &Log) {
    let (found, damaged) = read_all(log, &partition("orders", 0));
    let all: Vec<Found> = (5..ROUNDS / 2).map(|at| (at, None, Some(order(2 * at)))).collect();
    assert_eq!((found, damaged), (all, Vec::new()));
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        if !round.is_multiple_of(2) {
            all.push((round, order(round)));
        }
        if round.is_multiple_of(20) {
            all.push((round, format!("together {round:03}")));
        }
    }
    let lost = all.iter().position(|(round, _)| *round == DAMAGED).unwrap() as u64;
    let all: Vec<Found> =
        (0..).zip(all).map(|(offset, (_, value))| (offset, None, Some(value))).collect();
    let (found, damaged) = read_all(log, &partition("orders", 1));
    assert_eq!(damaged, [lost]);
    let readable: Vec<_> = all.into_iter().filter(|(offset, ..)| *offset != lost).collect();
    assert_eq!(found, readable);
    let (found, _) = read_all(log, &partition("orders", 2));
    assert_eq!(found.len(), 9);
}

/// Whatever a compaction has removed: the newest of each key is there, and nothing that never was.
fn check_accounts(log: &Log) {
    let mut all: Vec<Found> = Vec::new();
    for round in 0..ROUNDS {
        if round.is_multiple_of(2) {
            let (key, value) = account(round);
            all.push((all.len() as u64, Some(key), value));
        }
        if round.is_multiple_of(20) {
            all.push((all.len() as u64, Some("all".into()), Some(format!("total {round:03}"))));
        }
    }
    let (found, damaged) = read_all(log, &partition("accounts", 0));
    assert_eq!(damaged, [0; 0]);
    assert!(found.len() < all.len(), "{} of {}", found.len(), all.len());
    assert!(found.iter().all(|record| all.contains(record)));
    let newest: BTreeMap<_, _> = all.iter().map(|record| (record.1.clone(), record)).collect();
    assert!(newest.values().all(|record| found.contains(record)));
    assert_eq!(log.bounds(&partition("accounts", 0)).unwrap().end, all.len() as u64);
}

#[test]
fn a_log_of_version_2_opens_has_everything_and_goes_on() {
    let disk = load(2);
    let (log, _) = open_v2(&disk);
    assert_eq!(log.report(), &OpenReport::default());
    assert_eq!(log.damage(), []);
    let stats = log.stats();
    assert!(stats.settled_files >= 3 && stats.producers == 1, "{stats:?}");
    check_v2(&log);
    let ticket = log.append(Append::batch(partition("orders", 0), fixture::last_of_producer()));
    log.commit_step();
    let repeated = ticket.wait().unwrap();
    assert!(repeated.is_repeat(), "the producer is not remembered");
    assert_eq!(append(&log, &partition("orders", 2), &["more"]).unwrap(), 9);
    while log.housekeep_step().unwrap() {}
    log.settle().unwrap();
    while log.housekeep_step().unwrap() {}
    log.close().unwrap();
    let (log, _) = open_v2(&disk);
    assert_eq!(log.report(), &OpenReport::default());
    assert_eq!(read_from(&log, &partition("orders", 2), 9), [(9, "more".to_owned())]);
}

#[test]
fn the_fixture_of_version_2_has_all_kinds_of_files() {
    let contents = load(2).contents();
    let of = |kind: &str| {
        let is = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == kind);
        contents.keys().filter(is).count()
    };
    assert!(of("journal") >= 2 && of("settled") >= 3, "{:?}", contents.keys());
    assert_eq!((of("state"), of("state-copy")), (1, 1));
    let settled = contents.iter().filter(|(path, _)| path.extension().unwrap() == "settled");
    let has_hole = |bytes: &[u8]| bytes.get(1024..).unwrap().windows(100).any(|it| it == [0; 100]);
    assert!(settled.clone().any(|(_, bytes)| has_hole(bytes)), "no hole");
    let classes: Vec<_> = settled.map(|(_, bytes)| *bytes.get(32).unwrap()).collect();
    assert!(classes.contains(&0) && classes.contains(&1), "{classes:?}");
}

#[test]
fn what_is_written_today_is_version_2_to_the_byte() {
    let disk = SimDisk::new();
    fixture::write(&disk);
    let today: Vec<_> = disk.contents().into_iter().collect();
    let fixture: Vec<_> = load(2).contents().into_iter().collect();
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        files.iter().map(|(path, _)| path.clone()).collect()
    };
    assert_eq!(names(&today), names(&fixture));
    for ((path, today), (_, fixture)) in today.iter().zip(&fixture) {
        let at = today.iter().zip(fixture).position(|(today, fixture)| today != fixture);
        assert!(today == fixture, "{} is written otherwise from {at:?} on", path.display());
    }
}

#[test]
#[ignore = "writes the fixture of the version at hand; run it when its bytes are to change"]
fn write_the_fixture() {
    let disk = SimDisk::new();
    fixture::write(&disk);
    drop(std::fs::remove_dir_all(folder(2)));
    std::fs::create_dir_all(folder(2)).unwrap();
    for (path, bytes) in disk.contents() {
        std::fs::write(folder(2).join(path.file_name().unwrap()), bytes).unwrap();
    }
}

#[test]
fn a_log_of_a_later_version_is_refused_with_the_file_and_both_versions() {
    for kind in ["journal", "state"] {
        let mut contents = load(2).contents();
        for (path, bytes) in &mut contents {
            if path.extension().is_some_and(|it| it.to_string_lossy().starts_with(kind)) {
                let copies = if kind == "journal" { 2 } else { 1 };
                for at in [8, 512 + 8].into_iter().take(copies) {
                    *bytes.get_mut(at).unwrap() = 3;
                }
            }
        }
        let disk = SimDisk::holding(contents);
        let error = Log::open(Arc::new(disk), Path::new(DIR), Options::default()).unwrap_err();
        let told = error.to_string();
        assert!(told.contains(&format!(".{kind}")) && told.contains("version 3"), "{told}");
    }
}
