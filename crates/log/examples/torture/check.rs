//! The check: what the log holds against what the history says.

use std::collections::HashMap;

use dhara_log::{Log, LogError, RecordBatch, TopicPartition};

use crate::history::History;
use crate::plan::{self, Id, Mark, Plan, WRITERS};

/// The most violations that are told.
const TOLD: usize = 20;

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) violations: Vec<String>,
    /// Counts, in words.
    pub(crate) summary: String,
}

struct Check<'a> {
    log: &'a Log,
    seed: u64,
    history: &'a History,
    /// The base offset of each batch of an append, as far as they were found.
    batches: HashMap<Id, Vec<Option<u64>>>,
    records: u64,
    violations: Vec<String>,
}

/// Checks all of the log.
pub(crate) fn check(log: &Log, seed: u64, history: &History) -> Found {
    let mut check =
        Check { log, seed, history, batches: HashMap::new(), records: 0, violations: Vec::new() };
    check.no_damage();
    check.topics();
    for topic in log.topics() {
        for number in 0..topic.partitions {
            check.partition(&TopicPartition::new(topic.name.clone(), number));
        }
    }
    check.all_or_nothing();
    check.acked();
    check.seen();
    check.committed();
    let summary = format!(
        "records {} appends {} acked {} torn {}",
        check.records,
        check.batches.len(),
        history.acked.len(),
        log.report().cut.len()
    );
    Found { violations: check.violations, summary }
}

impl Check<'_> {
    fn wrong(&mut self, what: String) {
        if self.violations.len() < TOLD {
            self.violations.push(what);
        }
    }

    /// A cut tears the tail, and nothing else.
    fn no_damage(&mut self) {
        for damage in self.log.report().damage.clone() {
            self.wrong(format!("reported as damaged: {damage:?}"));
        }
    }

    fn topics(&mut self) {
        for (name, partitions) in &self.history.topics {
            let found = self.log.topic(name).map(|topic| topic.partitions);
            if found != Some(*partitions) {
                self.wrong(format!("topic {name} had {partitions} partitions, now {found:?}"));
            }
        }
    }

    /// Reads a partition from the earliest offset to its end.
    fn partition(&mut self, partition: &TopicPartition) {
        if let Err(error) = self.read_through(partition) {
            self.wrong(format!("{partition} cannot be read: {error}"));
        }
    }

    fn read_through(&mut self, partition: &TopicPartition) -> Result<(), LogError> {
        let bounds = self.log.bounds(partition)?;
        let mut next = bounds.earliest;
        let mut last: HashMap<u32, Id> = HashMap::new();
        while next < bounds.end {
            let fetched = self.log.read(partition, next, 256 << 10)?;
            if fetched.batches.is_empty() {
                self.wrong(format!(
                    "{partition} gives nothing at {next}, but ends at {}",
                    bounds.end
                ));
                return Ok(());
            }
            for batch in &fetched.batches {
                if batch.base_offset() != next {
                    let found = batch.base_offset();
                    self.wrong(format!("{partition} goes on at {found} instead of {next}"));
                }
                next = batch.next_offset();
                let Some(id) = self.batch(partition, batch)? else { continue };
                if last.insert(id.writer, id).is_some_and(|earlier| earlier > id) {
                    self.wrong(format!("{partition} has {id:?} after a later one of its writer"));
                }
            }
        }
        Ok(())
    }

    /// Checks a batch to the byte, and notes where it lies.
    fn batch(
        &mut self,
        partition: &TopicPartition,
        batch: &RecordBatch,
    ) -> Result<Option<Id>, LogError> {
        let base = batch.base_offset();
        let mut records = batch.records()?.enumerate();
        let mut first = None;
        let mut plan = None;
        for (place, record) in &mut records {
            let record = record?;
            let value = record.value.unwrap_or_default();
            let Some(mark) = Mark::read(&value) else {
                self.wrong(format!("{partition} at {}: a value of nobody", record.offset));
                return Ok(None);
            };
            let plan = plan.get_or_insert_with(|| Plan::of(self.seed, mark.id));
            let lead: &mut Mark = first.get_or_insert(mark);
            let expected = Mark { record: place as u16, ..*lead };
            let planned = plan.batches.get(usize::from(lead.batch));
            let length = planned.and_then(|planned| planned.lengths.get(place)).copied();
            let is_right = mark == expected
                && record.offset == base + place as u64
                && record.key.as_deref() == Some(&mark.key())
                && length.is_some_and(|length| value == mark.value(self.seed, length));
            if !is_right {
                self.wrong(format!("{partition} at {}: not what {mark:?} wrote", record.offset));
                return Ok(None);
            }
            self.records += 1;
        }
        let (Some(mark), Some(plan)) = (first, plan) else { return Ok(None) };
        self.note(partition, base, mark, &plan, batch.record_count());
        Ok(Some(mark.id))
    }

    fn note(&mut self, partition: &TopicPartition, base: u64, mark: Mark, plan: &Plan, count: u32) {
        let Mark { id, batch, .. } = mark;
        let place = usize::from(batch);
        let Some(planned) = plan.batches.get(place) else { return };
        if planned.partition != *partition || planned.lengths.len() != count as usize {
            self.wrong(format!("{partition} at {base}: {count} records of {mark:?}, {planned:?}"));
        }
        if !self.history.was_given(id) || plan.is_refused {
            self.wrong(format!("{partition} at {base}: {id:?} was never accepted (a phantom)"));
        }
        let found = self.batches.entry(id).or_insert_with(|| vec![None; plan.batches.len()]);
        let Some(slot) = found.get_mut(place) else { return };
        if let Some(other) = slot.replace(base) {
            self.wrong(format!("{partition} has {mark:?} twice: at {other} and {base}"));
        }
    }

    fn all_or_nothing(&mut self) {
        let torn = self.batches.iter().filter(|(_, found)| found.contains(&None));
        let torn: Vec<String> =
            torn.map(|(id, found)| format!("{id:?} is there in part: {found:?}")).collect();
        torn.into_iter().for_each(|torn| self.wrong(torn));
    }

    fn acked(&mut self) {
        for (id, offsets) in &self.history.acked {
            let acked: Vec<Option<u64>> = offsets.iter().copied().map(Some).collect();
            let found = self.batches.get(id).cloned().unwrap_or_default();
            if found != acked {
                self.wrong(format!("acked but lost: {id:?} at {offsets:?}, found {found:?}"));
            }
        }
    }

    fn seen(&mut self) {
        for (id, batch, offset) in &self.history.seen {
            let found = self.batches.get(id).and_then(|found| *found.get(usize::from(*batch))?);
            if found != Some(*offset) {
                self.wrong(format!(
                    "read once but gone: {id:?} batch {batch} at {offset}, found {found:?}"
                ));
            }
        }
    }

    /// A group's position is one that was given, not behind what was acked, and not behind the
    /// records that came in the same append.
    fn committed(&mut self) {
        let acked = self.history.acked.iter().map(|(id, _)| *id);
        let durable: Vec<Id> = acked.chain(self.batches.keys().copied()).collect();
        for writer in 0..WRITERS {
            let positions = durable
                .iter()
                .filter(|id| id.writer == writer)
                .filter_map(|id| Plan::of(self.seed, *id).position);
            let least = positions.max();
            let group = plan::group_of(writer);
            let found = self.log.committed(&group, &plan::committed_partition());
            let position = found.as_ref().map(|found| found.offset);
            if position < least {
                self.wrong(format!("{group} is at {position:?}, but had acked {least:?}"));
            }
            let Some(found) = found else { continue };
            let id = Id::of_position(writer, found.offset);
            let plan = Plan::of(self.seed, id);
            let was_given = self.history.was_given(id)
                && !plan.is_refused
                && plan.position == Some(found.offset)
                && *found.metadata == *found.offset.to_string();
            if !was_given {
                self.wrong(format!("{group} has {found:?}, which nobody committed"));
            } else if !plan.batches.is_empty() && !self.batches.contains_key(&id) {
                self.wrong(format!("{group} has the position of {id:?} without its records"));
            }
        }
    }
}
