//! What readers cost in memory while the log is written at full speed.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use dhara_log::{Committer, Fetched, Log, TopicPartition};

use crate::fill::{Spread, TOPIC};
use crate::{open_log, process, tell};

const PARTITIONS: u64 = 16;
const BATCH: u64 = 64 << 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Writes with `slow` readers that fall behind, each of which keeps a megabyte for a while, and
/// with one who reads a batch at the end now and then and keeps the last `held` of them.
pub(crate) fn readers(dir: &Path, bytes: u64, slow: u64, held: u64) {
    let log = open_log(dir);
    let committer = Committer::start(&log).unwrap();
    let mut spread = Spread::new(&log, BATCH, PARTITIONS);
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..slow {
            let (log, is_done) = (&log, &is_done);
            scope.spawn(move || fall_behind(log, (number % PARTITIONS) as u32, is_done));
        }
        if held > 0 {
            scope.spawn(|| hold(&log, held as usize, &is_done));
        }
        spread.append(bytes);
        is_done.store(true, Ordering::Relaxed);
    });
    tell("peak_bytes", process::peak());
    committer.stop().unwrap();
}

fn fall_behind(log: &Log, number: u32, is_done: &AtomicBool) {
    let partition = TopicPartition::new(TOPIC, number);
    let mut next = 0;
    while !is_done.load(Ordering::Relaxed) {
        let fetched = log.read(&partition, next, 1 << 20).unwrap();
        next = fetched.batches.last().map_or(next, |last| last.next_offset());
        thread::sleep(PAUSE);
    }
}

fn hold(log: &Log, most: usize, is_done: &AtomicBool) {
    let mut kept: std::collections::VecDeque<Fetched> = std::collections::VecDeque::new();
    let partition = TopicPartition::new(TOPIC, 0);
    while !is_done.load(Ordering::Relaxed) {
        let end = log.bounds(&partition).unwrap().end;
        kept.push_back(log.read(&partition, end.saturating_sub(1), 1).unwrap());
        if kept.len() > most {
            kept.pop_front();
        }
        thread::sleep(Duration::from_millis(1));
    }
}
