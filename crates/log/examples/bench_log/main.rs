//! Measures the log on the real disk, one figure a process: `cargo xtask bench log` runs it.
//!
//! `bench_log FIGURE DIR [NUMBER]...` prints lines of a name and a number. `DIR` is on the disk
//! that is measured.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

mod appends;
mod bare;
mod fill;
mod memory;
mod process;
mod reads;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use dhara_log::batch::BatchBuilder;
use dhara_log::{Log, Options};
use dhara_world::disk::RealDisk;

const USAGE: &str = "\
bench_log one DIR APPENDS PREFILL           one append of 256 B in flight, beside a bare loop
bench_log tickets DIR APPENDS DEPTH         many appends of 256 B in flight
bench_log bulk DIR BYTES BATCH PARTITIONS   1 KB records in batches, beside a bare loop
bench_log cpu DIR BATCHES                   processor time of batches of 100 records of 100 B
bench_log fill DIR BYTES BATCH PARTITIONS   fills a log, and ends without closing it
bench_log create DIR TOPICS PARTITIONS      makes topics with a record in each partition, and ends likewise
bench_log open DIR                          opens a log: time and memory
bench_log read DIR PARTITIONS BYTES PASSES  reads so much from the beginning of each partition
bench_log memory DIR BYTES SLOW HELD        peak memory of a load with slow readers, and with reads held
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (words, numbers) = arguments.split_at(arguments.len().min(2));
    let numbers: Vec<u64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let [figure, dir] = words else {
        eprint!("{USAGE}");
        return ExitCode::from(64);
    };
    let dir = Path::new(dir);
    match (figure.as_str(), numbers.as_slice()) {
        ("one", [appends, prefill]) => appends::one(dir, *appends, *prefill),
        ("tickets", [appends, depth]) => appends::tickets(dir, *appends, *depth),
        ("bulk", [bytes, batch, partitions]) => appends::bulk(dir, *bytes, *batch, *partitions),
        ("cpu", [batches]) => appends::cpu(dir, *batches),
        ("fill", [bytes, batch, partitions]) => fill::fill(dir, *bytes, *batch, *partitions),
        ("create", [topics, partitions]) => fill::create(dir, *topics, *partitions),
        ("open", []) => reads::open(dir),
        ("read", [partitions, bytes, passes]) => reads::read(dir, *partitions, *bytes, *passes),
        ("memory", [bytes, slow, held]) => memory::readers(dir, *bytes, *slow, *held),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

/// Says a number by its name.
fn tell(name: &str, value: f64) {
    println!("{name} {value}");
}

fn open_log(dir: &Path) -> Log {
    Log::open(Arc::new(RealDisk), dir.join("log"), Options::default()).unwrap()
}

/// Bytes that were written and wait to be settled.
fn backlog(log: &Log) -> u64 {
    log.stats().unsettled_bytes
}

/// A batch of so many records, with values of `length` bytes.
fn batch(records: u64, length: usize) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(records as usize * (length + 16));
    let value = vec![b'x'; length];
    for _ in 0..records {
        builder.push(0, None, Some(&value), []).unwrap();
    }
    builder.finish()
}
