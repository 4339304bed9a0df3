//! The log on the operating system's file system.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dhara_log::{
    Append, Committer, Condition, GroupOffset, Log, LogError, Options, TopicPartition,
};
use dhara_world::disk::RealDisk;
use support::{append, batch, read_from};

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("dhara-log-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        Self(dir)
    }

    fn open(&self) -> Result<Log, LogError> {
        Log::open(Arc::new(RealDisk), &self.0, options())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

fn options() -> Options {
    Options { first_segment_bytes: 16 << 10, segment_bytes: 64 << 10, ..Options::default() }
}

fn orders(partition: u32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

#[test]
fn what_was_acked_is_there_after_the_log_is_opened_again() {
    let folder = Folder::new("again");
    let log = folder.open().unwrap();
    let committer = Committer::start(&log).unwrap();
    log.create_topic("orders", 2).unwrap();
    assert_eq!(
        log.append(Append::batch(orders(0), batch(&["a", "b"]))).wait().unwrap().base_offset(),
        0
    );
    assert_eq!(
        log.append(Append::batch(orders(0), batch(&["c"]))).wait().unwrap().base_offset(),
        2
    );
    let offsets = vec![GroupOffset::new("payment", orders(0), 2)];
    log.append(Append::lazy_offsets(offsets)).wait().unwrap();
    committer.stop().unwrap();
    drop(log);

    let log = folder.open().unwrap();
    assert_eq!(log.report(), &dhara_log::OpenReport::default());
    let values: Vec<_> = read_from(&log, &orders(0), 0);
    assert_eq!(values, [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
    assert_eq!(log.committed("payment", &orders(0)).unwrap().offset, 2);
    assert_eq!(log.committed("payment", &orders(1)), None);
    assert_eq!(append(&log, &orders(0), &["d"]).unwrap(), 3);
}

#[test]
fn a_second_holder_is_told_which_folder_is_taken() {
    let folder = Folder::new("locked");
    let log = folder.open().unwrap();
    let error = folder.open().unwrap_err();
    assert!(matches!(&error, LogError::Locked { dir } if dir == &folder.0), "{error}");
    assert!(error.to_string().contains(&folder.0.display().to_string()));
    log.close().unwrap();
    folder.open().unwrap();
}

#[test]
fn records_of_sealed_segments_are_read_through_their_indexes_before_and_after_a_restart() {
    let folder = Folder::new("sealed");
    let log = folder.open().unwrap();
    log.create_topic("orders", 3).unwrap();
    let mut expected = vec![Vec::new(); 3];
    let filler = "x".repeat(300);
    for round in 0..1_500_u64 {
        let partition = (round % 7 % 3) as u32;
        let value = format!("{round} {filler}");
        let offset = append(&log, &orders(partition), &[&value]).unwrap();
        expected[partition as usize].push((offset, value));
        while round % 100 == 0 && log.housekeep_step().unwrap() {}
    }
    while log.housekeep_step().unwrap() {}
    for partition in 0..3 {
        assert_eq!(read_from(&log, &orders(partition), 0), expected[partition as usize]);
    }
    drop(log);
    let log = folder.open().unwrap();
    for partition in 0..3 {
        assert_eq!(read_from(&log, &orders(partition), 0), expected[partition as usize]);
        let middle = expected[partition as usize].len() / 2;
        let found = read_from(&log, &orders(partition), middle as u64);
        assert_eq!(found, expected[partition as usize][middle..]);
    }
}

#[test]
fn of_two_appends_with_the_same_expectation_one_wins() {
    let folder = Folder::new("condition");
    let log = folder.open().unwrap();
    log.create_topic("orders", 1).unwrap();
    let ticket = |value: &str| {
        let condition = Condition::NextOffset(orders(0), 0);
        log.append(Append::batch(orders(0), batch(&[value])).only_if(condition))
    };
    let (first, second) = (ticket("a"), ticket("b"));
    log.commit_step();
    assert_eq!(first.wait().unwrap().base_offset(), 0);
    let error = second.wait().unwrap_err();
    assert!(matches!(error, LogError::Conflict { expected: 0, actual: 1, .. }), "{error}");
    assert_eq!(read_from(&log, &orders(0), 0).len(), 1);
}

#[test]
fn many_writers_and_one_watcher_see_every_record_once_and_in_order() {
    let folder = Folder::new("threads");
    let log = folder.open().unwrap();
    let committer = Committer::start(&log).unwrap();
    log.create_topic("orders", 4).unwrap();
    let partitions: Vec<_> = (0..4).map(orders).collect();
    let watch = log.watch(&partitions).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_u32 {
            let log = log.clone();
            scope.spawn(move || {
                for round in 0..200 {
                    let value = format!("{writer}-{round}");
                    log.append(Append::batch(orders(writer), batch(&[&value]))).wait().unwrap();
                }
            });
        }
        let mut found = vec![Vec::new(); 4];
        while found.iter().map(Vec::len).sum::<usize>() < 800 {
            for place in watch.wait().unwrap() {
                let from = found[place].len() as u64;
                found[place].extend(read_from(&log, &partitions[place], from));
            }
        }
        for (writer, values) in found.iter().enumerate() {
            let expected: Vec<_> =
                (0..200).map(|round| (round, format!("{writer}-{round}"))).collect();
            assert_eq!(values, &expected);
        }
    });
    committer.stop().unwrap();
    assert!(matches!(watch.wait(), Err(LogError::Closed)));
}
