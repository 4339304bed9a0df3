//! What the fuzzing targets feed: the readers of every file, over a whole log on a simulated disk.
//!
//! An input is a byte and a file. Where the byte is even, the file's checksums are made to fit what is
//! in it, so that mutations get past them. Nothing may panic, or take memory for a claimed length.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dhara_world::disk::SimDisk;
use dhara_world::{Clock, Timestamp};

use crate::batch::{BatchBuilder, CHECKED_FROM, LENGTH_PREFIX, Retained};
use crate::frame;
use crate::segment::{self, Folder};
use crate::settled;
use crate::state;
use crate::{
    Append, GroupOffset, Log, LogError, NewTopic, Note, Options, RecordBatch, TopicConfig,
    TopicPartition,
};

const DIR: &str = "/log";
const SALT: u64 = 7;
const SEGMENT: u64 = 4 << 10;
/// The most that a batch may take once it is decompressed.
const DECOMPRESSED: usize = 64 << 10;
/// A reader asks no more often than this.
const READS: usize = 64;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file of the journal, among others that are as they were written.
    Journal,
    /// Both copies of the state.
    State,
    /// A settled file: its header, its frames, its index.
    Settled,
    /// A record batch as a producer sends it.
    Batch,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 4] = [Self::Journal, Self::State, Self::Settled, Self::Batch];

    /// The name that it has on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::State => "state",
            Self::Settled => "settled",
            Self::Batch => "batch",
        }
    }

    /// Good inputs, to begin with.
    pub fn seeds(self) -> Vec<Vec<u8>> {
        let of_kind = |kind: &'static str| {
            let files = template().iter();
            let of_kind =
                files.filter(move |(path, _)| path.extension().is_some_and(|it| it == kind));
            of_kind.map(|(_, file)| file.clone())
        };
        let files: Vec<_> = match self {
            Self::Journal => of_kind("journal").collect(),
            Self::State => of_kind("state").collect(),
            Self::Settled => of_kind("settled").collect(),
            Self::Batch => [batch(1, 0), batch(9, 3)].map(|batch| batch.to_vec()).into(),
        };
        let with_byte = |byte: u8, file: &[u8]| [&[byte], file].concat();
        files.iter().flat_map(|file| [with_byte(0, file), with_byte(1, file)]).collect()
    }

    /// Reads one input.
    pub fn run(self, input: &[u8]) {
        let Some((byte, file)) = input.split_first() else { return };
        let (file, is_sealed) = (file.to_vec(), byte.is_multiple_of(2));
        let disk = match self {
            Self::Journal => with_journal(file, is_sealed),
            Self::State => with_state(file, is_sealed),
            Self::Settled => with_settled(file, is_sealed),
            Self::Batch => return read_batch(file, is_sealed),
        };
        if let Some(disk) = disk {
            // Of files whose checksums somebody made fit nothing is promised but that no reader
            // panics, or takes memory for what they claim.
            use_log(&disk, is_sealed);
        }
    }
}

fn options() -> Options {
    Options {
        first_segment_bytes: SEGMENT,
        segment_bytes: SEGMENT,
        settle_bytes: SEGMENT,
        max_unsettled_bytes: 16 * SEGMENT,
        tail_bytes: 0,
        max_append_bytes: 1 << 20,
        max_key_bytes: 1 << 20,
        max_producers: 100,
        clock: Clock::manual(Timestamp::from_millis(1_000_000)),
        salt: Some(SALT),
        ..Options::default()
    }
}

fn open(disk: &SimDisk) -> Result<Log, LogError> {
    Log::open(Arc::new(disk.clone()), DIR, options())
}

/// A batch of `count` records with keys.
fn batch(count: i64, from: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    for number in from..from + count {
        let key = [b"key", (number % 4).to_string().as_bytes()].concat();
        let value = [b'x'; 40];
        let value = (number % 5 != 4).then_some(value.as_slice());
        let pushed = builder.push(1_000 + number, Some(&key), value, [("name", None)]);
        debug_assert!(pushed.is_ok());
    }
    builder.finish()
}

/// The files of a log in which everything is that there may be.
fn template() -> &'static Files {
    static TEMPLATE: OnceLock<Files> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let disk = SimDisk::new();
        let made = open(&disk).and_then(|log| fill(&log));
        debug_assert!(made.is_ok(), "{made:?}");
        disk.contents()
    })
}

fn fill(log: &Log) -> Result<(), LogError> {
    log.create_topic("orders", 2)?;
    let config = TopicConfig { compact: true, ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("keys", 1) })?;
    for number in 0..60 {
        let partition = match number % 3 {
            2 => TopicPartition::new("keys", 0),
            other => TopicPartition::new("orders", other),
        };
        let mut append = Append::batch(partition.clone(), batch(2, number.into()));
        if number % 10 == 0 {
            append.offsets.push(GroupOffset::new("group", partition, u64::from(number)));
            append.notes.push(Note { name: "note".into(), value: Some("said".into()) });
        }
        log.append(append).wait()?;
        if number == 40 {
            log.settle()?;
            while log.housekeep_step()? {}
        }
    }
    log.trim(&[(TopicPartition::new("orders", 1), 3)])
}

/// The template, with the last file of its journal replaced.
fn with_journal(mut file: Vec<u8>, is_sealed: bool) -> Option<SimDisk> {
    if is_sealed {
        seal_headers(&mut file, 512);
        let length = file.len();
        seal_frames(&mut file, crate::codec::size(segment::HEADER), length);
    }
    let mut files = template().clone();
    let is_journal = |path: &&PathBuf| path.extension().is_some_and(|it| it == "journal");
    let last = files.keys().rfind(is_journal)?.clone();
    files.insert(last, file);
    Some(SimDisk::holding(files))
}

/// The template, with both copies of its state replaced.
fn with_state(mut file: Vec<u8>, is_sealed: bool) -> Option<SimDisk> {
    if is_sealed {
        let rest = file.get(16..).unwrap_or_default();
        let crc = crc32c::crc32c(rest);
        set(&mut file, 12, &crc.to_le_bytes());
    }
    let mut files = template().clone();
    for (path, bytes) in &mut files {
        if path.extension().is_some_and(|it| it == "state" || it == "state-copy") {
            bytes.clone_from(&file);
        }
    }
    Some(SimDisk::holding(files))
}

/// The template, with its first settled file replaced.
fn with_settled(mut bytes: Vec<u8>, is_sealed: bool) -> Option<SimDisk> {
    let mut files = template().clone();
    let is_settled = |path: &&PathBuf| path.extension().is_some_and(|it| it == "settled");
    let path = files.keys().find(is_settled)?.clone();
    if !is_sealed {
        files.insert(path, bytes);
        return Some(SimDisk::holding(files));
    }
    // What the header claims of the frames' length is believed where it fits.
    let claimed = bytes.get(40..48).and_then(|bytes| bytes.try_into().ok());
    let room = (bytes.len() as u64).checked_sub(settled::HEADER)?;
    let frame_bytes = claimed.map_or(room, u64::from_le_bytes).min(room) / 8 * 8;
    let end = crate::codec::size(settled::HEADER + frame_bytes);
    seal_frames(&mut bytes, crate::codec::size(settled::HEADER), end);
    let disk = SimDisk::holding(files.clone());
    let loaded = state::load(&folder(&disk), 100).ok()?;
    let (mut state, number) = (loaded.state?, loaded.highest + 1);
    let file = state.settled.first_mut()?;
    file.frame_bytes = frame_bytes;
    file.length = bytes.len() as u64;
    file.index_crc = settled::index_crc(bytes.get(end..).unwrap_or_default(), file.number, SALT);
    set(&mut bytes, 0, &file.header(SALT));
    files.insert(path, bytes);
    let disk = SimDisk::holding(files);
    state::store(&folder(&disk), number, &state).ok()?;
    Some(disk)
}

fn folder(disk: &SimDisk) -> Folder {
    Folder::new(Arc::new(disk.clone()), DIR.into())
}

/// Makes the checksums of both copies of a header fit.
fn seal_headers(bytes: &mut [u8], copy: usize) {
    for at in [0, copy] {
        let Some(rest) = bytes.get(at + 16..at + 64) else { return };
        let crc = crc32c::crc32c(rest);
        set(bytes, at + 12, &crc.to_le_bytes());
    }
}

/// Makes the checksums of the frames between two places fit, as long as one follows another.
fn seal_frames(bytes: &mut [u8], mut at: usize, end: usize) {
    while let Some(header) = bytes.get(at..at.saturating_add(frame::HEADER)) {
        let length =
            header.get(8..12).and_then(|it| it.try_into().ok()).map_or(0, u32::from_le_bytes);
        let body = at + frame::HEADER..(at + frame::HEADER).saturating_add(length as usize);
        if body.end > end {
            return;
        }
        let body_crc = crc32c::crc32c(bytes.get(body).unwrap_or_default());
        set(bytes, at + 4, &body_crc.to_le_bytes());
        let rest = bytes.get(at + 4..at + frame::HEADER).unwrap_or_default();
        let crc = frame::header_crc(SALT, rest);
        set(bytes, at, &crc.to_le_bytes());
        at = at.saturating_add(frame::span(length as usize));
    }
}

/// Puts `new` over what is at a place, as far as there is room.
fn set(bytes: &mut [u8], at: usize, new: &[u8]) {
    let place = bytes.get_mut(at..).unwrap_or_default();
    place.iter_mut().zip(new).for_each(|(to, from)| *to = *from);
}

/// Opens the log and does with it what its users do.
fn use_log(disk: &SimDisk, is_forged: bool) {
    let Ok(log) = open(disk) else { return };
    let orders = TopicPartition::new("orders", 0);
    for topic in log.topics() {
        for number in 0..topic.partitions.min(4) {
            let partition = TopicPartition::new(Arc::clone(&topic.name), number);
            read_all(&log, &partition, is_forged);
            drop(log.offset_at(&partition, 1_030));
        }
    }
    let before = log.bounds(&orders);
    let appended = log.append(Append::batch(orders.clone(), batch(2, 0))).wait();
    // What can be done is done; what cannot is an error.
    drop(log.settle());
    for _ in 0..8 {
        drop(log.housekeep_step());
    }
    if let Ok(bounds) = &before {
        drop(log.trim(&[(orders.clone(), bounds.end)]));
    }
    drop(log.close());
    if is_forged {
        drop(open(disk));
        return;
    }
    if let (Ok(before), Ok(appended)) = (before, appended) {
        assert_eq!(appended.base_offset(), before.end, "an offset that is not the next");
        let log = open(disk);
        assert!(log.is_ok(), "a log that was written to is not opened again: {log:?}");
        let read = log.and_then(|log| log.read(&orders, before.end, 1 << 20));
        let first = read.as_ref().ok().and_then(|read| read.batches.first());
        let found = first.map(|batch| (batch.base_offset(), batch.record_count()));
        assert_eq!(found, Some((before.end, 2)), "what was acked is not read: {read:?}");
    }
}

fn read_all(log: &Log, partition: &TopicPartition, is_forged: bool) {
    let Ok(bounds) = log.bounds(partition) else { return };
    assert!(is_forged || bounds.earliest <= bounds.end, "{bounds:?}");
    let mut next = bounds.earliest;
    for _ in 0..READS {
        match log.read(partition, next, 1_000) {
            Ok(fetched) => {
                let is_sound = fetched.next >= next && fetched.next <= fetched.end;
                assert!(is_forged || is_sound, "{fetched:?}");
                for batch in &fetched.batches {
                    let records = batch.records_within(DECOMPRESSED);
                    records.into_iter().flatten().for_each(drop);
                }
                if fetched.next == next {
                    return;
                }
                next = fetched.next;
            }
            Err(LogError::Damaged { next: after, .. }) if after > next => next = after,
            Err(_) => return,
        }
    }
}

fn read_batch(mut bytes: Vec<u8>, is_sealed: bool) {
    if is_sealed {
        let length = i32::try_from(bytes.len().saturating_sub(LENGTH_PREFIX)).unwrap_or(i32::MAX);
        set(&mut bytes, 8, &length.to_be_bytes());
        set(&mut bytes, 16, &[2]);
        let crc = crc32c::crc32c(bytes.get(CHECKED_FROM..).unwrap_or_default());
        set(&mut bytes, 17, &crc.to_be_bytes());
    }
    let bytes = Bytes::from(bytes);
    drop(RecordBatch::split(bytes.clone()));
    let Ok(batch) = RecordBatch::parse(bytes) else { return };
    let Ok(records) = batch.records_within(DECOMPRESSED) else { return };
    let Ok(records) = records.collect::<Result<Vec<_>, _>>() else { return };
    assert!(records.iter().all(|it| it.offset < batch.next_offset()), "{batch:?}");
    for record in &records {
        assert_eq!(record.headers.iter().count(), record.headers.len());
    }
    let stays = |offset: u64| offset.is_multiple_of(2);
    if let Ok(Retained::Some(bytes)) = batch.retain(|record| stays(record.offset)) {
        let left = RecordBatch::parse(bytes).and_then(|left| left.records()?.collect());
        let left: Result<Vec<_>, LogError> = left;
        let wanted: Vec<_> = records.into_iter().filter(|record| stays(record.offset)).collect();
        assert!(left.is_ok_and(|left| left == wanted), "{batch:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_read_whole() {
        for target in Target::ALL {
            let seeds = target.seeds();
            assert!(seeds.len() >= 2, "{target:?}");
            seeds.iter().for_each(|seed| target.run(seed));
        }
    }

    #[test]
    fn sealing_changes_nothing_of_what_is_good() {
        for (path, file) in template() {
            let mut sealed = file.clone();
            if path.extension().is_some_and(|it| it == "journal") {
                seal_headers(&mut sealed, 512);
                let used =
                    sealed.chunks(64).rposition(|it| it.iter().any(|byte| *byte != 0)).unwrap();
                seal_frames(&mut sealed, 1024, used * 64);
                assert_eq!(&sealed, file, "{}", path.display());
            }
        }
    }
}
