//! A record of a compacted topic whose frame is lost in the journal.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

#[path = "fixture/read.rs"]
mod read;

use std::sync::Arc;

use dhara_log::batch::BatchBuilder;
use dhara_log::{Append, Log, NewTopic, Options, TopicConfig};
use dhara_world::Disk;
use dhara_world::disk::{OpenMode, SimDisk};
use read::{clock, partition, read_all};

const DIR: &str = "/log";

fn open(disk: &SimDisk) -> Log {
    let options = Options {
        first_segment_bytes: 4 << 10,
        segment_bytes: 4 << 10,
        settle_bytes: 4 << 10,
        tail_bytes: 0,
        clock: clock(),
        salt: Some(3),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), DIR, options).unwrap()
}

fn append(log: &Log, key: &str) {
    let mut batch = BatchBuilder::new();
    batch.push(1_000, Some(key.as_bytes()), Some(&[b'x'; 100]), []).unwrap();
    let ticket = log.append(Append::batch(partition("accounts", 0), batch.finish()));
    log.commit_step();
    ticket.wait().unwrap();
}

/// Damages the header of the frame with this key.
fn damage(disk: &SimDisk, key: &str) {
    let (path, at) = disk
        .contents()
        .into_iter()
        .find_map(|(path, bytes)| {
            let at = bytes.windows(key.len()).position(|window| window == key.as_bytes())?;
            Some((path, at))
        })
        .unwrap();
    let file = disk.open(&path, OpenMode::Existing).unwrap();
    // Key, five varints before it, the batch's header; then the frame's, in whose middle this is.
    file.write_all_at(&[0xff; 8], (at - 6 - 61 - 40) as u64).unwrap();
}

/// The offsets that cannot be read stay errors, in the journal, once settled and once compacted.
fn check(damaged: &str, offsets: &[u64]) {
    let disk = SimDisk::new();
    let log = open(&disk);
    let config = TopicConfig { compact: true, ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("accounts", 1) }).unwrap();
    for key in ["alpha", "beta", "gamma", "delta"] {
        append(&log, key);
    }
    log.mark_step();
    drop(log);
    damage(&disk, damaged);
    let log = open(&disk);
    assert_eq!(log.report().damage.len(), 1, "{:?}", log.report());
    assert_eq!(read_all(&log, &partition("accounts", 0)).1, offsets, "in the journal");
    for number in 0..40 {
        append(&log, &format!("key {number}"));
    }
    log.settle().unwrap();
    let settled = log.stats().settled_files;
    assert!(settled > 0);
    assert_eq!(read_all(&log, &partition("accounts", 0)).1, offsets, "once settled");
    while log.housekeep_step().unwrap() {}
    drop(log);
    assert_eq!(read_all(&open(&disk), &partition("accounts", 0)).1, offsets, "once compacted");
}

#[test]
fn it_is_an_error_and_no_gap_that_a_compaction_left() {
    check("beta", &[1]);
}

#[test]
fn the_first_of_all_is_an_error_as_well() {
    check("alpha", &[0]);
}
