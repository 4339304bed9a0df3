//! What the tests share: schedules, a disk at which threads change, and readers that check.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use dhara_log::batch::BatchBuilder;
use dhara_log::{Append, Log, LogError, Options, TopicPartition};
use dhara_world::disk::{Disk, File, Lock, OpenMode, SimDisk};
use dhara_world::{Clock, Timestamp};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::{Config, MaxSteps, Runner};

/// How many orders each test is run in where nobody says.
const SCHEDULES: usize = 100;
/// The bugs that need so many particular changes of threads are found with a known probability.
const DEPTH: usize = 3;
pub(crate) const SEGMENT: u64 = 2 << 10;

/// Runs `body` in many orders: half of them at random, half with threads that come first until they
/// are passed over at a few random points.
pub(crate) fn check(body: fn()) {
    let schedules = std::env::var("DHARA_SCHEDULES").ok().and_then(|text| text.parse().ok());
    let half = schedules.unwrap_or(SCHEDULES).div_ceil(2);
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.max_steps = MaxSteps::FailAfter(300_000);
    Runner::new(RandomScheduler::new(half), config.clone()).run(body);
    Runner::new(PctScheduler::new(DEPTH, half), config).run(body);
}

/// A disk at whose every call another thread may come first.
#[derive(Debug)]
struct Switching {
    disk: SimDisk,
    calls: Arc<AtomicU64>,
}

#[derive(Debug)]
struct SwitchingFile {
    file: Arc<dyn File>,
    calls: Arc<AtomicU64>,
}

fn switch(calls: &AtomicU64) {
    calls.fetch_add(1, Ordering::SeqCst);
}

impl Disk for Switching {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        switch(&self.calls);
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(SwitchingFile { file, calls: Arc::clone(&self.calls) }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        switch(&self.calls);
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        switch(&self.calls);
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        switch(&self.calls);
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        switch(&self.calls);
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
}

impl File for SwitchingFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        switch(&self.calls);
        self.file.read_at(buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        switch(&self.calls);
        self.file.write_all_at(bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        switch(&self.calls);
        self.file.sync_data()
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.file.allocate(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn punch(&self, position: u64, length: u64) -> io::Result<()> {
        switch(&self.calls);
        self.file.punch(position, length)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// Opens the log of a disk, with files so short that few records fill them.
pub(crate) fn open(disk: &SimDisk) -> Log {
    open_with(disk, Options::default())
}

pub(crate) fn open_with(disk: &SimDisk, options: Options) -> Log {
    let options = Options {
        first_segment_bytes: SEGMENT,
        segment_bytes: SEGMENT,
        settle_bytes: SEGMENT,
        max_unsettled_bytes: 3 * SEGMENT,
        tail_bytes: 0,
        clock: Clock::manual(Timestamp::from_millis(1_000_000)),
        salt: Some(7),
        ..options
    };
    let disk = Switching { disk: disk.clone(), calls: Arc::default() };
    Log::open(Arc::new(disk), Path::new("/log"), options).unwrap()
}

pub(crate) fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

/// A batch of one record.
pub(crate) fn record(key: Option<&str>, value: &str) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(1_000, key.map(str::as_bytes), Some(value.as_bytes()), []).unwrap();
    builder.finish()
}

/// As [`record`], as the idempotent producer `producer` sends it.
pub(crate) fn sequenced(value: &str, producer: i64, sequence: i32) -> Bytes {
    let mut batch = record(None, value).to_vec();
    let mut put = |at: usize, bytes: &[u8]| {
        batch.get_mut(at..at + bytes.len()).unwrap().copy_from_slice(bytes);
    };
    put(43, &producer.to_be_bytes());
    put(51, &0_i16.to_be_bytes());
    put(53, &sequence.to_be_bytes());
    let crc = crc32c::crc32c(batch.get(21..).unwrap());
    batch.get_mut(17..21).unwrap().copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

/// A value that takes about a third of a segment, so that a few of them fill it.
pub(crate) fn long(name: &str) -> String {
    format!("{name} {}", "x".repeat(500))
}

/// Appends a record and waits until somebody has committed it.
pub(crate) fn put(log: &Log, to: &TopicPartition, key: Option<&str>, value: &str) -> u64 {
    try_put(log, to, key, value).unwrap()
}

pub(crate) fn try_put(
    log: &Log,
    to: &TopicPartition,
    key: Option<&str>,
    value: &str,
) -> Result<u64, LogError> {
    let append = Append::batch(to.clone(), record(key, value));
    log.append(append).wait().map(|appended| appended.base_offset())
}

/// One record as it was read: offset, key, and the first word of its value.
pub(crate) type Found = (u64, Option<String>, String);

/// Reads from `next` to the end; gives what there is and where it ends.
pub(crate) fn read_on(
    log: &Log,
    from: &TopicPartition,
    mut next: u64,
) -> Result<(Vec<Found>, u64), LogError> {
    let mut found = Vec::new();
    loop {
        let fetched = log.read(from, next, 700)?;
        if fetched.next == next {
            return Ok((found, next));
        }
        for batch in &fetched.batches {
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                let value = text(record.value.unwrap_or_default());
                let word = value.split(' ').next().unwrap().to_owned();
                found.extend(
                    (record.offset >= next).then(|| (record.offset, record.key.map(text), word)),
                );
            }
        }
        next = fetched.next;
    }
}

/// The first words of what a partition holds.
pub(crate) fn words(log: &Log, from: &TopicPartition) -> Vec<String> {
    let earliest = log.bounds(from).unwrap().earliest;
    let (found, _) = read_on(log, from, earliest).unwrap();
    found.into_iter().map(|(_, _, word)| word).collect()
}

/// Opens the log anew, which must find nothing damaged and nothing cut.
pub(crate) fn reopen(disk: &SimDisk) -> Log {
    let log = open(disk);
    assert_eq!(log.report().damage, []);
    log
}
