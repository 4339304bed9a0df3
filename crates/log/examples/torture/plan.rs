//! What is appended: all of it follows from the seed and the number of the append, so that the
//! check needs to be told nothing but the numbers.

use bytes::Bytes;
use dhara_log::TopicPartition;
use dhara_log::batch::{BatchBuilder, Record};
use dhara_world::Random;

/// Those who append, each with appends of its own in flight.
pub(crate) const WRITERS: u32 = 4;
/// The last of them has a partition to itself, and expects each offset.
pub(crate) const LONER: u32 = WRITERS - 1;
pub(crate) const FEW: u32 = 3;
pub(crate) const MANY: u32 = 64;

/// Topics that lose what is old, or what has a later record of its key.
pub(crate) const BRIEF: &str = "brief";
pub(crate) const LATEST: &str = "latest";
pub(crate) const LOSING: u32 = 2;

/// Bytes of a value that say which it is.
const HEAD: usize = 16;
/// The header of a record without a value, which says the same.
pub(crate) const HEADER: &str = "mark";

/// An append: the round, the writer, and the number among the writer's appends of the round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id {
    pub(crate) round: u32,
    pub(crate) writer: u32,
    pub(crate) number: u32,
}

/// What an append consists of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) batches: Vec<Planned>,
    /// The position that the writer's group commits with it.
    pub(crate) position: Option<u64>,
    /// Whether its condition cannot hold, so that nothing of it may ever be found.
    pub(crate) is_refused: bool,
    pub(crate) is_lazy: bool,
}

/// A batch: where it goes, and the lengths of its values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) partition: TopicPartition,
    pub(crate) lengths: Vec<usize>,
}

/// A record of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) id: Id,
    pub(crate) batch: u16,
    pub(crate) record: u16,
}

/// The topic that a round makes for itself, and how many partitions it has.
pub(crate) fn topic_of(round: u32) -> (String, u32) {
    (format!("round-{round}"), 1 + round % 4)
}

/// What a topic may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// Nothing.
    All,
    /// What lies below its earliest offset.
    NotTheOld,
    /// A record whose key has a later one.
    TheNewestOfEachKey,
}

impl Keeping {
    pub(crate) fn of(topic: &str) -> Keeping {
        match topic {
            BRIEF => Keeping::NotTheOld,
            LATEST => Keeping::TheNewestOfEachKey,
            _ => Keeping::All,
        }
    }
}

/// The group of a writer.
pub(crate) fn group_of(writer: u32) -> String {
    format!("writer-{writer}")
}

/// The partition for which the writers' groups commit.
pub(crate) fn committed_partition() -> TopicPartition {
    TopicPartition::new("few", 0)
}

impl Id {
    /// Positions of a writer rise from append to append, through all rounds.
    fn position(self) -> u64 {
        (u64::from(self.round) << 32) | u64::from(self.number)
    }

    /// The append of `writer` that commits `position`.
    pub(crate) fn of_position(writer: u32, position: u64) -> Id {
        Id { round: (position >> 32) as u32, writer, number: position as u32 }
    }

    fn random(self, seed: u64) -> Random {
        let mixed = Random::from_seed(seed ^ self.position()).next_u64();
        Random::from_seed(mixed ^ (u64::from(self.writer) << 56))
    }
}

impl Plan {
    pub(crate) fn of(seed: u64, id: Id) -> Plan {
        let random = id.random(seed);
        let shape = random.below(100);
        let is_refused = id.writer == LONER && random.below(8) == 0;
        let batches = match shape {
            0..5 if !is_refused => Vec::new(),
            5..20 => (0..2 + random.below(4)).map(|_| small(&random, id)).collect(),
            20..24 => vec![wide(&random, id)],
            24 => vec![planned(&random, id, vec![100_000 + random.below(400_000) as usize])],
            _ => vec![small(&random, id)],
        };
        let has_position = batches.is_empty() || random.below(4) == 0;
        Plan {
            is_lazy: batches.is_empty() || random.below(16) == 0,
            position: has_position.then(|| id.position()),
            is_refused,
            batches,
        }
    }
}

fn small(random: &Random, id: Id) -> Planned {
    let lengths = (0..=random.below(3)).map(|_| HEAD + random.below(300) as usize).collect();
    planned(random, id, lengths)
}

fn wide(random: &Random, id: Id) -> Planned {
    let lengths =
        (0..10 + random.below(100)).map(|_| HEAD + random.below(1_000) as usize).collect();
    planned(random, id, lengths)
}

fn planned(random: &Random, id: Id, lengths: Vec<usize>) -> Planned {
    let below = |bound: u32| random.below(u64::from(bound)) as u32;
    let partition = match below(10) {
        _ if id.writer == LONER => TopicPartition::new("own", 0),
        0..3 => TopicPartition::new("few", below(FEW)),
        3..6 => TopicPartition::new("many", below(MANY)),
        6..8 => TopicPartition::new(LATEST, below(LOSING)),
        8 => TopicPartition::new(BRIEF, below(LOSING)),
        _ => {
            let (topic, partitions) = topic_of(id.round);
            TopicPartition::new(topic, below(partitions))
        }
    };
    Planned { partition, lengths }
}

impl Planned {
    /// The bytes of the batch, which is the `batch`th of its append.
    pub(crate) fn encode(&self, seed: u64, id: Id, batch: u16, now: i64) -> Bytes {
        let mut builder = BatchBuilder::with_capacity(self.lengths.iter().sum::<usize>() + 64);
        for (record, length) in self.lengths.iter().enumerate() {
            let mark = Mark { id, batch, record: record as u16 };
            let (key, value) = (mark.key(), mark.value(seed, *length));
            let head = mark.head();
            if self.is_tombstone(mark) {
                let header = (HEADER, Some(head.as_slice()));
                builder.push(now, Some(&key), None, [header]).unwrap();
            } else {
                builder.push(now, Some(&key), Some(&value), []).unwrap();
            }
        }
        builder.finish()
    }

    /// Whether the record removes its key.
    pub(crate) fn is_tombstone(&self, mark: Mark) -> bool {
        Keeping::of(&self.partition.topic) == Keeping::TheNewestOfEachKey
            && (mark.id.number + u32::from(mark.record)).is_multiple_of(7)
    }
}

impl Mark {
    /// A few keys for each writer, so that a compaction has something to drop.
    pub(crate) fn key(self) -> Vec<u8> {
        format!("{}-{}", self.id.writer, (self.id.number + u32::from(self.record)) % 50)
            .into_bytes()
    }

    fn head(self) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&self.id.round.to_le_bytes());
        head.extend_from_slice(&self.id.writer.to_le_bytes());
        head.extend_from_slice(&self.id.number.to_le_bytes());
        head.extend_from_slice(&self.batch.to_le_bytes());
        head.extend_from_slice(&self.record.to_le_bytes());
        head
    }

    /// The whole value of a record.
    pub(crate) fn value(self, seed: u64, length: usize) -> Vec<u8> {
        let mut value = self.head();
        value.reserve(length);
        let place = (u64::from(self.batch) << 48) | (u64::from(self.record) << 32);
        let random = Random::from_seed(self.id.random(seed).next_u64() ^ place);
        while value.len() < length {
            value.extend_from_slice(&random.next_u64().to_le_bytes());
        }
        value.truncate(length);
        value
    }

    /// What a record says that it is.
    pub(crate) fn of(record: &Record) -> Option<Mark> {
        match &record.value {
            Some(value) => Mark::read(value),
            None => Mark::read(&record.headers.iter().next()?.1?),
        }
    }

    fn read(head: &[u8]) -> Option<Mark> {
        let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let short = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
        let id = Id { round: number(0)?, writer: number(4)?, number: number(8)? };
        Some(Mark { id, batch: short(12)?, record: short(14)? })
    }
}
