//! Damage in the journal that was once taken for its end, or for nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on here has failed"
)]

#[path = "support/frames.rs"]
mod frames;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhara_log::{Log, LogError, OpenReport, Options, TopicPartition};
use dhara_world::disk::SimDisk;
use frames::{Frame, frames};
use support::{append, read_from};

const SEGMENT: u64 = 8 << 10;

fn open(disk: &SimDisk) -> Log {
    let options = Options {
        first_segment_bytes: SEGMENT,
        segment_bytes: SEGMENT,
        tail_bytes: 0,
        salt: Some(7),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new("/log"), options).unwrap()
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn journal(number: u64) -> PathBuf {
    PathBuf::from(format!("/log/{number:020}.journal"))
}

/// A disk with a log of `count` records.
fn filled(count: u64) -> SimDisk {
    let disk = SimDisk::new();
    let log = open(&disk);
    log.create_topic("orders", 1).unwrap();
    for number in 0..count {
        append(&log, &orders(), &[&format!("value {number} {}", "x".repeat(100))]).unwrap();
    }
    log.mark_step();
    disk
}

fn all_frames(disk: &SimDisk, kind: u8) -> Vec<Frame> {
    let mut found = frames(&disk.contents(), 7);
    found.retain(|frame| frame.kind == kind && frame.partition == 0);
    assert!(found.is_sorted_by_key(|frame| frame.sequence));
    found
}

fn flipped(disk: &SimDisk, file: &Path, at: u64) -> SimDisk {
    let mut contents = disk.contents();
    contents.get_mut(file).unwrap()[at as usize] ^= 4;
    SimDisk::holding(contents)
}

fn cut(disk: &SimDisk, number: u64, length: u64) -> SimDisk {
    let mut contents = disk.contents();
    contents.get_mut(&journal(number)).unwrap().truncate(length as usize);
    SimDisk::holding(contents)
}

#[test]
fn a_flip_in_the_first_frame_after_a_clean_stop_does_not_end_the_journal_there() {
    let disk = filled(3);
    open(&disk).close().unwrap();
    let log = open(&disk);
    append(&log, &orders(), &["after the stop"]).unwrap();
    log.mark_step();
    drop(log);
    let opened = all_frames(&disk, 5).pop().unwrap();
    let log = open(&flipped(&disk, &opened.file, opened.from + 20));
    assert_eq!(log.report().cut, []);
    assert_eq!(log.report().damage.len(), 1, "{:?}", log.report());
    assert_eq!(read_from(&log, &orders(), 3), [(3, "after the stop".to_owned())]);
}

#[test]
fn a_topic_keeps_its_name_and_records_when_a_frame_that_made_it_is_damaged() {
    let disk = filled(3);
    for frame in all_frames(&disk, 7) {
        for at in [frame.from + 20, frame.from + 60] {
            let log = open(&flipped(&disk, &frame.file, at));
            assert_eq!(log.report().damage.len(), 1, "{:?}", log.report());
            assert_eq!(read_from(&log, &orders(), 0).len(), 3);
        }
    }
}

#[test]
fn a_full_file_of_the_journal_without_a_good_frame_does_not_end_the_journal() {
    let disk = filled(100);
    let mut contents = disk.contents();
    contents.get_mut(&journal(2)).unwrap()[1024..].fill(0xee);
    for disk in [SimDisk::holding(contents), cut(&disk, 2, 0), cut(&disk, 2, 1024)] {
        let log = open(&disk);
        assert_eq!(log.report().cut, []);
        assert_eq!(log.report().damage.len(), 1, "{:?}", log.report());
        assert_eq!(log.report().damage[0].file, journal(2));
        let lost = all_frames(&disk, 1).iter().find(|it| it.file == journal(3)).unwrap().base;
        let first = log.read(&orders(), 0, 1 << 20).unwrap().next;
        let error = log.read(&orders(), first, 1000).unwrap_err();
        assert!(matches!(error, LogError::Damaged { next, .. } if next == lost), "{error}");
        assert_eq!(read_from(&log, &orders(), lost).len() as u64, 100 - lost);
        assert_eq!(append(&log, &orders(), &["next"]).unwrap(), 100);
    }
}

#[test]
fn what_is_damaged_at_the_end_of_a_full_file_is_told_of_that_file() {
    let disk = filled(100);
    let mut first = all_frames(&disk, 1).into_iter().filter(|frame| frame.file == journal(1));
    let last = first.next_back().unwrap();
    for disk in [flipped(&disk, &last.file, last.from + 20), cut(&disk, 1, last.from + 20)] {
        let log = open(&disk);
        let [damage] = log.report().damage.as_slice() else { panic!("{:?}", log.report()) };
        assert_eq!((&damage.file, damage.position), (&last.file, last.from));
        assert_eq!(read_from(&log, &orders(), last.next).len() as u64, 100 - last.next);
    }
}

#[test]
fn a_journal_that_was_cut_off_is_told_and_no_offset_is_given_twice() {
    let disk = filled(10);
    let seventh = &all_frames(&disk, 1)[7];
    let disk = cut(&disk, 1, seventh.from + 20);
    let mut last = 9;
    for round in 0..3 {
        let log = open(&disk);
        assert_eq!(log.report().damage.len(), usize::from(round == 0), "{:?}", log.report());
        let found = log.read(&orders(), 0, 1 << 20).unwrap();
        assert_eq!(found.batches.len(), 7);
        let error = log.read(&orders(), 7, 1000).unwrap_err();
        assert!(matches!(error, LogError::Damaged { offset: 7, .. }), "{error}");
        if round > 0 {
            let offset = append(&log, &orders(), &["next"]).unwrap();
            assert!(offset > last, "offset {offset} is given twice");
            last = offset;
        }
    }
    // A file that loses nothing but the zeros after its last frame has lost nothing.
    let whole = filled(10);
    let mark = all_frames(&whole, 4).pop().unwrap();
    let log = open(&cut(&whole, 1, mark.to + 64));
    assert_eq!(log.report(), &OpenReport::default());
    assert_eq!(append(&log, &orders(), &["next"]).unwrap(), 10);
}
