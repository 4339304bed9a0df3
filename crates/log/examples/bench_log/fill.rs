//! Logs that are filled, for those that read and open them.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhara_log::{Append, Committer, Log, Ticket, TopicPartition};

use crate::{backlog, batch, open_log, tell};

pub(crate) const TOPIC: &str = "filled";
/// Bytes that are on their way to the disk at a time.
const IN_FLIGHT: u64 = 32 << 20;
const GIGABYTE: u64 = 1_000_000_000;

/// Appends that wait for their acks, as many as fit into a number.
pub(crate) struct Window {
    tickets: VecDeque<Ticket>,
    depth: usize,
}

impl Window {
    pub(crate) fn new(depth: u64) -> Window {
        Window { tickets: VecDeque::new(), depth: depth.max(1) as usize }
    }

    pub(crate) fn push(&mut self, ticket: Ticket) {
        self.tickets.push_back(ticket);
        if self.tickets.len() == self.depth {
            self.tickets.pop_front().unwrap().wait().unwrap();
        }
    }

    pub(crate) fn drain(self) {
        self.tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
    }
}

/// Appends batches of 1 KB records over the partitions in turn.
pub(crate) struct Spread<'a> {
    log: &'a Log,
    encoded: Bytes,
    partitions: Vec<TopicPartition>,
    number: usize,
}

impl Spread<'_> {
    /// Makes the topic, with so many partitions.
    pub(crate) fn new(log: &Log, batch_bytes: u64, partitions: u64) -> Spread<'_> {
        log.create_topic(TOPIC, partitions as u32).unwrap();
        let encoded = batch(batch_bytes / 1024, 1024 - 16);
        let name = |number| TopicPartition::new(TOPIC, number);
        let partitions = (0..partitions as u32).map(name).collect();
        Spread { log, encoded, partitions, number: 0 }
    }

    /// Appends `bytes`, and waits for the last ack.
    pub(crate) fn append(&mut self, bytes: u64) -> Duration {
        let batch_bytes = self.encoded.len() as u64;
        let mut window = Window::new((IN_FLIGHT / batch_bytes).min(1_000));
        let began = Instant::now();
        for _ in 0..bytes.div_ceil(batch_bytes) {
            let partition = self.partitions.get(self.number % self.partitions.len()).unwrap();
            let append = Append::batch(partition.clone(), self.encoded.clone());
            window.push(self.log.append(append));
            self.number += 1;
        }
        window.drain();
        began.elapsed()
    }
}

/// Tells the backlog when `part` of four parts are written.
pub(crate) fn tell_backlog(log: &Log, part: u64) {
    tell(&format!("backlog_{part}"), backlog(log) as f64);
}

/// Fills a log, tells the rate in each gigabyte, and ends as a crash would.
pub(crate) fn fill(dir: &Path, bytes: u64, batch_bytes: u64, partitions: u64) {
    let log = open_log(dir);
    let _committer = Committer::start(&log).unwrap();
    let mut spread = Spread::new(&log, batch_bytes, partitions);
    let gigabytes = bytes.div_ceil(GIGABYTE);
    for gigabyte in 1..=gigabytes {
        let part = GIGABYTE.min(bytes - (gigabyte - 1) * GIGABYTE);
        let took = spread.append(part).as_secs_f64();
        tell(&format!("megabytes_per_second_in_{gigabyte}"), part as f64 / 1e6 / took);
        if gigabyte == gigabytes.div_ceil(2) {
            tell_backlog(&log, 2);
        }
    }
    tell_backlog(&log, 4);
    std::process::exit(0);
}

/// Makes topics, appends a record to each partition, and ends as a crash would.
pub(crate) fn create(dir: &Path, topics: u64, partitions: u64) {
    let log = open_log(dir);
    let _committer = Committer::start(&log).unwrap();
    let began = Instant::now();
    for topic in 0..topics {
        log.create_topic(&format!("topic-{topic}"), partitions as u32).unwrap();
    }
    tell("create_seconds", began.elapsed().as_secs_f64());
    let encoded = batch(1, 100);
    let mut window = Window::new(8);
    for topic in 0..topics {
        let topic: std::sync::Arc<str> = format!("topic-{topic}").into();
        let partitions = (0..partitions as u32)
            .map(|number| (TopicPartition::new(topic.clone(), number), encoded.clone()));
        let append = Append { batches: partitions.collect(), ..Append::default() };
        window.push(log.append(append));
    }
    window.drain();
    std::process::exit(0);
}
