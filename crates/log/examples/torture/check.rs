//! The check: what the log holds against what the history says that it promised.

use dhara_log::Log;

use crate::found::{Found, Place};
use crate::history::History;
use crate::plan::{self, Id, Keeping, Mark, Plan, WRITERS};

/// What a check says.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<String>,
    /// Counts, in words.
    pub(crate) summary: String,
}

/// Checks all of the log.
pub(crate) fn check(log: &Log, seed: u64, history: &History) -> Verdict {
    let mut found = Found::read(log, seed, history);
    no_damage(&mut found);
    topics(&mut found);
    all_or_nothing(&mut found);
    acked(&mut found);
    seen(&mut found);
    for writer in 0..WRITERS {
        committed(&mut found, writer);
    }
    let summary = format!(
        "records {} gone {} acked {} torn {} settled {}",
        found.records,
        gone(&found),
        history.acked.len(),
        log.report().cut.len(),
        log.stats().settled_files
    );
    Verdict { violations: found.violations, summary }
}

/// A cut tears the tail, and nothing else.
fn no_damage(found: &mut Found<'_>) {
    for damage in found.log.damage() {
        found.wrong(format!("reported as damaged: {damage:?}"));
    }
}

fn topics(found: &mut Found<'_>) {
    for (name, partitions) in &found.history.topics {
        let now = found.log.topic(name).map(|topic| topic.partitions);
        let most = found.history.asked.get(name).copied().unwrap_or(0).max(*partitions);
        let is_whole = now.is_some_and(|now| (*partitions..=most).contains(&now));
        let is_right = match found.history.dropped.get(name) {
            Some(true) => now.is_none(),
            Some(false) => now.is_none() || is_whole,
            None => is_whole,
        };
        if !is_right {
            found.wrong(format!("topic {name} had {partitions} partitions, now {now:?}"));
        }
    }
}

/// The batches of an append that nothing may take away: their numbers.
fn lasting<'a>(plan: &'a Plan, history: &'a History) -> impl Iterator<Item = usize> + 'a {
    plan.batches.iter().enumerate().filter_map(|(number, batch)| {
        let topic = &*batch.partition.topic;
        let lasts = Keeping::of(topic) == Keeping::All && !history.dropped.contains_key(topic);
        lasts.then_some(number)
    })
}

fn all_or_nothing(found: &mut Found<'_>) {
    let mut torn = Vec::new();
    for (id, places) in &found.appends {
        let plan = Plan::of(found.seed, *id);
        let is_whole = lasting(&plan, found.history).all(|number| {
            let planned = plan.batches.get(number).map(|batch| batch.lengths.len());
            places.get(number).map(|place| place.records) == planned
        });
        if !is_whole {
            torn.push(format!("{id:?} is there in part: {places:?} of {plan:?}"));
        }
    }
    torn.into_iter().for_each(|torn| found.wrong(torn));
}

fn acked(found: &mut Found<'_>) {
    for (id, bases) in &found.history.acked {
        let plan = Plan::of(found.seed, *id);
        let is_kept = bases.len() == plan.batches.len()
            && plan.batches.iter().zip(bases).enumerate().all(|(batch, (planned, base))| {
                (0..planned.lengths.len()).all(|record| {
                    let mark = Mark { id: *id, batch: batch as u16, record: record as u16 };
                    found.is_kept(planned, mark, *base)
                })
            });
        if !is_kept {
            let places: &[Place] = found.appends.get(id).map_or(&[], Vec::as_slice);
            let what = format!("acked but lost: {id:?} at {bases:?}, found {places:?} of {plan:?}");
            found.wrong(what);
        }
    }
}

/// How many acked records are there no more, rightly.
fn gone(found: &Found<'_>) -> usize {
    let of_append = |(id, _): &(Id, Vec<u64>)| {
        let plan = Plan::of(found.seed, *id);
        let given: usize = plan.batches.iter().map(|batch| batch.lengths.len()).sum();
        let places = found.appends.get(id).map_or(&[][..], Vec::as_slice);
        given.saturating_sub(places.iter().map(|place| place.records).sum())
    };
    found.history.acked.iter().map(of_append).sum()
}

fn seen(found: &mut Found<'_>) {
    for (mark, base) in &found.history.seen {
        let plan = Plan::of(found.seed, mark.id);
        let planned = plan.batches.get(usize::from(mark.batch));
        if !planned.is_some_and(|planned| found.is_kept(planned, *mark, *base)) {
            found.wrong(format!("read once but gone: {mark:?} of a batch at {base}"));
        }
    }
}

/// A group's position is one that was given, not behind what was acked, and not behind the records
/// that came in the same append; a note that came with it says the same.
fn committed(found: &mut Found<'_>, writer: u32) {
    let acked = found.history.acked.iter().map(|(id, _)| *id);
    let durable = acked.chain(found.appends.keys().copied()).filter(|id| id.writer == writer);
    let least = durable.filter_map(|id| Plan::of(found.seed, id).position).max();
    let group = plan::group_of(writer);
    let committed = found.log.committed(&group, &plan::committed_partition());
    let position = committed.as_ref().map(|committed| committed.offset);
    if position < least {
        found.wrong(format!("{group} is at {position:?}, but had acked {least:?}"));
    }
    let note = found.log.note(&group);
    if note.as_deref()
        != position.map(|position| position.to_string()).as_deref().map(str::as_bytes)
    {
        found.wrong(format!("{group} is at {position:?}, but its note says {note:?}"));
    }
    let Some(committed) = committed else { return };
    let id = Id::of_position(writer, committed.offset);
    let plan = Plan::of(found.seed, id);
    let was_given = found.history.was_given(id)
        && !plan.is_refused
        && plan.position == Some(committed.offset)
        && *committed.metadata == *committed.offset.to_string();
    let has_records = lasting(&plan, found.history).next().is_some();
    if !was_given {
        found.wrong(format!("{group} has {committed:?}, which nobody committed"));
    } else if has_records && !found.appends.contains_key(&id) {
        found.wrong(format!("{group} has the position of {id:?} without its records"));
    }
}
