//! How quickly a log opens, and how quickly it is read.

use std::path::Path;
use std::time::Instant;

use dhara_log::{Log, TopicPartition};

use crate::fill::TOPIC;
use crate::{open_log, process, tell};

const AT_A_TIME: usize = 1 << 20;

/// Opens a log that was not closed.
pub(crate) fn open(dir: &Path) {
    let resident = process::resident();
    let began = Instant::now();
    let log = open_log(dir);
    tell("open_seconds", began.elapsed().as_secs_f64());
    tell("resident_bytes", process::resident() - resident);
    tell("peak_bytes", process::peak());
    let partitions: u32 = log.topics().iter().map(|topic| topic.partitions).sum();
    tell("partitions", f64::from(partitions));
}

/// Reads up to `bytes` from the beginning of each of so many partitions, one after another. What
/// the log gives was checked.
pub(crate) fn read(dir: &Path, partitions: u64, bytes: u64, passes: u64) {
    let log = open_log(dir);
    for pass in 1..=passes {
        let began = Instant::now();
        let read: u64 = (0..partitions as u32).map(|number| read_one(&log, number, bytes)).sum();
        let rate = read as f64 / 1e6 / began.elapsed().as_secs_f64();
        tell(&format!("megabytes_{pass}"), read as f64 / 1e6);
        tell(&format!("megabytes_per_second_{pass}"), rate);
    }
    tell("peak_bytes", process::peak());
}

fn read_one(log: &Log, number: u32, bytes: u64) -> u64 {
    let partition = TopicPartition::new(TOPIC, number);
    let (mut next, mut read) = (0, 0);
    while read < bytes {
        let fetched = log.read(&partition, next, AT_A_TIME).unwrap();
        let Some(last) = fetched.batches.last() else { break };
        next = last.next_offset();
        read += fetched.batches.iter().map(|batch| batch.bytes().len() as u64).sum::<u64>();
    }
    read
}
