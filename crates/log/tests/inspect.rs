//! Whatever byte of a log is damaged: looking at it tells so and changes nothing, a repair leaves
//! nothing that it could have repaired, and never an offset that somebody could be given twice.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on here has failed")]

#[path = "fixture/read.rs"]
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhara_log::inspect::{FindingKind, Inspection};
use dhara_log::{Log, LogError, Options};
use dhara_world::disk::SimDisk;
use read::{Found, clock, partition, read_all};

const DIR: &str = "/log";
const PARTITIONS: [(&str, u32); 5] =
    [("accounts", 0), ("orders", 0), ("orders", 1), ("orders", 2), ("visits", 0)];

type Contents = BTreeMap<PathBuf, Vec<u8>>;

fn fixture() -> Contents {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v2");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        (Path::new(DIR).join(entry.file_name()), std::fs::read(entry.path()).unwrap())
    });
    files.collect()
}

fn open(disk: &SimDisk) -> Result<Log, LogError> {
    let options = Options { clock: clock(), tail_bytes: 0, ..Options::default() };
    Log::open(Arc::new(disk.clone()), DIR, options)
}

fn look(disk: &SimDisk) -> Result<Inspection, LogError> {
    Inspection::open(Arc::new(disk.clone()), DIR)
}

/// Each partition's records, the offsets that cannot be read, and the end.
fn all_of(log: &Log) -> Vec<(Vec<Found>, Vec<u64>, u64)> {
    let of = |(topic, number): (&str, u32)| {
        let partition = partition(topic, number);
        let (found, lost) = read_all(log, &partition);
        (found, lost, log.bounds(&partition).unwrap().end)
    };
    PARTITIONS.into_iter().map(of).collect()
}

/// Flips a bit, looks, repairs and opens.
fn check(contents: &Contents, path: &Path, at: usize, whole: &[(Vec<Found>, Vec<u64>, u64)]) {
    let told = format!("{} at {at}", path.display());
    let mut contents = contents.clone();
    *contents.get_mut(path).unwrap().get_mut(at).unwrap() ^= 0x10;
    let disk = SimDisk::holding(contents.clone());
    let inspection = look(&disk).unwrap_or_else(|error| panic!("{told}: {error}"));
    let findings = inspection.verify().unwrap();
    assert_eq!(disk.contents(), contents, "{told}: looking has changed something");
    let is_damaged = findings.iter().any(|finding| finding.kind == FindingKind::Damage);
    let unmendable = findings.iter().filter(|it| it.mend().is_none()).count();
    inspection.repair(&findings).unwrap();
    if !is_damaged && findings.iter().all(|finding| finding.kind == FindingKind::Lost) {
        assert_eq!(disk.contents(), contents, "{told}: a repair of nothing");
    }
    let again = look(&disk).unwrap().verify().unwrap();
    let left = again.iter().filter(|finding| finding.kind != FindingKind::Lost).count();
    assert!(left <= unmendable, "{told}: {again:?} is left of {findings:?}");
    let log = open(&disk).unwrap_or_else(|error| panic!("{told}: {error}"));
    for ((found, lost, end), (all, lost_before, end_before)) in all_of(&log).iter().zip(whole) {
        assert!(end >= end_before, "{told}: the end fell from {end_before} to {end}");
        assert!(found.iter().all(|record| all.contains(record)), "{told}: a record that never was");
        for record in all.iter().filter(|record| !found.contains(record)) {
            assert!(is_damaged, "{told}: {} is gone, and nobody said so", record.0);
            assert!(lost.contains(&record.0), "{told}: {} is gone without an error", record.0);
        }
        assert!(lost_before.iter().all(|offset| lost.contains(offset)), "{told}: {lost:?}");
    }
}

/// Damages a file in a way that no checksum could expect.
fn spoil(contents: &mut Contents, path: &Path, how: &str) {
    let bytes = contents.get_mut(path).unwrap();
    let half = bytes.len() / 2;
    match how {
        "missing" => drop(contents.remove(path)),
        "empty" => bytes.clear(),
        "cut off" => bytes.truncate(half),
        "cut off by a byte" => bytes.truncate(bytes.len() - 1),
        "longer" => bytes.extend([7; 100]),
        "zeros in the middle" => bytes.iter_mut().skip(half).take(600).for_each(|it| *it = 0),
        "garbage in the middle" => bytes.iter_mut().skip(half).take(600).for_each(|it| *it ^= 0x55),
        _ => bytes.fill(0),
    }
}

#[test]
fn a_file_that_is_missing_cut_off_or_full_of_something_else_stops_nobody_from_looking() {
    let whole = fixture();
    let ways = [
        "missing",
        "empty",
        "cut off",
        "cut off by a byte",
        "longer",
        "zeros in the middle",
        "garbage in the middle",
        "zeros",
    ];
    for path in whole.keys() {
        for how in ways {
            let told = format!("{} is {how}", path.display());
            let mut contents = whole.clone();
            spoil(&mut contents, path, how);
            let disk = SimDisk::holding(contents.clone());
            let inspection = match look(&disk) {
                Err(LogError::Unreadable { .. }) => {
                    let is_refused = matches!(open(&disk), Err(LogError::Unreadable { .. }));
                    assert!(is_refused, "{told}: it can be opened, but not looked at");
                    continue;
                }
                inspection => inspection.unwrap(),
            };
            let findings = inspection.verify().unwrap();
            assert_eq!(disk.contents(), contents, "{told}");
            let unmendable = findings.iter().filter(|it| it.mend().is_none()).count();
            inspection.repair(&findings).unwrap();
            let again = look(&disk).unwrap().verify().unwrap();
            let left = again.iter().filter(|it| it.kind != FindingKind::Lost).count();
            assert!(left <= unmendable, "{told}: {again:?} is left of {findings:?}");
            let log = open(&disk).unwrap();
            // Nobody can tell that the end of the journal is gone, or what a compaction removed.
            let is_end =
                whole.keys().rfind(|it| it.extension().unwrap() == "journal") == Some(path);
            for (name, number) in PARTITIONS.into_iter().filter(|it| it.0 != "accounts" && !is_end)
            {
                let partition = partition(name, number);
                let (found, lost) = read_all(&log, &partition);
                let bounds = log.bounds(&partition).unwrap();
                let count = bounds.end - bounds.earliest;
                assert_eq!((found.len() + lost.len()) as u64, count, "{told}: {partition}");
                let is_told = again.iter().any(|it| it.what.starts_with(&partition.to_string()));
                assert!(lost.is_empty() || is_told, "{told}: {lost:?} of {partition}: {again:?}");
            }
        }
    }
}

#[test]
fn a_flip_anywhere_is_told_repaired_as_far_as_it_goes_and_costs_no_other_record() {
    let contents = fixture();
    let whole = all_of(&open(&SimDisk::holding(contents.clone())).unwrap());
    // Every byte is a matter of minutes; a prime step comes to all kinds of places.
    let step = std::env::var("DHARA_FLIP_STEP").map_or(97, |text| text.parse().unwrap());
    let mut at = 0;
    for (path, bytes) in &contents {
        while at < bytes.len() {
            check(&contents, path, at, &whole);
            at += step;
        }
        at -= bytes.len();
    }
}
