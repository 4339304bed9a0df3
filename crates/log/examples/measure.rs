//! Measures the log on the real disk: `cargo run --release -p dhara-log --example measure DIR`.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dhara_log::batch::BatchBuilder;
use dhara_log::{Append, Committer, Log, Options, TopicPartition};
use dhara_world::disk::RealDisk;

fn main() {
    let dir = std::env::args().nth(1).map(PathBuf::from);
    let dir = dir.unwrap_or_else(|| std::env::temp_dir().join("dhara-measure"));
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).unwrap();
    println!("bare write of 256 B and fdatasync, zeroed file: {:?}", bare(&dir.join("bare")));
    let began = Instant::now();
    let log = Log::open(Arc::new(RealDisk), dir.join("log"), Options::default()).unwrap();
    println!("open of an empty folder: {:?}", began.elapsed());
    let committer = Committer::start(&log).unwrap();
    log.create_topic("one", 4).unwrap();
    log.create_topic("many", 1_000).unwrap();
    println!("one append in flight, 256 B: {:?}", median(1_000, || one(&log)));
    let (rate, cpu) = in_flight(&log, 500_000, 1_000);
    println!("1,000 in flight, 256 B: {rate:.0}/s, {cpu:.2} µs CPU each");
    println!("1 KB records in 1 MB batches: {:.0} MB/s", bulk(&log, 600, 1 << 20, 1));
    println!("64 KB batches over 1,000 partitions: {:.0} MB/s", bulk(&log, 6_000, 64 << 10, 1_000));
    println!("read back: {:.0} MB/s", read_back(&log));
    committer.stop().unwrap();
    drop(log);
    let began = Instant::now();
    let log = Log::open(Arc::new(RealDisk), dir.join("log"), Options::default()).unwrap();
    println!("open again, {} MB: {:?}", size(&dir) >> 20, began.elapsed());
    println!("resident: {} KB", resident());
    drop(log);
    std::fs::remove_dir_all(&dir).unwrap();
}

fn bare(path: &Path) -> Duration {
    let file = OpenOptions::new().create_new(true).write(true).open(path).unwrap();
    file.write_all_at(&vec![0; 16 << 20], 0).unwrap();
    file.sync_data().unwrap();
    let mut at = 0;
    median(1_000, || {
        file.write_all_at(&[1; 256], at).unwrap();
        file.sync_data().unwrap();
        at += 256;
    })
}

fn median(times: usize, mut run: impl FnMut()) -> Duration {
    let mut all: Vec<_> = (0..times)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed()
        })
        .collect();
    all.sort();
    all.get(times / 2).copied().unwrap()
}

fn batch(records: usize, length: usize) -> bytes::Bytes {
    let mut builder = BatchBuilder::with_capacity(records * (length + 16));
    for _ in 0..records {
        builder.push(0, None, Some(&vec![b'x'; length]), []).unwrap();
    }
    builder.finish()
}

fn one(log: &Log) {
    log.append(Append::batch(TopicPartition::new("one", 0), batch(1, 180))).wait().unwrap();
}

fn in_flight(log: &Log, count: usize, depth: usize) -> (f64, f64) {
    let partition = TopicPartition::new("one", 1);
    let bytes = batch(1, 180);
    let (began, cpu) = (Instant::now(), cpu());
    let mut tickets = std::collections::VecDeque::new();
    for _ in 0..count {
        tickets.push_back(log.append(Append::batch(partition.clone(), bytes.clone())));
        if tickets.len() == depth {
            tickets.pop_front().unwrap().wait().unwrap();
        }
    }
    tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
    let spent = (self::cpu() - cpu).as_secs_f64() * 1e6 / count as f64;
    (count as f64 / began.elapsed().as_secs_f64(), spent)
}

fn bulk(log: &Log, count: usize, length: usize, partitions: u32) -> f64 {
    let bytes = batch(length / 1024, 1024);
    let began = Instant::now();
    let mut tickets = std::collections::VecDeque::new();
    for number in 0..count {
        let partition = TopicPartition::new("many", number as u32 % partitions);
        tickets.push_back(log.append(Append::batch(partition, bytes.clone())));
        if tickets.len() == 32 {
            tickets.pop_front().unwrap().wait().unwrap();
        }
    }
    tickets.into_iter().for_each(|ticket| drop(ticket.wait().unwrap()));
    (count * length) as f64 / 1e6 / began.elapsed().as_secs_f64()
}

fn read_back(log: &Log) -> f64 {
    let partition = TopicPartition::new("many", 0);
    let (began, mut next, mut bytes) = (Instant::now(), 0, 0);
    loop {
        let fetched = log.read(&partition, next, 4 << 20).unwrap();
        let Some(last) = fetched.batches.last() else { break };
        next = last.next_offset();
        bytes += fetched.batches.iter().map(|batch| batch.bytes().len()).sum::<usize>();
    }
    bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: u64 = stat.split(' ').skip(13).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
}

fn size(dir: &Path) -> u64 {
    let log = std::fs::read_dir(dir.join("log")).unwrap();
    log.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}
