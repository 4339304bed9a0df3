//! Topics, their partitions, and their names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::BufMut;

use crate::LogError;
use crate::codec::{Cursor, put_list, put_text};
use crate::config::TopicConfig;
use crate::keys::hash_key;
use crate::partition::{Partition, TopicPartition};

/// The most partitions that one log may have.
pub const MAX_PARTITIONS: u32 = 1 << 20;

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Tells it from every other topic, of this log and of others, one of the same name included.
    pub id: u128,
    /// How many partitions it has.
    pub partitions: u32,
    /// How it is kept.
    pub config: Arc<TopicConfig>,
    /// Its other names.
    pub aliases: Vec<Arc<str>>,
    /// How it came to have more partitions than it began with, in order.
    pub growths: Vec<Growth>,
}

/// Partitions were added to a topic: keys may lie in other partitions from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Where each partition that was there before ended. Who handles events of one key in order
    /// finishes the old partitions up to here before beginning with the new ones.
    pub ends: Vec<u64>,
}

/// All of a topic, as the journal and the state file have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicRecord {
    pub(crate) name: Arc<str>,
    /// The ids of its partitions, in runs: the first of each, and how many.
    pub(crate) ids: Vec<(u32, u32)>,
    pub(crate) growths: Vec<Growth>,
    pub(crate) aliases: Vec<Arc<str>>,
    pub(crate) config: Arc<TopicConfig>,
}

impl TopicRecord {
    pub(crate) fn count(&self) -> u32 {
        self.ids.iter().map(|(_, count)| *count).sum()
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, &self.name);
        put_list(out, self.ids.iter(), |out, (first, count)| {
            out.put_u32_le(*first);
            out.put_u32_le(*count);
        });
        put_list(out, self.growths.iter(), |out, growth| {
            put_list(out, growth.ends.iter(), |out, end| out.put_u64_le(*end));
        });
        put_list(out, self.aliases.iter(), |out, alias| put_text(out, alias));
        put_list(out, self.config.pairs().iter(), |out, (name, value)| {
            put_text(out, name);
            put_text(out, value);
        });
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let name = Arc::from(cursor.text()?);
        let ids = cursor.list(|cursor| Some((cursor.u32()?, cursor.u32()?)))?;
        let growths = cursor.list(|cursor| Some(Growth { ends: cursor.list(Cursor::u64)? }))?;
        let aliases = cursor.list(|cursor| Some(Arc::from(cursor.text()?)))?;
        let pairs =
            cursor.list(|cursor| Some((cursor.text()?.to_owned(), cursor.text()?.to_owned())))?;
        let config = Arc::new(TopicConfig::of_pairs(pairs.into_iter())?);
        let record = Self { name, ids, growths, aliases, config };
        record.is_sound().then_some(record)
    }

    /// The creation of a topic as version 1 has it.
    pub(crate) fn decode_v1(cursor: &mut Cursor<'_>) -> Option<Self> {
        let name = Arc::from(cursor.text()?);
        let ids = vec![(cursor.u32()?, cursor.u32()?)];
        let (growths, aliases, config) = (Vec::new(), Vec::new(), Arc::default());
        let record = Self { name, ids, growths, aliases, config };
        record.is_sound().then_some(record)
    }

    /// Whether its partitions are as many as a log may have, and have ids.
    fn is_sound(&self) -> bool {
        let mut total = 0_u32;
        self.ids.iter().all(|(first, count)| {
            total = total.saturating_add(*count);
            total <= MAX_PARTITIONS && first.checked_add(*count).is_some()
        })
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) record: TopicRecord,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

/// All topics, by name and by the ids that the journal knows their partitions by.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: BTreeMap<Arc<str>, Topic>,
    /// The topics that other names stand for.
    aliases: BTreeMap<Arc<str>, Arc<str>>,
    by_id: HashMap<u32, Arc<Partition>>,
    /// The id that the next partition gets; none is given twice.
    next_id: u32,
    /// Tells this log from every other.
    log_id: u64,
}

impl Topics {
    pub(crate) fn new(salt: u64, next_id: u32) -> Self {
        // The salt itself is for nobody to know.
        let log_id = (hash_key(salt, b"the log") >> 64) as u64;
        Self { log_id, next_id, ..Self::default() }
    }

    /// Takes a topic as it is from now on: a new one, or another state of one that is there. Gives
    /// the partitions that it did not have before.
    pub(crate) fn put(&mut self, record: TopicRecord) -> Vec<Arc<Partition>> {
        let old = self.by_name.remove(&record.name);
        let count = record.count();
        let mut partitions = Vec::with_capacity(count as usize);
        let mut new = Vec::new();
        let ids = record.ids.iter().flat_map(|(first, count)| *first..first.saturating_add(*count));
        for (number, id) in (0..).zip(ids) {
            let partition = self.by_id.entry(id).or_insert_with(|| {
                let name = TopicPartition::new(Arc::clone(&record.name), number);
                let partition = Arc::new(Partition::new(id, name));
                new.push(Arc::clone(&partition));
                partition
            });
            partition.set_siblings(count);
            partition.set_sync(record.config.sync);
            if record.config.compact {
                partition.set_compacted();
            }
            partitions.push(Arc::clone(partition));
            self.next_id = self.next_id.max(id.saturating_add(1));
        }
        if let Some(old) = &old {
            old.record.aliases.iter().for_each(|alias| drop(self.aliases.remove(alias)));
        }
        for alias in &record.aliases {
            self.aliases.insert(Arc::clone(alias), Arc::clone(&record.name));
        }
        self.by_name.insert(Arc::clone(&record.name), Topic { record, partitions });
        new
    }

    /// Removes a topic; gives the partitions that it had.
    pub(crate) fn remove(&mut self, name: &str) -> Vec<Arc<Partition>> {
        let Some(topic) = self.by_name.remove(name) else { return Vec::new() };
        topic.record.aliases.iter().for_each(|alias| drop(self.aliases.remove(alias)));
        for partition in &topic.partitions {
            self.by_id.remove(&partition.id);
            partition.set_deleted();
        }
        topic.partitions
    }

    pub(crate) fn log_id(&self) -> u64 {
        self.log_id
    }

    pub(crate) fn next_id(&self) -> u32 {
        self.next_id
    }

    /// An id that was given to somebody is never given again.
    pub(crate) fn skip_id(&mut self, id: u32) {
        self.next_id = self.next_id.max(id.saturating_add(1));
    }

    /// The topic of this name or alias.
    pub(crate) fn topic(&self, name: &str) -> Option<&Topic> {
        let of = |name: &str| self.by_name.get(name);
        of(name).or_else(|| of(self.aliases.get(name)?))
    }

    pub(crate) fn find(&self, name: &TopicPartition) -> Result<&Arc<Partition>, LogError> {
        self.topic(&name.topic)
            .and_then(|topic| topic.partitions.get(name.partition as usize))
            .ok_or_else(|| LogError::Unknown { partition: name.clone() })
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<&Arc<Partition>> {
        self.by_id.get(&id)
    }

    /// How many partitions there are.
    pub(crate) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// All partitions, by their ids.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        let mut all: Vec<_> = self.by_id.values().cloned().collect();
        all.sort_unstable_by_key(|partition| partition.id);
        all
    }

    /// Id, earliest offset and end of each partition, by id.
    pub(crate) fn bounds(&self) -> Vec<(u32, u64, u64)> {
        let bounds = |partition: Arc<Partition>| {
            let shown = partition.shown();
            (partition.id, shown.earliest, shown.end)
        };
        self.partitions().into_iter().map(bounds).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values()
    }

    pub(crate) fn info(&self, topic: &Topic) -> TopicInfo {
        let record = &topic.record;
        let first = record.ids.first().map_or(0, |(first, _)| *first);
        TopicInfo {
            name: Arc::clone(&record.name),
            id: (u128::from(self.log_id) << 64) | u128::from(first),
            partitions: record.count(),
            config: Arc::clone(&record.config),
            aliases: record.aliases.clone(),
            growths: record.growths.clone(),
        }
    }
}

/// Whether `name` can be a topic's, by Kafka's rules.
pub(crate) fn check_topic_name(name: &str) -> Result<(), LogError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." {
        return Err(LogError::invalid(format!(
            "topic {name:?}: a name has 1 to 249 characters and is neither `.` nor `..`"
        )));
    }
    match name.chars().find(|c| !allowed(*c)) {
        Some(bad) => Err(LogError::invalid(format!(
            "topic {name:?}: {bad:?} is not allowed; use letters, digits, `.`, `_` and `-`"
        ))),
        None => Ok(()),
    }
}
