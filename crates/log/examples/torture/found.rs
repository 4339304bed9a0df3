//! What the log holds, read to the byte: every record is one that was given, in its place.

use std::collections::HashMap;

use dhara_log::batch::Record;
use dhara_log::{Log, LogError, TopicPartition};

use crate::history::History;
use crate::plan::{Id, Keeping, Mark, Plan, Planned};

/// The most violations that are told.
const TOLD: usize = 20;

/// Where a batch lies, and how many of its records are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) base: Option<u64>,
    pub(crate) records: usize,
}

/// All that was found in the log.
pub(crate) struct Found<'a> {
    pub(crate) log: &'a Log,
    pub(crate) seed: u64,
    pub(crate) history: &'a History,
    /// The batches of each append of which a record was found.
    pub(crate) appends: HashMap<Id, Vec<Place>>,
    /// The earliest offset of each partition.
    pub(crate) earliest: HashMap<TopicPartition, u64>,
    /// The last record of each key, in the topics that keep no more.
    newest: HashMap<(u32, Vec<u8>), u64>,
    pub(crate) records: u64,
    pub(crate) violations: Vec<String>,
}

/// What is known while the records of one partition are read.
#[derive(Default)]
struct Reading {
    /// The offset that the next record has, where none may be missing.
    next: u64,
    last_of_writer: HashMap<u32, Id>,
    /// The plan of the record before, which most often is the next one's too.
    plan: Option<(Id, Plan)>,
}

impl<'a> Found<'a> {
    /// Reads all partitions.
    pub(crate) fn read(log: &'a Log, seed: u64, history: &'a History) -> Found<'a> {
        let mut found = Found {
            log,
            seed,
            history,
            appends: HashMap::new(),
            earliest: HashMap::new(),
            newest: HashMap::new(),
            records: 0,
            violations: Vec::new(),
        };
        for topic in log.topics() {
            for number in 0..topic.partitions {
                let partition = TopicPartition::new(topic.name.clone(), number);
                if let Err(error) = found.partition(&partition) {
                    found.wrong(format!("{partition} cannot be read: {error}"));
                }
            }
        }
        found
    }

    pub(crate) fn wrong(&mut self, what: String) {
        if self.violations.len() < TOLD {
            self.violations.push(what);
        }
    }

    /// Reads a partition from its earliest offset to its end.
    fn partition(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        let bounds = self.log.bounds(partition)?;
        let keeping = Keeping::of(&partition.topic);
        let known = self.history.earliest.get(partition).copied().unwrap_or(0);
        if bounds.earliest < known || (bounds.earliest > 0 && keeping == Keeping::All) {
            let earliest = bounds.earliest;
            self.wrong(format!("{partition} begins at {earliest}; it began at {known} before"));
        }
        self.earliest.insert(partition.clone(), bounds.earliest);
        let mut reading = Reading { next: bounds.earliest, ..Reading::default() };
        let mut next = bounds.earliest;
        while next < bounds.end {
            let fetched = self.log.read(partition, next, 256 << 10)?;
            let Some(last) = fetched.batches.last() else { break };
            next = last.next_offset();
            for batch in &fetched.batches {
                for record in batch.records()? {
                    let record = record?;
                    // A batch is given whole, and may begin below the earliest offset.
                    if record.offset >= bounds.earliest {
                        self.record(partition, &record, &mut reading);
                    }
                }
            }
        }
        if keeping != Keeping::TheNewestOfEachKey && reading.next != bounds.end {
            self.wrong(format!("{partition} ends at {}, not {}", reading.next, bounds.end));
        }
        Ok(())
    }

    fn record(&mut self, partition: &TopicPartition, record: &Record, reading: &mut Reading) {
        self.records += 1;
        let may_skip = Keeping::of(&partition.topic) == Keeping::TheNewestOfEachKey;
        if record.offset < reading.next || (record.offset > reading.next && !may_skip) {
            let (found, next) = (record.offset, reading.next);
            self.wrong(format!("{partition} goes on at {found} instead of {next}"));
        }
        reading.next = record.offset + 1;
        let Some(mark) = Mark::of(record) else {
            self.wrong(format!("{partition} at {}: a record of nobody", record.offset));
            return;
        };
        let last = reading.last_of_writer.insert(mark.id.writer, mark.id);
        if last.is_some_and(|last| last > mark.id) {
            self.wrong(format!("{partition} has {mark:?} after {last:?}"));
        }
        let plan = match reading.plan.take() {
            Some((id, plan)) if id == mark.id => plan,
            _ => Plan::of(self.seed, mark.id),
        };
        self.judge(partition, record, mark, &plan);
        reading.plan = Some((mark.id, plan));
    }

    /// Holds a record against the plan that it says it is of.
    fn judge(&mut self, partition: &TopicPartition, record: &Record, mark: Mark, plan: &Plan) {
        let offset = record.offset;
        if !self.history.was_given(mark.id) || plan.is_refused {
            self.wrong(format!("{partition} at {offset}: {mark:?} was never accepted (a phantom)"));
        }
        let planned = plan.batches.get(usize::from(mark.batch));
        let is_right = planned.is_some_and(|planned| {
            let length = planned.lengths.get(usize::from(mark.record));
            let value = length.map(|length| mark.value(self.seed, *length));
            let value = value.filter(|_| !planned.is_tombstone(mark));
            planned.partition == *partition
                && length.is_some()
                && record.value.as_deref() == value.as_deref()
                && record.key.as_deref() == Some(&mark.key())
        });
        let base = offset.checked_sub(u64::from(mark.record));
        let (true, Some(base)) = (is_right, base) else {
            self.wrong(format!("{partition} at {offset}: not what {mark:?} wrote"));
            return;
        };
        if Keeping::of(&partition.topic) == Keeping::TheNewestOfEachKey {
            self.newest.insert((partition.partition, mark.key()), offset);
        }
        let count = plan.batches.len();
        let places = self.appends.entry(mark.id).or_insert_with(|| vec![Place::default(); count]);
        let Some(place) = places.get_mut(usize::from(mark.batch)) else { return };
        place.records += 1;
        // Offsets rise, so that a record which came twice would have another base.
        if place.base.replace(base).is_some_and(|other| other != base) {
            self.wrong(format!("{partition} at {offset}: {mark:?} lies elsewhere as well"));
        }
    }

    /// Whether a record of the batch that was at `base` is there, or is missing rightly.
    pub(crate) fn is_kept(&self, planned: &Planned, mark: Mark, base: u64) -> bool {
        let found = self.appends.get(&mark.id);
        let place = found.and_then(|places| places.get(usize::from(mark.batch)));
        let place = place.copied().unwrap_or_default();
        if place.base.is_some_and(|found| found != base) {
            return false;
        }
        let partition = &planned.partition;
        if self.history.dropped.contains_key(&*partition.topic) {
            return true;
        }
        let offset = base + u64::from(mark.record);
        let end = base + planned.lengths.len() as u64;
        match Keeping::of(&partition.topic) {
            Keeping::All => place.records as u64 == end - base,
            Keeping::NotTheOld => self.earliest.get(partition).is_some_and(|earliest| {
                offset < *earliest || place.records as u64 == end - base.max(*earliest)
            }),
            // The record itself is the newest, or there is a newer one.
            Keeping::TheNewestOfEachKey => {
                let newest = self.newest.get(&(partition.partition, mark.key()));
                newest.is_some_and(|newest| *newest >= offset)
            }
        }
    }
}
