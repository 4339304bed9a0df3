//! Flipped bits, files that were cut off and files that are gone: each is told, or does no harm.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on here has failed"
)]

#[path = "support/frames.rs"]
mod frames;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhara_log::batch::BatchBuilder;
use dhara_log::{
    Append, Damage, GroupOffset, Log, LogError, NewTopic, Note, Options, TopicConfig, TopicInfo,
    TopicPartition,
};
use dhara_world::disk::SimDisk;
use dhara_world::{Clock, Random, Timestamp};
use frames::{Frame, frames};
use support::{append, batch, read_from};

const DIR: &str = "/log";
const SALT: u64 = 7;
const SEGMENT: u64 = 4 << 10;

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn open(disk: &SimDisk) -> Result<Log, LogError> {
    let options = Options {
        first_segment_bytes: SEGMENT,
        segment_bytes: SEGMENT,
        settle_bytes: 2 * SEGMENT,
        max_unsettled_bytes: 16 * SEGMENT,
        tail_bytes: 0,
        clock: Clock::manual(Timestamp::from_millis(1_000_000)),
        salt: Some(SALT),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new(DIR), options)
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn keep_house(log: &Log) {
    while log.housekeep_step().unwrap() {}
}

fn commit(log: &Log, append: Append) -> u64 {
    let ticket = log.append(append);
    log.commit_step();
    ticket.wait().unwrap().base_offset()
}

/// A batch of an idempotent producer.
fn produced(sequence: i32, value: &str) -> Bytes {
    let mut bytes = batch(&[value]).to_vec();
    bytes[43..51].copy_from_slice(&77_i64.to_be_bytes());
    bytes[51..53].copy_from_slice(&3_i16.to_be_bytes());
    bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// Appends of every kind, `count` rounds of them.
fn fill(log: &Log, rounds: std::ops::Range<u32>, sequence: &mut i32, keeps_house: bool) {
    for round in rounds {
        let value =
            |what: &str| format!("{what} {round} {}", "x".repeat((round % 5) as usize * 17));
        append(log, &at("orders", round % 3), &[&value("one"), &value("two")]).unwrap();
        let mut prices = BatchBuilder::new();
        for shift in 0..2 {
            let key = format!("key {}", (round + shift) % 5);
            prices.push(1_000, Some(key.as_bytes()), Some(value("price").as_bytes()), []).unwrap();
        }
        let mut together = Append::batch(at("prices", round % 2), prices.finish());
        together.batches.push((at("trimmed", 0), batch(&[&value("together")])));
        together.offsets.push(GroupOffset::new("group", at("orders", round % 3), u64::from(round)));
        if round % 3 == 0 {
            let note = Bytes::from(value("note"));
            together
                .notes
                .push(Note { name: format!("note {}", round % 4).into(), value: Some(note) });
        }
        commit(log, together);
        commit(log, Append::batch(at("produced", 0), produced(*sequence, &value("produced"))));
        *sequence += 1;
        if keeps_house {
            keep_house(log);
        }
    }
}

/// How the log that is damaged was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Marked,
    Closed,
    Reopened,
}

/// A log with everything in it, over several epochs.
fn filled(left: Left) -> SimDisk {
    let disk = SimDisk::new();
    let mut sequence = 0;
    let log = open(&disk).unwrap();
    log.create_topic("orders", 2).unwrap();
    log.create_topic("gone", 1).unwrap();
    let config = TopicConfig { compact: true, ..TopicConfig::default() };
    log.new_topic(NewTopic { config, ..NewTopic::new("prices", 2) }).unwrap();
    log.create_topic("trimmed", 1).unwrap();
    log.create_topic("produced", 1).unwrap();
    log.add_partitions("orders", 3).unwrap();
    for round in 0..20 {
        append(&log, &at("gone", 0), &[&format!("gone {round}")]).unwrap();
    }
    fill(&log, 0..60, &mut sequence, true);
    log.delete_topic("gone").unwrap();
    log.trim(&[(at("trimmed", 0), 41)]).unwrap();
    log.close().unwrap();
    let log = open(&disk).unwrap();
    keep_house(&log);
    fill(&log, 60..80, &mut sequence, true);
    drop(log);
    // This epoch and the next stay in the journal.
    let log = open(&disk).unwrap();
    fill(&log, 80..86, &mut sequence, false);
    log.create_topic("late", 1).unwrap();
    append(&log, &at("late", 0), &["late 0"]).unwrap();
    let config =
        TopicConfig { retention: Some(Duration::from_secs(1 << 30)), ..TopicConfig::default() };
    log.configure_topic("late", config).unwrap();
    log.close().unwrap();
    let log = open(&disk).unwrap();
    log.set_aliases("late", &["later"]).unwrap();
    append(&log, &at("late", 0), &["late 1"]).unwrap();
    fill(&log, 86..90, &mut sequence, false);
    match left {
        Left::Marked => log.mark_step(),
        Left::Closed => log.close().unwrap(),
        Left::Reopened => {
            log.close().unwrap();
            drop(log);
            drop(open(&disk).unwrap());
        }
    }
    SimDisk::holding(disk.contents())
}

type Record = (Option<Bytes>, Option<Bytes>);

/// What a log holds, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    records: BTreeMap<(TopicPartition, u64), Record>,
    /// The ranges of offsets that reading told to be damaged.
    damaged: Vec<(TopicPartition, u64, u64)>,
    topics: Vec<TopicInfo>,
    earliest: BTreeMap<TopicPartition, u64>,
    ends: BTreeMap<TopicPartition, u64>,
    committed: BTreeMap<TopicPartition, u64>,
    notes: Vec<(Arc<str>, Bytes)>,
}

impl Held {
    fn of(log: &Log) -> Self {
        let mut held = Self { topics: log.topics(), notes: log.notes(""), ..Self::default() };
        for topic in &held.topics.clone() {
            for partition in (0..topic.partitions).map(|number| at(&topic.name, number)) {
                held.read(log, &partition);
            }
        }
        let committed = log.committed_all("group");
        held.committed = committed.into_iter().map(|(at, it)| (at, it.offset)).collect();
        held
    }

    fn read(&mut self, log: &Log, partition: &TopicPartition) {
        let bounds = log.bounds(partition).unwrap();
        self.earliest.insert(partition.clone(), bounds.earliest);
        self.ends.insert(partition.clone(), bounds.end);
        let mut next = bounds.earliest;
        while next < bounds.end {
            match log.read(partition, next, 3000) {
                Ok(fetched) => {
                    for batch in &fetched.batches {
                        for record in batch.records().unwrap() {
                            let record = record.unwrap();
                            if record.offset >= bounds.earliest {
                                let known = (record.key, record.value);
                                self.records.insert((partition.clone(), record.offset), known);
                            }
                        }
                    }
                    assert!(fetched.next > next, "{partition} at {next}: {fetched:?}");
                    next = fetched.next;
                }
                Err(LogError::Damaged { partition: named, offset, next: after, .. }) => {
                    assert_eq!(&named, partition);
                    assert!(offset >= next && after > offset, "{offset} {next} {after}");
                    self.damaged.push((named, offset, after));
                    next = after;
                }
                Err(error) => panic!("{partition} at {next}: {error}"),
            }
        }
    }

    fn is_told(&self, partition: &TopicPartition, offset: u64) -> bool {
        self.damaged.iter().any(|(at, from, to)| at == partition && (*from..*to).contains(&offset))
    }
}

/// What is done to a file.
#[derive(Clone, Debug)]
struct Harm {
    file: PathBuf,
    position: u64,
    /// The bit that is flipped; the file ends there where it is `None`.
    bit: Option<u8>,
    /// Whether the whole file is gone.
    is_gone: bool,
}

impl Harm {
    fn to(&self, mut files: Files) -> Files {
        if self.is_gone {
            files.remove(&self.file).unwrap();
            return files;
        }
        let bytes = files.get_mut(&self.file).unwrap();
        match self.bit {
            Some(bit) => bytes[self.position as usize] ^= 1 << bit,
            None => bytes.truncate(self.position as usize),
        }
        files
    }

    fn hits(&self, frame: &Frame) -> bool {
        let reaches = match self.bit {
            Some(_) => frame.from <= self.position && self.position < frame.to,
            None => frame.to > self.position,
        };
        frame.file == self.file && reaches
    }
}

/// A log before it is damaged.
struct Whole {
    files: Files,
    held: Held,
    frames: Vec<Frame>,
    /// Parts of files, by what they are: name, from, to.
    parts: BTreeMap<&'static str, Vec<(PathBuf, u64, u64)>>,
}

impl Whole {
    fn new(left: Left) -> Self {
        let disk = filled(left);
        let files = disk.contents();
        let frames = frames(&files, SALT);
        let log = open(&SimDisk::holding(files.clone())).unwrap();
        assert_eq!(read_from(&log, &at("late", 0), 0).len(), 2);
        assert_eq!(log.report(), &dhara_log::OpenReport::default());
        let held = Held::of(&log);
        assert_eq!(held.damaged, []);
        let mut whole = Self { files, held, frames, parts: BTreeMap::new() };
        whole.find_parts();
        whole
    }

    fn find_parts(&mut self) {
        let newest = |file: &PathBuf| {
            let of_file = self.frames.iter().filter(|frame| &frame.file == file);
            of_file.map(|frame| frame.sequence).max()
        };
        let kind = |file: &Path| file.extension().unwrap().to_string_lossy().into_owned();
        let journals: Vec<_> = self.files.keys().filter(|file| kind(file) == "journal").collect();
        let active = journals.iter().max_by_key(|file| newest(file)).unwrap().to_path_buf();
        for (file, bytes) in &self.files {
            let length = bytes.len() as u64;
            let mut put = |part, from, to| {
                self.parts.entry(part).or_default().push((file.clone(), from, to));
            };
            match kind(file).as_str() {
                "journal" if *file == active => {
                    let last = self.frames.iter().filter(|frame| frame.file == active);
                    let used = last.map(|frame| frame.to).max().unwrap();
                    put("active journal", 0, length);
                    put("active journal", 1024, used);
                }
                "journal" if file < &active => put("sealed journal", 0, length),
                "journal" => put("spare journal", 0, length),
                "state" => put("state", 0, length),
                "state-copy" => put("copy of the state", 0, length),
                "settled" => {
                    let index = 1024 + u64::from_le_bytes(bytes[40..48].try_into().unwrap());
                    put("settled header", 0, 1024);
                    put("settled frames", 1024, index);
                    put("settled index", index, length);
                }
                _ => {}
            }
        }
    }

    fn harm(&self, random: &Random) -> (&'static str, Harm) {
        let parts: Vec<_> = self.parts.iter().collect();
        let (part, places) = parts[random.below(parts.len() as u64) as usize];
        let (file, from, to) = &places[random.below(places.len() as u64) as usize];
        let position = from + random.below(to - from);
        let bit = (random.below(8) > 0).then(|| random.below(8) as u8);
        (part, Harm { file: file.clone(), position, bit, is_gone: false })
    }

    fn id_of(&self, partition: &TopicPartition) -> u32 {
        let topic = self.held.topics.iter().find(|topic| topic.name == partition.topic).unwrap();
        let first = topic.id as u32;
        // The third partition of this topic came later than the others.
        if &*topic.name == "orders" && partition.partition == 2 {
            7
        } else {
            first + partition.partition
        }
    }

    /// Whether bytes of a record were changed, or cut off.
    fn is_hit(&self, harm: &Harm, partition: &TopicPartition, offset: u64) -> bool {
        let id = self.id_of(partition);
        self.frames.iter().any(|frame| {
            frame.kind == 1
                && frame.partition == id
                && (frame.base..frame.next).contains(&offset)
                && harm.hits(frame)
        })
    }

    /// Everything that is not hit is there, what is missing is told, and nothing else is there.
    fn check(&self, harm: &Harm, log: &Log, found: &Held) {
        let damage: Vec<Damage> = log.report().damage.iter().cloned().chain(log.damage()).collect();
        for damage in &damage {
            assert_eq!(damage.file, harm.file, "{damage:?}");
        }
        for (key, record) in &found.records {
            assert_eq!(self.held.records.get(key), Some(record), "{key:?} was never written");
        }
        for (partition, offset) in self.held.records.keys() {
            if found.records.contains_key(&(partition.clone(), *offset)) {
                continue;
            }
            assert!(
                self.is_hit(harm, partition, *offset),
                "{partition} lost {offset}: {:?}, told: {:?}, near: {:?}",
                log.report(),
                found.damaged,
                self.frames.iter().filter(|frame| harm.hits(frame)).collect::<Vec<_>>()
            );
            let is_compact = &*partition.topic == "prices";
            let is_told = found.is_told(partition, *offset) || (is_compact && !damage.is_empty());
            let has_topic = found.topics.iter().any(|topic| topic.name == partition.topic);
            assert!(is_told || !has_topic, "{partition} lost {offset}, untold: {damage:?}");
        }
        let hits_kind = |kinds: &[u8]| {
            self.frames.iter().any(|frame| kinds.contains(&frame.kind) && harm.hits(frame))
        };
        let same_topics = found.topics == self.held.topics;
        let may_lose = harm.bit.is_none() && hits_kind(&[7, 8]);
        assert!(same_topics || (may_lose && !damage.is_empty()), "topics: {damage:?}");
        for (name, same, kinds) in [
            ("committed", found.committed == self.held.committed, [2, 2]),
            ("notes", found.notes == self.held.notes, [11, 11]),
            ("earliest", found.earliest == self.held.earliest || !same_topics, [9, 9]),
        ] {
            assert!(same || (hits_kind(&kinds) && !damage.is_empty()), "{name}: {damage:?}");
        }
        for (partition, end) in &found.ends {
            assert!(*end >= self.held.ends[partition], "{partition} ends at {end}");
        }
    }

    /// What is damaged in the journal is told with the place.
    fn check_place(&self, harm: &Harm, log: &Log, found: &Held) {
        if harm.file.extension().unwrap() != "journal" || found.records == self.held.records {
            return;
        }
        let covers = |damage: &Damage| {
            damage.position <= harm.position.next_multiple_of(8)
                && harm.position < damage.position + damage.length.max(1)
        };
        let damage = &log.report().damage;
        assert!(
            damage.iter().any(covers) || harm.bit.is_none(),
            "the place is not told: {damage:?}"
        );
    }

    /// The log goes on, and no offset is given twice.
    fn check_goes_on(&self, harm: &Harm, disk: &SimDisk, log: Log, found: &Held) {
        let mut given = BTreeMap::new();
        let mut log = log;
        for round in 0..2 {
            keep_house(&log);
            for (partition, end) in &found.ends {
                for number in 0..6 {
                    let value = format!("new {round} {number} {}", "y".repeat(300));
                    let offset = append(&log, partition, &[&value]).unwrap();
                    assert!(offset >= self.held.ends[partition] && offset >= *end, "{offset}");
                    assert!(given.insert((partition.clone(), offset), value).is_none(), "twice");
                }
            }
            log.settle().unwrap();
            keep_house(&log);
            let mut later = Held::of(&log);
            for ((partition, offset), value) in &given {
                let record = later.records.remove(&(partition.clone(), *offset));
                let read = record.unwrap_or_else(|| panic!("{partition} lost {offset}"));
                assert_eq!(read.1.unwrap(), value.as_bytes());
            }
            // What could be read can still be read, but for what a compaction removes.
            for (key, record) in &found.records {
                if &*key.0.topic != "prices" {
                    assert_eq!(later.records.get(key), Some(record), "{key:?} after the settling");
                }
            }
            for key in later.records.keys() {
                assert!(found.records.contains_key(key), "{key:?} came from nowhere");
            }
            for (partition, offset) in self.held.records.keys() {
                let key = (partition.clone(), *offset);
                if &*partition.topic != "prices"
                    && found.ends.contains_key(partition)
                    && !found.records.contains_key(&key)
                {
                    assert!(later.is_told(partition, *offset), "{key:?} is forgotten");
                }
            }
            if round == 0 {
                log.close().unwrap();
                drop(log);
                log = open(disk).unwrap();
                for damage in &log.report().damage {
                    assert_eq!(damage.file, harm.file, "{damage:?}");
                }
            }
        }
    }

    fn check_all(&self, harm: &Harm) {
        let disk = SimDisk::holding(harm.to(self.files.clone()));
        let log = open(&disk).unwrap();
        let found = Held::of(&log);
        self.check(harm, &log, &found);
        self.check_place(harm, &log, &found);
        self.check_goes_on(harm, &disk, log, &found);
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_told_or_harmless_and_the_rest_stays() {
    let wanted = std::env::var("DHARA_FLIPS").map_or(300, |text| text.parse().unwrap());
    let seed = std::env::var("DHARA_FLIPS_SEED").map_or(1, |text| text.parse().unwrap());
    let random = Random::from_seed(seed);
    let wholes = [Left::Marked, Left::Closed, Left::Reopened].map(Whole::new);
    let mut failed = BTreeMap::<String, usize>::new();
    for number in 0..wanted {
        let whole = &wholes[random.below(3) as usize];
        let (part, harm) = whole.harm(&random);
        let checked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| whole.check_all(&harm)));
        if checked.is_err() {
            eprintln!("harm {number}, to the {part}: {harm:?}");
            *failed.entry(part.to_owned()).or_default() += 1;
        }
        if failed.values().sum::<usize>() > 20 {
            break;
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn of_a_settled_file_or_a_state_that_is_gone_only_its_own_records_are_missing() {
    let whole = Whole::new(Left::Marked);
    for part in ["settled frames", "state", "copy of the state"] {
        for (file, ..) in &whole.parts[part] {
            let harm = Harm { file: file.clone(), position: 0, bit: None, is_gone: true };
            whole.check_all(&harm);
            let log = open(&SimDisk::holding(harm.to(whole.files.clone()))).unwrap();
            assert_eq!(log.report().damage.len(), usize::from(part == "settled frames"));
        }
    }
}
