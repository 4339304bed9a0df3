//! Offsets by time, and readers that lag behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

#[path = "support/codecs.rs"]
mod codecs;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use codecs::CODECS;
use dhara_log::batch::BatchBuilder;
use dhara_log::{Append, Log, LogError, NewTopic, Options, TopicConfig, TopicPartition};
use dhara_world::disk::SimDisk;
use dhara_world::{Clock, Timestamp};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{append, read_from};

#[global_allocator]
static ALLOCATED: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const SEGMENT: u64 = 8 << 10;

fn open(disk: &SimDisk, clock: &Clock) -> Log {
    let options = Options {
        first_segment_bytes: SEGMENT,
        segment_bytes: SEGMENT,
        settle_bytes: 2 * SEGMENT,
        clock: clock.clone(),
        salt: Some(7),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new("/log"), options).unwrap()
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_000_000))
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

#[test]
fn an_offset_is_found_by_its_time_in_settled_files_and_the_journal_whatever_compresses_it() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    log.create_topic("orders", 1).unwrap();
    let mut times: Vec<i64> = Vec::new();
    for number in 0..300_i64 {
        let mut builder = BatchBuilder::new();
        for shift in [0, 7, 3] {
            // Times go up over all, and back now and then.
            let time = 1_000 + number * 10 + shift - (number % 4) * 25;
            builder.push(time, None, Some(&[b'x'; 100]), []).unwrap();
            times.push(time);
        }
        let batch = CODECS[number as usize % CODECS.len()].batch(&builder.finish());
        let ticket = log.append(Append::batch(orders(), batch));
        log.commit_step();
        ticket.wait().unwrap();
        while log.housekeep_step().unwrap() {}
    }
    assert!(log.stats().settled_files > 0 && log.bounds(&orders()).unwrap().end == 900);
    let expected = |time: i64, from: usize| {
        let place = times.iter().skip(from).position(|other| *other >= time)?;
        Some(((from + place) as u64, times[from + place]))
    };
    for log in [log.clone(), {
        log.close().unwrap();
        open(&disk, &clock)
    }] {
        for time in (900..4_100).step_by(13) {
            assert_eq!(log.offset_at(&orders(), time).unwrap(), expected(time, 0), "at {time}");
        }
    }
    let log = open(&SimDisk::holding(disk.contents()), &clock);
    log.trim(&[(orders(), 100)]).unwrap();
    assert_eq!(log.offset_at(&orders(), 0).unwrap(), expected(0, 100));
    let unknown = log.offset_at(&TopicPartition::new("other", 0), 0);
    assert!(matches!(unknown, Err(LogError::Unknown { .. })));
}

#[test]
fn who_reads_what_has_expired_is_told_the_earliest_offset_and_goes_on_there() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    let config = TopicConfig { retention: Some(Duration::from_secs(5)), ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("orders", 1) }).unwrap();
    for number in 0..200 {
        let mut builder = BatchBuilder::new();
        let now = clock.now().as_millis() as i64;
        builder.push(now, None, Some("x".repeat(200).as_bytes()), []).unwrap();
        let ticket = log.append(Append::batch(orders(), builder.finish()));
        log.commit_step();
        assert_eq!(ticket.wait().unwrap().base_offset(), number);
        clock.set(clock.now().plus(Duration::from_millis(100)));
        while log.housekeep_step().unwrap() {}
    }
    for round in 0..2 {
        let log = if round == 0 { log.clone() } else { open(&disk, &clock) };
        let error = log.read(&orders(), 0, 1000).unwrap_err();
        let LogError::OutOfRange { earliest, offset: 0, end: 200, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(log.bounds(&orders()).unwrap().earliest, earliest);
        // Whole stretches expire, those of the last five seconds never.
        assert!((50..=150).contains(&earliest), "{earliest}");
        assert_eq!(read_from(&log, &orders(), earliest).len() as u64, 200 - earliest);
        log.close().unwrap();
    }
}

#[test]
fn a_slow_reader_costs_no_more_memory_than_it_asks_for() {
    let (disk, clock) = (SimDisk::new(), clock());
    let log = open(&disk, &clock);
    log.create_topic("orders", 8).unwrap();
    let value = "x".repeat(3000);
    for number in 0..2_000_u32 {
        append(&log, &TopicPartition::new("orders", number % 8), &[&value]).unwrap();
        while log.housekeep_step().unwrap() {}
    }
    let region = Region::new(ALLOCATED);
    // A reader that holds what it was given, of the beginning and of the newest.
    let mut held = Vec::new();
    for partition in 0..8 {
        for offset in [0, 120, 249] {
            let of = TopicPartition::new("orders", partition);
            held.push(log.read(&of, offset, 10_000).unwrap());
        }
    }
    let bytes: usize =
        held.iter().flat_map(|it| &it.batches).map(|batch| batch.bytes().len()).sum();
    let change = region.change();
    let taken = change.bytes_allocated - change.bytes_deallocated;
    // A settled file is read in blocks of 32 KiB, in buffers of twice that at most.
    assert!(bytes <= 24 * 13_000, "{bytes}");
    assert!(taken <= 24 * (128 << 10), "{taken} bytes for {bytes}");
}
