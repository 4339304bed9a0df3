//! What the log does when the disk fails, fills up, or gives back other bytes than it was given.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on here has failed"
)]

mod support;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhara_log::{Append, Log, LogError, Options, TopicPartition};
use dhara_world::disk::SimDisk;
use dhara_world::disk::sim::Fault;
use support::{append, batch, read_from};

const DIR: &str = "/log";

fn open(disk: &SimDisk) -> Result<Log, LogError> {
    let options = Options {
        first_segment_bytes: 8 << 10,
        segment_bytes: 8 << 10,
        tail_bytes: 0,
        salt: Some(7),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new(DIR), options)
}

fn orders(partition: u32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn file(number: u64, kind: &str) -> PathBuf {
    PathBuf::from(format!("{DIR}/{number:020}.{kind}"))
}

/// A disk with a log of `count` records, in turn in two partitions, each marked as synced.
fn filled(count: u64) -> SimDisk {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    log.create_topic("orders", 2).unwrap();
    for number in 0..count {
        append(&log, &orders((number % 2) as u32), &[&format!("value {number}")]).unwrap();
        while log.housekeep_step().unwrap() {}
    }
    log.mark_step();
    disk
}

/// The disk with one byte of a file flipped, where `needle` begins plus `shift`.
fn flipped(disk: &SimDisk, path: &Path, needle: &[u8], shift: isize) -> SimDisk {
    let mut contents = disk.contents();
    let bytes = contents.get_mut(path).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at.checked_add_signed(shift).unwrap()] ^= 0x10;
    SimDisk::holding(contents)
}

#[test]
fn a_flipped_bit_in_a_body_is_reported_and_everything_else_stays_readable() {
    let disk = flipped(&filled(10), &file(1, "journal"), b"value 4", 2);
    let log = open(&disk).unwrap();
    let damage = &log.report().damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert!(damage[0].what.contains("orders/0, offsets 2 to below 3"), "{}", damage[0].what);
    assert_eq!(read_from(&log, &orders(1), 0).len(), 5);
    assert_eq!(log.read(&orders(0), 0, 1 << 20).unwrap().batches.len(), 2);
    let error = log.read(&orders(0), 2, 1 << 20).unwrap_err();
    assert!(matches!(error, LogError::Damaged { offset: 2, next: 3, .. }), "{error}");
    assert_eq!(read_from(&log, &orders(0), 3).len(), 2);
    assert_eq!(append(&log, &orders(0), &["more"]).unwrap(), 5);
}

#[test]
fn a_flipped_bit_in_a_frame_header_is_reported_and_no_offset_is_given_twice() {
    // The frame's header lies before the batch's own of 61 bytes and the record's first 6.
    let disk = flipped(&filled(10), &file(1, "journal"), b"value 8", -(61 + 6 + 40));
    let log = open(&disk).unwrap();
    assert_eq!(log.report().damage.len(), 1, "{:?}", log.report());
    assert_eq!(log.report().cut, []);
    assert_eq!(read_from(&log, &orders(1), 0).len(), 5);
    let next = append(&log, &orders(0), &["after the damage"]).unwrap();
    assert!(next > 4, "offset {next} may have been given before");
    let fetched = log.read(&orders(0), 0, 1 << 20).unwrap();
    assert_eq!(fetched.batches.len(), 4);
    let error = log.read(&orders(0), 4, 1 << 20).unwrap_err();
    assert!(matches!(&error, LogError::Damaged { next: to, .. } if *to == next), "{error}");
    assert_eq!(read_from(&log, &orders(0), next), [(next, "after the damage".to_owned())]);
    drop(log);
    let log = open(&disk).unwrap();
    assert_eq!(append(&log, &orders(0), &["again"]).unwrap(), next + 1);
}

#[test]
fn a_torn_last_commit_is_cut_kept_aside_and_told() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    log.create_topic("orders", 2).unwrap();
    append(&log, &orders(0), &["first"]).unwrap();
    append(&log, &orders(0), &["second"]).unwrap();
    let torn = flipped(&disk, &file(1, "journal"), b"second", 2);
    let log = open(&torn).unwrap();
    assert_eq!(log.report().damage, []);
    let [cut] = log.report().cut.as_slice() else { panic!("{:?}", log.report()) };
    let kept = torn.contents().get(&cut.kept).cloned().unwrap();
    assert_eq!(kept.len() as u64, cut.length);
    assert!(kept.windows(3).any(|window| window == b"ond"));
    assert_eq!(read_from(&log, &orders(0), 0), [(0, "first".to_owned())]);
}

#[test]
fn both_copies_of_the_only_segment_header_gone_is_an_error_and_nothing_is_cut() {
    let mut contents = filled(4).contents();
    contents.get_mut(&file(1, "journal")).unwrap()[..1024].fill(0);
    let disk = SimDisk::holding(contents.clone());
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, LogError::Unreadable { .. }), "{error}");
    assert_eq!(disk.contents(), contents);
    // One copy is enough.
    let mut contents = filled(4).contents();
    contents.get_mut(&file(1, "journal")).unwrap()[..512].fill(0);
    assert_eq!(open(&SimDisk::holding(contents)).unwrap().bounds(&orders(0)).unwrap().end, 2);
}

#[test]
fn after_a_failed_sync_nothing_more_is_written_and_nothing_acked_is_missing() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    log.create_topic("orders", 2).unwrap();
    append(&log, &orders(0), &["acked"]).unwrap();
    disk.set_fault(Some(Fault { after: 1, error: io::ErrorKind::Other, lasting: false }));
    let error = append(&log, &orders(0), &["unknown"]).unwrap_err();
    assert!(matches!(error, LogError::Failed { .. }), "{error}");
    let moment = disk.moment();
    let error = append(&log, &orders(0), &["refused"]).unwrap_err();
    assert!(matches!(error, LogError::Failed { .. }), "{error}");
    log.mark_step();
    drop(log.close());
    assert_eq!(disk.moment(), moment, "something was written after a failed sync");
    assert_eq!(read_from(&log, &orders(0), 0), [(0, "acked".to_owned())]);
    let log = open(&disk).unwrap();
    assert_eq!(read_from(&log, &orders(0), 0)[0], (0, "acked".to_owned()));
}

#[test]
fn a_full_disk_refuses_appends_gives_reads_and_goes_on_when_there_is_space() {
    let disk = filled(4);
    let used: usize = disk.contents().values().map(Vec::len).sum();
    disk.set_capacity(Some(used as u64 + 100));
    let log = open(&disk).unwrap();
    let mut acked = Vec::new();
    let error = loop {
        match append(&log, &orders(1), &["x".repeat(500).as_str()]) {
            Ok(offset) => acked.push(offset),
            Err(error) => break error,
        }
        assert!(acked.len() < 100);
    };
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    assert_eq!(read_from(&log, &orders(1), 0).len(), 2 + acked.len());
    disk.set_capacity(None);
    let next = 2 + acked.len() as u64;
    assert_eq!(append(&log, &orders(1), &["space again"]).unwrap(), next);
    drop(log);
    let log = open(&disk).unwrap();
    assert_eq!(read_from(&log, &orders(1), next), [(next, "space again".to_owned())]);
}

#[test]
fn whichever_call_fails_no_ack_is_false_and_the_next_start_has_all_that_was_acked() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for after in 0..400 {
            let disk = SimDisk::new();
            disk.set_fault(Some(Fault { after, error: kind, lasting: false }));
            let mut acked = Vec::new();
            if let Ok(log) = open(&disk)
                && log.create_topic("orders", 2).is_ok()
            {
                for number in 0..40 {
                    let value = format!("{number} {}", "x".repeat(300));
                    if let Ok(offset) = append(&log, &orders(0), &[&value]) {
                        acked.push((offset, value));
                    }
                    drop(log.housekeep_step());
                }
            }
            disk.set_fault(None);
            let log = open(&disk).unwrap_or_else(|error| panic!("call {after}, {kind}: {error}"));
            assert_eq!(log.report().damage, [], "call {after}, {kind}");
            let found = match log.topic("orders") {
                Some(_) => read_from(&log, &orders(0), 0),
                None => Vec::new(),
            };
            for record in &acked {
                assert!(found.contains(record), "call {after}, {kind}: {record:?} is missing");
            }
            let unknown = found.len() - acked.len();
            assert!(unknown <= 1, "call {after}, {kind}: {unknown} records that were not acked");
        }
    }
}

#[test]
fn batches_that_are_not_whole_are_refused_and_nothing_else_is_harmed() {
    let log = open(&filled(2)).unwrap();
    let good = batch(&["good"]);
    let mut torn = good.to_vec();
    torn.truncate(70);
    let mut bad = good.to_vec();
    *bad.last_mut().unwrap() ^= 1;
    for bytes in [Vec::new(), torn, bad] {
        let error = log.append(Append::batch(orders(0), bytes.into())).wait().unwrap_err();
        assert!(matches!(error, LogError::Invalid { .. }), "{error}");
    }
    let error = log.append(Append::batch(orders(9), good)).wait().unwrap_err();
    assert!(matches!(error, LogError::Unknown { .. }), "{error}");
    let error = log.read(&orders(0), 7, 100).unwrap_err();
    assert!(
        matches!(error, LogError::OutOfRange { offset: 7, earliest: 0, end: 1, .. }),
        "{error}"
    );
    for name in ["", ".", "a/b", "ä", &"x".repeat(250)] {
        assert!(matches!(log.create_topic(name, 1), Err(LogError::Invalid { .. })), "{name}");
    }
}

#[test]
fn frames_that_a_failed_write_left_behind_are_never_taken_for_later_ones() {
    let disk = filled(0);
    let log = open(&disk).unwrap();
    let tickets: Vec<_> = (0..8)
        .map(|number| {
            let value = format!("failed {number}");
            log.append(Append::batch(orders(0), batch(&[&value])))
        })
        .collect();
    // The first half of these eight frames reaches the disk.
    disk.set_fault(Some(Fault { after: 0, error: io::ErrorKind::StorageFull, lasting: false }));
    log.commit_step();
    for ticket in tickets {
        assert!(matches!(ticket.wait(), Err(LogError::Full { .. })));
    }
    // The mark and this frame take the places of the first; the third would fit right behind.
    assert_eq!(append(&log, &orders(0), &["written"]).unwrap(), 0);
    drop(log);
    let log = open(&disk).unwrap();
    assert_eq!(read_from(&log, &orders(0), 0), [(0, "written".to_owned())]);
}

#[test]
fn a_process_with_too_many_open_files_appends_again_once_it_has_fewer() {
    let disk = SimDisk::new();
    let log = open(&disk).unwrap();
    log.create_topic("orders", 2).unwrap();
    let value = "x".repeat(3 << 10);
    append(&log, &orders(0), &[&value]).unwrap();
    append(&log, &orders(0), &[&value]).unwrap();
    disk.set_out_of_files(true);
    let refused = append(&log, &orders(0), &[&value]).unwrap_err();
    assert!(matches!(refused, LogError::Io { .. }), "the next segment was opened: {refused}");
    disk.set_out_of_files(false);
    assert_eq!(append(&log, &orders(0), &[&value]).unwrap(), 2);
    drop(log);
    assert_eq!(read_from(&open(&disk).unwrap(), &orders(0), 0).len(), 3);
}
