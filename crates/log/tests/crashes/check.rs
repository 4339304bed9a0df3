//! Opens what a crash left, and compares it with what may be there.

use std::collections::BTreeMap;
use std::sync::Arc;

use dhara_log::{Append, Log, OpenReport, Options, TopicPartition};
use dhara_world::disk::SimDisk;
use dhara_world::{Clock, Random};

use super::batches::{encode, sequenced};
use super::model::{Facts, Model, Part, Record, Topic};
use super::run::{DIR, Run};
use super::work::expired;

/// A log that was opened after a crash, with what it should hold.
pub(crate) struct Found<'a> {
    run: &'a Run,
    disk: SimDisk,
    options: Options,
    log: Log,
    model: Model,
    /// Records that the run knows nothing of.
    more: BTreeMap<(u128, u32, u64), Record>,
}

/// Opens the log on `disk`, which holds what a crash of the run's left, and checks that it holds
/// what `least` to `most` of the run's operations come to. Gives how many they were.
pub(crate) fn recovered<'a>(
    run: &'a Run,
    disk: &SimDisk,
    (least, most): (usize, usize),
    epoch: u32,
    random: &Random,
) -> (usize, Found<'a>) {
    let clock = Clock::manual(run.options.clock.now());
    let options = Options { clock, ..run.options.clone() };
    let log = open(disk, &options);
    assert_eq!(log.report().damage, [], "damage after a crash");
    assert!(log.epoch() > epoch, "epoch {} comes after {epoch}", log.epoch());
    let facts = Facts::of(&log);
    let same = (least..=most).rev().find(|count| run.state(*count).facts == facts);
    let Some(count) = same else { panic!("{}", differences(run, &facts, least, most)) };
    let model = run.state(count).clone();
    let found = Found { run, disk: disk.clone(), options, log, model, more: BTreeMap::new() };
    if random.below(4) == 0 {
        found
            .options
            .clock
            .set(found.options.clock.now().plus(std::time::Duration::from_secs(7_200)));
    }
    found.check_records();
    (count, found)
}

fn open(disk: &SimDisk, options: &Options) -> Log {
    Log::open(Arc::new(disk.clone()), DIR, options.clone()).unwrap()
}

fn differences(run: &Run, facts: &Facts, least: usize, most: usize) -> String {
    let mut told = format!("no state between {least} and {most} operations is what was found");
    for count in least..=most {
        let what = count.checked_sub(1).map_or("the beginning", |last| &run.ops[last].what);
        told += &format!("\nafter {count} ({what}):");
        told += &difference(&run.state(count).facts, facts);
    }
    told
}

pub(crate) fn difference(wanted: &Facts, facts: &Facts) -> String {
    let mut told = String::new();
    let names = wanted.topics.keys().chain(facts.topics.keys());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.dedup();
    for name in names {
        let (wanted, found) = (wanted.topics.get(name), facts.topics.get(name));
        if wanted != found {
            told += &format!("\n  {name}\n    wanted {wanted:?}\n    found  {found:?}");
        }
    }
    if wanted.positions != facts.positions {
        told += &format!("\n  wanted {:?}\n  found  {:?}", wanted.positions, facts.positions);
    }
    if wanted.notes != facts.notes {
        told += "\n  the notes differ";
    }
    told
}

impl Found<'_> {
    fn now(&self) -> i64 {
        self.options.clock.now().as_millis() as i64
    }

    fn record(&self, topic: &Topic, number: u32, offset: u64) -> Option<&Record> {
        let more = self.more.get(&(topic.id, number, offset));
        let stored = self.run.books.get(&(topic.id, number));
        more.or_else(|| stored?.records.get(offset as usize))
    }

    /// All records of all partitions are there, and no others, but for what a compaction removes.
    fn check_records(&self) {
        assert_eq!(Facts::of(&self.log), self.model.facts);
        for (name, topic) in &self.model.facts.topics {
            for (number, part) in (0..).zip(&topic.parts) {
                self.check_partition(name, topic, number, *part);
            }
        }
        assert_eq!(self.log.damage(), []);
    }

    fn check_partition(&self, name: &str, topic: &Topic, number: u32, part: Part) {
        let partition = TopicPartition::new(name, number);
        let found = read(&self.log, &partition, part);
        for (offset, record) in &found {
            let wanted = self.record(topic, number, *offset);
            assert_eq!(wanted, Some(record), "{partition} at {offset}");
        }
        let Some(delay) = self.model.compacted.get(&topic.id) else {
            let offsets: Vec<u64> = found.keys().copied().collect();
            let wanted: Vec<u64> = (part.earliest..part.end).collect();
            assert_eq!(offsets, wanted, "{partition}");
            return;
        };
        let mut newest = BTreeMap::new();
        for offset in part.earliest..part.end {
            let record = self.record(topic, number, offset).unwrap();
            match &record.key {
                Some(key) => drop(newest.insert(key, (offset, record))),
                None => assert!(found.contains_key(&offset), "{partition} lost {offset}"),
            }
        }
        for (key, (offset, record)) in newest {
            if found.contains_key(&offset) {
                continue;
            }
            let key = String::from_utf8_lossy(key);
            assert!(record.value.is_none(), "{partition} lost the newest of {key}, at {offset}");
            assert!(record.time + delay < self.now(), "{partition} lost a young tombstone");
            let older = found.iter().find(|(_, other)| other.key == record.key);
            assert_eq!(older, None, "{partition}: {key} is back though removed at {offset}");
        }
    }

    /// The log does all its housework, takes more, knows its producers, and is the same when it is
    /// opened once more.
    pub(crate) fn goes_on(mut self, random: &Random) {
        self.repeat_batches(random);
        self.housekeep();
        self.append_more(random);
        if random.below(2) == 0 {
            self.log.close().unwrap();
        }
        let Self { run, disk, options, log, model, more } = self;
        let epoch = log.epoch();
        drop(log);
        let log = open(&disk, &options);
        assert_eq!(log.report(), &OpenReport::default());
        assert!(log.epoch() > epoch, "the epoch {epoch} came twice");
        Found { run, disk, options, log, model, more }.check_records();
    }

    fn housekeep(&mut self) {
        let mut steps = 0;
        while self.log.housekeep_step().unwrap() {
            steps += 1;
            assert!(steps < 300, "there is no end of housekeeping");
        }
        let facts = Facts::of(&self.log);
        for (name, number) in facts.partitions() {
            let to = facts.topics[&name].parts[number as usize].earliest;
            if let Some(from) = expired(&mut self.model, &name, number, to) {
                let topic = &self.model.facts.topics[&name];
                let has_retention =
                    topic.config.retention.is_some() || topic.config.retention_bytes.is_some();
                assert!(has_retention, "{name}/{number} expired from {from} to {to}");
            }
        }
        self.check_records();
    }

    /// What a producer sent last is known, and what follows it is taken.
    fn repeat_batches(&mut self, random: &Random) {
        let all: Vec<_> = self.model.producers.clone().into_iter().collect();
        let Some(((id, number, producer), sent)) =
            all.get(random.below(all.len() as u64) as usize).cloned()
        else {
            return;
        };
        let names = self.model.facts.topics.iter();
        let name = names.clone().find(|(_, topic)| topic.id == id).unwrap().0.clone();
        let record = Record { key: None, value: Some(b"again".to_vec()), time: self.now() };
        for (first, count, base) in &sent {
            let bytes = encode(&vec![record.clone(); *count as usize], usize::MAX);
            let appended = self.give(&name, number, sequenced(&bytes, producer, *first));
            assert_eq!(appended, (*base, true), "{name}/{number}: a repeat of {producer}");
        }
        let (first, count, _) = sent.last().unwrap();
        let bytes = encode(std::slice::from_ref(&record), usize::MAX);
        let end = self.model.facts.part(&name, number).end;
        let appended = self.give(&name, number, sequenced(&bytes, producer, first + count));
        assert_eq!(appended, (end, false), "{name}/{number}: the next batch of {producer}");
        self.more.insert((id, number, end), record);
        self.model.facts.part(&name, number).end += 1;
    }

    fn append_more(&mut self, random: &Random) {
        let all = self.model.facts.partitions();
        let place = random.below(all.len() as u64) as usize;
        let Some((name, number)) = all.get(place).cloned() else { return };
        let record = Record { key: None, value: Some(b"more".to_vec()), time: self.now() };
        let end = self.model.facts.part(&name, number).end;
        let bytes = encode(std::slice::from_ref(&record), usize::MAX);
        assert_eq!(self.give(&name, number, bytes), (end, false), "{name}/{number}");
        let id = self.model.facts.topics[&name].id;
        self.more.insert((id, number, end), record);
        self.model.facts.part(&name, number).end += 1;
        self.check_records();
    }

    fn give(&self, name: &str, number: u32, batch: bytes::Bytes) -> (u64, bool) {
        let ticket = self.log.append(Append::batch(TopicPartition::new(name, number), batch));
        self.log.commit_step();
        let appended = ticket.wait().unwrap();
        (appended.base_offset(), appended.is_repeat())
    }
}

/// All records of a partition, by offset.
fn read(log: &Log, partition: &TopicPartition, part: Part) -> BTreeMap<u64, Record> {
    let mut found = BTreeMap::new();
    let mut next = part.earliest;
    while next < part.end {
        let fetched = log.read(partition, next, 5_000).unwrap();
        assert!(fetched.next > next, "{partition} does not go on at {next}");
        for batch in &fetched.batches {
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                if record.offset < next {
                    continue;
                }
                let key = record.key.map(|key| key.to_vec());
                let value = record.value.map(|value| value.to_vec());
                let kept = Record { key, value, time: record.timestamp };
                assert_eq!(found.insert(record.offset, kept), None, "{partition}");
            }
        }
        next = fetched.next;
    }
    found
}
