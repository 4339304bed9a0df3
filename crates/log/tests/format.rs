//! Logs of every version of the format are opened for ever.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhara_log::{Append, GroupOffset, Log, OpenReport, Options, TopicPartition};
use dhara_world::disk::SimDisk;
use support::{append, batch, read_from};

const DIR: &str = "/log";

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}"))
}

fn open(disk: &SimDisk) -> Log {
    let options = Options {
        first_segment_bytes: 3 << 10,
        segment_bytes: 3 << 10,
        salt: Some(0x5a17),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap()
}

fn load(version: u32) -> SimDisk {
    let mut contents = BTreeMap::new();
    for entry in std::fs::read_dir(fixture(version)).unwrap() {
        let entry = entry.unwrap();
        contents
            .insert(Path::new(DIR).join(entry.file_name()), std::fs::read(entry.path()).unwrap());
    }
    SimDisk::holding(contents)
}

/// The records of partition 1 in every fixture.
fn expected() -> Vec<(u64, String)> {
    (0..20).map(|number| (number, format!("value {number}"))).collect()
}

/// What every fixture holds: two topics, a group, a sealed segment and one that goes on, and an
/// append over two partitions with a committed offset.
fn write(disk: &SimDisk) {
    let log = open(disk);
    log.create_topic("orders", 2).unwrap();
    log.create_topic("payments", 1).unwrap();
    for (_, value) in expected() {
        append(&log, &TopicPartition::new("orders", 1), &[&value]).unwrap();
        while log.housekeep_step().unwrap() {}
    }
    let mut together = Append::batch(TopicPartition::new("orders", 0), batch(&["a", "b"]));
    together.batches.push((TopicPartition::new("payments", 0), batch(&["c"])));
    together.offsets.push(GroupOffset::new("shipping", TopicPartition::new("orders", 1), 17));
    let ticket = log.append(together);
    log.commit_step();
    ticket.wait().unwrap();
    log.close().unwrap();
}

#[test]
fn a_log_of_version_1_opens_and_goes_on() {
    let disk = load(1);
    let log = open(&disk);
    assert_eq!(log.report(), &OpenReport::default());
    assert_eq!(read_from(&log, &TopicPartition::new("orders", 1), 0), expected());
    let pair = [(0, "a".to_owned()), (1, "b".to_owned())];
    assert_eq!(read_from(&log, &TopicPartition::new("orders", 0), 0), pair);
    assert_eq!(read_from(&log, &TopicPartition::new("payments", 0), 0), [(0, "c".to_owned())]);
    let committed = log.committed("shipping", &TopicPartition::new("orders", 1)).unwrap();
    assert_eq!(committed.offset, 17);
    assert_eq!(append(&log, &TopicPartition::new("orders", 0), &["d"]).unwrap(), 2);
}

#[test]
fn what_is_written_today_is_version_1_to_the_byte() {
    let disk = SimDisk::new();
    write(&disk);
    let today: Vec<_> = disk.contents().into_iter().collect();
    let fixture: Vec<_> = load(1).contents().into_iter().collect();
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        files.iter().map(|(path, _)| path.clone()).collect()
    };
    assert_eq!(names(&today), names(&fixture));
    for ((path, today), (_, fixture)) in today.iter().zip(&fixture) {
        assert!(today == fixture, "{} is written otherwise", path.display());
    }
}

#[test]
#[ignore = "writes the fixture of the version at hand; run it once when a version is made"]
fn write_the_fixture() {
    let disk = SimDisk::new();
    write(&disk);
    std::fs::create_dir_all(fixture(1)).unwrap();
    for (path, bytes) in disk.contents() {
        std::fs::write(fixture(1).join(path.file_name().unwrap()), bytes).unwrap();
    }
}

#[test]
fn a_log_of_a_later_version_is_refused_with_the_file_and_both_versions() {
    let mut contents = load(1).contents();
    for (path, bytes) in &mut contents {
        if path.extension().is_some_and(|extension| extension == "journal") {
            for at in [8, 512 + 8] {
                *bytes.get_mut(at).unwrap() = 3;
            }
        }
    }
    contents.retain(|path, _| path.extension().is_some_and(|extension| extension == "journal"));
    let disk = SimDisk::holding(contents);
    let error = Log::open(Arc::new(disk), Path::new(DIR), Options::default()).unwrap_err();
    let told = error.to_string();
    assert!(told.contains(".journal") && told.contains("version 3"), "{told}");
}
