//! The log after a crash at every point of a random workload, on a disk that loses, tears and
//! reorders whatever was not synced.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dhara_log::{Append, GroupOffset, Log, Options, TopicPartition};
use dhara_world::Random;
use dhara_world::disk::SimDisk;
use dhara_world::disk::sim::Image;
use support::{append, batch, read_from};

const DIR: &str = "/log";
const PARTITIONS: u32 = 3;

fn open(disk: &SimDisk) -> Log {
    let options = Options {
        first_segment_bytes: 3 << 10,
        segment_bytes: 6 << 10,
        salt: Some(7),
        ..Options::default()
    };
    Log::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap()
}

fn partition(number: u32) -> TopicPartition {
    TopicPartition::new("orders", number)
}

/// What was appended together, where it came to lie, and when it was acked.
#[derive(Clone, Debug)]
struct Acked {
    moment: usize,
    records: Vec<(u32, u64, String)>,
    committed: Option<u64>,
}

/// Everything that a run did.
#[derive(Default)]
struct Run {
    acked: Vec<Acked>,
    /// The values that were given to the log together, acked or not.
    given: Vec<Vec<String>>,
}

impl Run {
    /// Appends at random, several appends a commit, some of them over two partitions.
    fn work(&mut self, disk: &SimDisk, log: &Log, random: &Random, rounds: usize) {
        log.create_topic("orders", PARTITIONS).unwrap();
        for _ in 0..rounds {
            let mut tickets = Vec::new();
            for _ in 0..=random.below(3) {
                let (append, values) = self.pick(random);
                let committed = append.offsets.first().map(|offset| offset.offset);
                tickets.push((log.append(append), values, committed));
            }
            log.commit_step();
            for (ticket, values, committed) in tickets {
                let appended = ticket.wait().unwrap();
                let moment = disk.moment();
                let bases = appended.base_offsets().iter();
                let records = values
                    .into_iter()
                    .zip(bases)
                    .flat_map(|((number, values), base)| {
                        (*base..).zip(values).map(move |(offset, value)| (number, offset, value))
                    })
                    .collect();
                self.acked.push(Acked { moment, records, committed });
            }
            match random.below(6) {
                0 => log.mark_step(),
                1 => while log.housekeep_step().unwrap() {},
                _ => {}
            }
        }
    }

    fn pick(&mut self, random: &Random) -> (Append, Vec<(u32, Vec<String>)>) {
        let mut values = Vec::new();
        for _ in 0..=random.below(2) {
            let number = random.below(u64::from(PARTITIONS)) as u32;
            let count = 1 + random.below(3);
            let long = "x".repeat(random.below(400) as usize);
            let id = random.next_u64();
            values.push((number, (0..count).map(|n| format!("{id}-{n}-{long}")).collect()));
        }
        self.given.push(
            values.iter().flat_map(|(_, values): &(u32, Vec<String>)| values.clone()).collect(),
        );
        let mut append = Append::default();
        for (number, values) in &values {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            append.batches.push((partition(*number), batch(&values)));
        }
        if random.below(3) == 0 {
            let offset = self.given.len() as u64;
            append.offsets.push(GroupOffset::new("group", partition(0), offset));
        }
        (append, values)
    }

    /// Opens what a crash at `moment` left, and checks it.
    fn check(&self, moment: usize, image: &Image, random: &Random) {
        let left = image.crash(random);
        let disk = SimDisk::holding(left.clone());
        let log = open(&disk);
        assert_eq!(log.report().damage, [], "at {moment}");
        let found = self.check_records(&log, moment);
        self.check_together(&found, moment);
        self.check_committed(&log, moment);
        self.check_goes_on(&disk, log, &found);
    }

    fn check_records(&self, log: &Log, moment: usize) -> BTreeMap<String, (u32, u64)> {
        let mut found = BTreeMap::new();
        if log.topic("orders").is_none() {
            assert!(self.acked.iter().all(|acked| acked.moment > moment), "topic lost at {moment}");
            return found;
        }
        for number in 0..PARTITIONS {
            for (place, (offset, value)) in (0..).zip(read_from(log, &partition(number), 0)) {
                assert_eq!(offset, place, "a gap at {moment}");
                assert_eq!(found.insert(value, (number, offset)), None, "twice at {moment}");
            }
        }
        for acked in self.acked.iter().filter(|acked| acked.moment <= moment) {
            for (number, offset, value) in &acked.records {
                assert_eq!(found.get(value), Some(&(*number, *offset)), "lost at {moment}");
            }
        }
        found
    }

    /// Nothing was found that was never given, and no append in part.
    fn check_together(&self, found: &BTreeMap<String, (u32, u64)>, moment: usize) {
        let mut known = 0;
        for given in &self.given {
            let there = given.iter().filter(|value| found.contains_key(*value)).count();
            assert!(there == 0 || there == given.len(), "an append in part at {moment}");
            known += there;
        }
        assert_eq!(known, found.len(), "a phantom at {moment}");
    }

    fn check_committed(&self, log: &Log, moment: usize) {
        let committed = log.committed("group", &partition(0)).map(|committed| committed.offset);
        let acked = self.acked.iter().filter(|acked| acked.moment <= moment);
        let last = acked.filter_map(|acked| acked.committed).next_back();
        assert!(committed >= last, "committed {committed:?} after {last:?} at {moment}");
    }

    /// The log takes appends after the crash, and has them when it is opened once more.
    fn check_goes_on(&self, disk: &SimDisk, log: Log, found: &BTreeMap<String, (u32, u64)>) {
        log.create_topic("orders", PARTITIONS).unwrap();
        let offset = append(&log, &partition(0), &["after"]).unwrap();
        drop(log);
        let log = open(disk);
        assert_eq!(log.report(), &dhara_log::OpenReport::default());
        let values = read_from(&log, &partition(0), 0);
        assert_eq!(values.last(), Some(&(offset, "after".to_owned())));
        let before = found.values().filter(|(number, _)| *number == 0).count();
        assert_eq!(values.len(), before + 1);
    }
}

/// Crashes at each moment of a run, `times` in different ways.
fn crash_everywhere(seed: u64, rounds: usize, times: usize) -> usize {
    let random = Random::from_seed(seed);
    let disk = SimDisk::new();
    let mut run = Run::default();
    let log = open(&disk);
    run.work(&disk, &log, &random, rounds);
    let mut points = 0;
    disk.history().each_moment(|moment, image| {
        for _ in 0..times {
            run.check(moment, image, &random);
            points += 1;
        }
    });
    points
}

#[test]
fn after_a_crash_anywhere_nothing_acked_is_missing_and_nothing_else_is_there() {
    let wanted = std::env::var("DHARA_CRASH_POINTS").map_or(500, |text| text.parse().unwrap());
    let (mut points, mut seed) = (0, 0);
    while points < wanted {
        seed += 1;
        points += crash_everywhere(seed, 30, 2);
    }
}

#[test]
fn a_crash_while_recovering_from_a_crash_loses_nothing() {
    let random = Random::from_seed(99);
    let disk = SimDisk::new();
    let mut run = Run::default();
    let log = open(&disk);
    run.work(&disk, &log, &random, 20);
    disk.history().each_moment(|moment, image| {
        if moment % 5 != 0 {
            return;
        }
        let recovering = SimDisk::holding(image.crash(&random));
        drop(open(&recovering));
        // The appends that a first recovery found must be found by a second one as well, for they
        // may have been read between the two; those acked before are among them.
        recovering.history().each_moment(|_, image| run.check(moment, image, &random));
    });
}
