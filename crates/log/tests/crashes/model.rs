//! What a log should hold: exactly, but for what a compaction may remove.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dhara_log::{Log, SyncPolicy, TopicConfig, TopicPartition};

/// All that a log says of itself, its records left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) topics: BTreeMap<String, Topic>,
    /// By group, topic and partition.
    pub(crate) positions: BTreeMap<(String, String, u32), u64>,
    pub(crate) notes: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: u128,
    pub(crate) config: Arc<TopicConfig>,
    pub(crate) aliases: Vec<Arc<str>>,
    pub(crate) growths: Vec<Vec<u64>>,
    pub(crate) parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) earliest: u64,
    pub(crate) end: u64,
}

/// A producer and a partition: topic id, partition, producer id.
pub(crate) type Source = (u128, u32, i64);

/// The state after some first part of everything that was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) facts: Facts,
    /// The last batches of each producer: first sequence, how many, base offset.
    pub(crate) producers: BTreeMap<Source, Vec<(i32, i32, u64)>>,
    /// Topics that were ever compacted, with their shortest delay of tombstones.
    pub(crate) compacted: BTreeMap<u128, i64>,
    /// Ids that some topic was ever given.
    pub(crate) ids: BTreeSet<u128>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) time: i64,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text =
            |bytes: &Vec<u8>| String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
        let length = self.value.as_ref().map_or(0, Vec::len);
        let (key, value) = (self.key.as_ref().map(text), self.value.as_ref().map(text));
        write!(f, "({key:?}, {value:?} of {length} bytes at {})", self.time)
    }
}

/// A batch as it was appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) next: u64,
    /// The bytes of its frame.
    pub(crate) span: u64,
    pub(crate) arrival: i64,
}

/// What was ever appended to one partition, from offset 0 on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) records: Vec<Record>,
    pub(crate) batches: Vec<Sent>,
}

/// All records of all partitions, by topic id and partition.
pub(crate) type Books = BTreeMap<(u128, u32), Stored>;

impl Facts {
    /// What `log` says.
    pub(crate) fn of(log: &Log) -> Self {
        let mut facts = Self::default();
        for info in log.topics() {
            let part = |number| {
                let bounds = log.bounds(&TopicPartition::new(Arc::clone(&info.name), number));
                let bounds = bounds.unwrap();
                Part { earliest: bounds.earliest, end: bounds.end }
            };
            let topic = Topic {
                id: info.id,
                config: Arc::clone(&info.config),
                aliases: info.aliases.clone(),
                growths: info.growths.iter().map(|growth| growth.ends.clone()).collect(),
                parts: (0..info.partitions).map(part).collect(),
            };
            facts.topics.insert(info.name.to_string(), topic);
        }
        for group in log.groups() {
            for (partition, committed) in log.committed_all(&group) {
                let key = (group.to_string(), partition.topic.to_string(), partition.partition);
                facts.positions.insert(key, committed.offset);
            }
        }
        let notes = log.notes("").into_iter();
        facts.notes = notes.map(|(name, value)| (name.to_string(), value.to_vec())).collect();
        facts
    }

    /// The topics' names and the numbers of their partitions.
    pub(crate) fn partitions(&self) -> Vec<(String, u32)> {
        let numbered = |(name, topic): (&String, &Topic)| {
            let name = name.clone();
            (0..topic.parts.len() as u32).map(move |number| (name.clone(), number))
        };
        self.topics.iter().flat_map(numbered).collect()
    }

    pub(crate) fn part(&mut self, name: &str, number: u32) -> &mut Part {
        &mut self.topics.get_mut(name).unwrap().parts[number as usize]
    }
}

impl Model {
    /// Whether records of the topic are synced before they are acked.
    pub(crate) fn is_strong(&self, topic: &str) -> bool {
        self.facts.topics[topic].config.sync == SyncPolicy::EveryAck
    }

    pub(crate) fn put_topic(&mut self, name: &str, topic: Topic) {
        if topic.config.compact {
            let delay = topic.config.tombstone_delay.as_millis() as i64;
            let least = self.compacted.entry(topic.id).or_insert(delay);
            *least = delay.min(*least);
        }
        self.ids.insert(topic.id);
        self.facts.topics.insert(name.to_owned(), topic);
    }

    pub(crate) fn remove_topic(&mut self, name: &str) {
        let Some(topic) = self.facts.topics.remove(name) else { return };
        self.facts.positions.retain(|(_, other, _), _| other != name);
        self.producers.retain(|(id, ..), _| *id != topic.id);
    }

    /// Notes a batch of a producer; five are remembered.
    pub(crate) fn note_producer(&mut self, source: Source, first: i32, count: i32, base: u64) {
        let known = self.producers.entry(source).or_default();
        known.push((first, count, base));
        let surplus = known.len().saturating_sub(5);
        known.drain(..surplus);
    }

    /// The books as they are at this state: what came later is gone.
    pub(crate) fn cut(&self, books: &Books) -> Books {
        let mut cut = Books::new();
        for topic in self.facts.topics.values() {
            for (number, part) in (0..).zip(&topic.parts) {
                let mut stored = books.get(&(topic.id, number)).cloned().unwrap_or_default();
                stored.records.truncate(part.end as usize);
                stored.batches.retain(|batch| batch.next <= part.end);
                cut.insert((topic.id, number), stored);
            }
        }
        cut
    }
}

impl Stored {
    /// Whether retention may let the partition begin at `to` rather than `from` at the time `now`.
    /// What a partition takes that was ever compacted is not known.
    pub(crate) fn may_expire(
        &self,
        config: &TopicConfig,
        was_compacted: bool,
        (from, to): (u64, u64),
        now: i64,
    ) -> bool {
        let oldest = config.retention.map(|time| now - time.as_millis() as i64);
        let rest = self.batches.iter().filter(|batch| batch.next > to);
        let rest = rest.map(|batch| batch.span).sum::<u64>();
        let is_surplus = config.retention_bytes.is_some_and(|most| was_compacted || rest >= most);
        let mut gone = self.batches.iter().filter(|batch| batch.next > from && batch.next <= to);
        let is_end = self.batches.iter().any(|batch| batch.next == to);
        is_end && gone.all(|batch| is_surplus || oldest.is_some_and(|time| batch.arrival < time))
    }
}
