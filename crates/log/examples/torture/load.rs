//! The load: writers with one or many appends in flight, a reader beside them, topics made.

use std::collections::VecDeque;
use std::io::BufRead as _;
use std::process;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dhara_log::{
    Append, Committer, Condition, GroupOffset, Log, LogError, NewTopic, Note, Ticket,
    TopicPartition,
};

use crate::history::Journalist;
use crate::plan::{
    self, BRIEF, FEW, Id, Keeping, LATEST, LONER, LOSING, MANY, Mark, Plan, WRITERS,
};

/// Bytes that a writer appends at full speed; afterwards it takes its time, and the log gets to
/// the marks that it writes when nothing follows.
const FULL_SPEED: usize = 1 << 20;
const PAUSE: Duration = Duration::from_millis(15);
/// The log failed before anybody cut it off.
const FAILED: i32 = 2;

/// The round at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) seed: u64,
    pub(crate) round: u32,
    /// A bug on purpose: the history has the ack before the log does.
    pub(crate) acks_early: bool,
}

/// Appends until the standard input says `stop`, or ends.
pub(crate) fn run(log: &Log, journalist: &Journalist, load: Load) {
    let committer = Committer::start(log).unwrap_or_else(|error| fail(&error));
    let own = plan::topic_of(load.round);
    let topics = [("few", FEW), ("many", MANY), ("own", 1), (BRIEF, LOSING), (LATEST, LOSING)];
    for (name, partitions) in topics.into_iter().chain([(own.0.as_str(), own.1)]) {
        create(log, journalist, name, partitions);
    }
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || write(&Writer { log, journalist, load, writer }));
        }
        scope.spawn(|| read_along(log, journalist));
        scope.spawn(|| change_topics(log, journalist, load.round));
        let said = std::io::stdin().lock().lines().next();
        if said.is_some() {
            // The writers are told by their tickets.
            committer.stop().unwrap_or_else(|error| fail(&error));
        }
        process::exit(0);
    });
}

fn create(log: &Log, journalist: &Journalist, name: &str, partitions: u32) {
    if let Some(topic) = log.topic(name) {
        return journalist.topic(name, topic.partitions);
    }
    let mut topic = NewTopic::new(name, partitions);
    match Keeping::of(name) {
        Keeping::All => {}
        Keeping::NotTheOld => {
            topic.config.retention = Some(Duration::from_secs(2));
            topic.config.retention_bytes = Some(64 << 10);
        }
        Keeping::TheNewestOfEachKey => topic.config.compact = true,
    }
    match log.new_topic(topic) {
        Ok(topic) => journalist.topic(name, topic.partitions),
        Err(error) => fail(&error),
    }
}

/// Makes topics, lets one grow and another begin later, and deletes the topic of the round before.
fn change_topics(log: &Log, journalist: &Journalist, round: u32) {
    for number in 0..5 {
        create(log, journalist, &format!("extra-{round}-{number}"), 1 + number);
        thread::sleep(Duration::from_millis(5));
        let grown = format!("extra-{round}-0");
        journalist.grow(&grown, 2 + number);
        match log.add_partitions(&grown, 2 + number) {
            Ok(topic) => journalist.topic(&grown, topic.partitions),
            Err(error) => fail(&error),
        }
        thread::sleep(Duration::from_millis(5));
        trim(log, journalist, &TopicPartition::new(BRIEF, 1));
        if number == 1 {
            delete(log, journalist, &plan::topic_of(round.saturating_sub(1)).0);
        }
    }
}

/// Takes the older half of a partition away.
fn trim(log: &Log, journalist: &Journalist, partition: &TopicPartition) {
    let bounds = log.bounds(partition).unwrap_or_else(|error| fail(&error));
    let offset = bounds.earliest.midpoint(bounds.end);
    match log.trim(&[(partition.clone(), offset)]) {
        Ok(()) => journalist.earliest(partition, offset),
        Err(error) => fail(&error),
    }
}

fn delete(log: &Log, journalist: &Journalist, name: &str) {
    if log.topic(name).is_some() {
        journalist.drop(name);
        log.delete_topic(name).unwrap_or_else(|error| fail(&error));
        journalist.dropped(name);
    }
}

/// Says what ended the log. A cut does too; whoever made it knows which came first.
fn fail(error: &LogError) -> ! {
    if matches!(error, LogError::Closed) {
        // The load was told to stop; the main thread ends the program.
        loop {
            thread::park();
        }
    }
    eprintln!("the log failed: {error}");
    process::exit(FAILED)
}

struct Writer<'a> {
    log: &'a Log,
    journalist: &'a Journalist,
    load: Load,
    writer: u32,
}

/// An append whose ticket is not complete.
type InFlight = (Id, bool, Ticket);

fn write(writer: &Writer<'_>) {
    let window = [1, 8, 64, 4].get(writer.writer as usize).copied().unwrap_or(1);
    let own = TopicPartition::new("own", 0);
    let mut expected = writer.log.bounds(&own).unwrap_or_else(|error| fail(&error)).end;
    let mut in_flight: VecDeque<InFlight> = VecDeque::new();
    let mut bytes = 0;
    for number in 0.. {
        let id = Id { round: writer.load.round, writer: writer.writer, number };
        let plan = Plan::of(writer.load.seed, id);
        let mut append = writer.encode(id, &plan);
        bytes += append.batches.iter().map(|(_, batch)| batch.len()).sum::<usize>();
        if writer.writer == LONER && !plan.batches.is_empty() {
            let wrong = if plan.is_refused { 1_000_000 } else { 0 };
            append = append.only_if(Condition::NextOffset(own.clone(), expected + wrong));
            let count = plan.batches.iter().map(|batch| batch.lengths.len()).sum::<usize>();
            expected += if plan.is_refused { 0 } else { count as u64 };
        }
        writer.journalist.give(id);
        if writer.load.acks_early && writer.writer != LONER && plan.batches.is_empty() {
            writer.journalist.ack(id, &[]);
        }
        in_flight.push_back((id, plan.is_refused, writer.log.append(append)));
        let keep = if bytes < FULL_SPEED { window - 1 } else { 0 };
        while in_flight.len() > keep {
            in_flight.pop_front().into_iter().for_each(|first| writer.complete(first));
        }
        if bytes >= FULL_SPEED {
            thread::sleep(PAUSE * (1 + writer.writer));
        }
    }
}

impl Writer<'_> {
    fn encode(&self, id: Id, plan: &Plan) -> Append {
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        let mut append = Append { lazy: plan.is_lazy, ..Append::default() };
        for (number, batch) in plan.batches.iter().enumerate() {
            let bytes = batch.encode(self.load.seed, id, number as u16, now);
            append.batches.push((batch.partition.clone(), bytes));
        }
        if let Some(position) = plan.position {
            let group = plan::group_of(self.writer);
            let said = position.to_string().into_bytes();
            append.notes.push(Note { name: group.as_str().into(), value: Some(said.into()) });
            let mut offset = GroupOffset::new(group, plan::committed_partition(), position);
            offset.metadata = position.to_string().into();
            append.offsets.push(offset);
        }
        append
    }

    fn complete(&self, (id, is_refused, ticket): InFlight) {
        match ticket.wait() {
            Ok(_) if is_refused => {
                eprintln!("{id:?} was appended, though its condition did not hold");
                process::exit(1);
            }
            Ok(appended) => {
                // An append of offsets alone says so with no offset of a batch.
                self.journalist.ack(id, appended.base_offsets());
            }
            Err(LogError::Conflict { .. }) if is_refused => {}
            Err(error) => fail(&error),
        }
    }
}

/// Reads what comes, and notes it: what somebody has read must never go away.
fn read_along(log: &Log, journalist: &Journalist) {
    let few = (0..FEW).map(|number| TopicPartition::new("few", number));
    let many = (0..MANY).step_by(8).map(|number| TopicPartition::new("many", number));
    let losing = [BRIEF, LATEST].map(|topic| TopicPartition::new(topic, 0));
    let partitions: Vec<TopicPartition> = few.chain(many).chain(losing).collect();
    let end = |partition| log.bounds(partition).unwrap_or_else(|error| fail(&error)).end;
    let mut next: Vec<u64> = partitions.iter().map(end).collect();
    let watch = log.watch(&partitions).unwrap_or_else(|error| fail(&error));
    loop {
        for place in watch.wait().unwrap_or_else(|error| fail(&error)) {
            if let (Some(partition), Some(next)) = (partitions.get(place), next.get_mut(place)) {
                *next = read_on(log, journalist, partition, *next);
            }
        }
    }
}

/// Reads what came from `next` on, and gives where it ends.
fn read_on(log: &Log, journalist: &Journalist, partition: &TopicPartition, next: u64) -> u64 {
    let bounds = log.bounds(partition).unwrap_or_else(|error| fail(&error));
    if Keeping::of(&partition.topic) == Keeping::NotTheOld {
        journalist.earliest(partition, bounds.earliest);
    }
    let next = bounds.earliest.max(next);
    let fetched = match log.read(partition, next, 1 << 20) {
        Ok(fetched) => fetched,
        // It has expired meanwhile.
        Err(LogError::OutOfRange { .. }) => return next,
        Err(error) => fail(&error),
    };
    let Some(last) = fetched.batches.last() else { return next };
    // A compaction may have left no record of the batch.
    if let Some(record) = last.records().ok().and_then(|mut records| records.next()) {
        let record = record.unwrap_or_else(|error| fail(&error));
        let Some(mark) = Mark::of(&record) else {
            eprintln!("{partition} gave a record at {} that nobody wrote", record.offset);
            process::exit(1)
        };
        journalist.seen(mark, record.offset - u64::from(mark.record));
    }
    last.next_offset()
}
