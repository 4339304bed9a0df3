//! How quickly the log appends, durably.

use std::path::Path;
use std::time::{Duration, Instant};

use dhara_log::{Append, Committer, TopicPartition};

use crate::bare::Bare;
use crate::fill::{Spread, TOPIC, Window, tell_backlog};
use crate::{batch, open_log, process, tell};

/// A record of this value makes a batch of 256 bytes.
const VALUE_OF_256: usize = 186;
/// Appends in a row, before it is the other's turn.
const TURN: u64 = 20;
const BARE_BYTES: u64 = 16 << 20;
/// What the bare loop of a bulk writes at a time, at least.
const BARE_WRITE: u64 = 1 << 20;
/// Bytes that a bulk appends in a row, before it is the bare loop's turn to write as many.
const SLICE: u64 = 128 << 20;

/// One append in flight, taking turns with a bare loop, on a log that has been written already.
/// Medians are told: others may use the disk too.
pub(crate) fn one(dir: &Path, appends: u64, prefill: u64) {
    let mut bare = Bare::make(&dir.join("bare"), BARE_BYTES);
    let log = open_log(dir);
    let committer = Committer::start(&log).unwrap();
    Spread::new(&log, 1 << 20, 1).append(prefill);
    let encoded = batch(1, VALUE_OF_256);
    let partition = TopicPartition::new(TOPIC, 0);
    let (mut of_log, mut of_bare) = (Vec::new(), Vec::new());
    for _ in 0..(appends / TURN).max(1) {
        for _ in 0..TURN {
            of_bare.push(bare.write(&encoded, 1));
        }
        for _ in 0..TURN {
            let began = Instant::now();
            log.append(Append::batch(partition.clone(), encoded.clone())).wait().unwrap();
            of_log.push(began.elapsed());
        }
    }
    tell("batch_bytes", encoded.len() as f64);
    tell("bare_per_second", 1.0 / median(of_bare).as_secs_f64());
    tell("appends_per_second", 1.0 / median(of_log).as_secs_f64());
    committer.stop().unwrap();
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap()
}

/// Many appends in flight, by tickets.
pub(crate) fn tickets(dir: &Path, appends: u64, depth: u64) {
    let log = open_log(dir);
    let committer = Committer::start(&log).unwrap();
    log.create_topic(TOPIC, 1).unwrap();
    let encoded = batch(1, VALUE_OF_256);
    let partition = TopicPartition::new(TOPIC, 0);
    let mut window = Window::new(depth);
    let (began, cpu) = (Instant::now(), process::cpu());
    for number in 0..appends {
        window.push(log.append(Append::batch(partition.clone(), encoded.clone())));
        if number == appends / 2 {
            tell_backlog(&log, 2);
        }
    }
    window.drain();
    let seconds = began.elapsed().as_secs_f64();
    tell("appends_per_second", appends as f64 / seconds);
    tell("cpu_microseconds", (process::cpu() - cpu).as_secs_f64() * 1e6 / appends as f64);
    tell_backlog(&log, 4);
    committer.stop().unwrap();
}

/// Batches of 1 KB records, taking turns with a bare loop, as the speed of a disk changes with the
/// time.
pub(crate) fn bulk(dir: &Path, bytes: u64, batch_bytes: u64, partitions: u64) {
    let mut bare = Bare::make(&dir.join("bare"), bytes.min(8 * SLICE));
    let log = open_log(dir);
    let committer = Committer::start(&log).unwrap();
    let mut spread = Spread::new(&log, batch_bytes, partitions);
    let written = vec![b'x'; batch_bytes.max(BARE_WRITE) as usize];
    let slices = bytes.div_ceil(SLICE);
    let (mut of_log, mut of_bare, mut busy) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for slice in 1..=slices {
        of_bare += bare.write(&written, SLICE / written.len() as u64);
        let cpu = process::cpu();
        of_log += spread.append(SLICE);
        busy += process::cpu() - cpu;
        if slice == slices.div_ceil(2) {
            tell_backlog(&log, 2);
        }
    }
    tell_backlog(&log, 4);
    let megabytes = (slices * SLICE) as f64 / 1e6;
    tell("bare_megabytes_per_second", megabytes / of_bare.as_secs_f64());
    tell("megabytes_per_second", megabytes / of_log.as_secs_f64());
    tell("cpu_seconds_per_gigabyte", busy.as_secs_f64() / (megabytes / 1e3));
    committer.stop().unwrap();
}

/// Batches of 100 records of 100 bytes: what a million records cost the processor, from the append
/// to the ack, with all that the log's own threads do.
pub(crate) fn cpu(dir: &Path, batches: u64) {
    let log = open_log(dir);
    let committer = Committer::start(&log).unwrap();
    log.create_topic(TOPIC, 16).unwrap();
    let encoded = batch(100, 100);
    let names: Vec<_> = (0..16).map(|number| TopicPartition::new(TOPIC, number)).collect();
    let mut window = Window::new(1_000);
    let cpu = process::cpu();
    for partition in names.iter().cycle().take(batches as usize) {
        window.push(log.append(Append::batch(partition.clone(), encoded.clone())));
    }
    window.drain();
    let spent = (process::cpu() - cpu).as_secs_f64();
    tell("cpu_seconds_per_million", spent * 1e6 / (batches as f64 * 100.0));
    committer.stop().unwrap();
}
