//! Topics, their partitions, and their names.

use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::LogError;
use crate::codec::{Cursor, put_text};
use crate::sync::lock;
use crate::watch::Watcher;

/// The most partitions that one log may have.
pub const MAX_PARTITIONS: u32 = 1 << 20;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: u32,
}

/// Where a frame with records of a partition lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The offset of its first record.
    pub(crate) offset: u64,
    /// The frame's position in the journal.
    pub(crate) position: u64,
    /// How many offsets it takes.
    pub(crate) count: u32,
    /// The length of its batch.
    pub(crate) length: u32,
}

/// One partition: what readers may see of it, and who waits for more.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) id: u32,
    pub(crate) name: TopicPartition,
    /// The offset that the next record gets; only the committer changes it, under its lock.
    next: AtomicU64,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// The offset after the last visible record.
    pub(crate) end: u64,
    /// The frames that no index file holds yet, in order.
    pub(crate) entries: VecDeque<Entry>,
    pub(crate) watchers: Vec<Watcher>,
}

impl Partition {
    fn new(id: u32, name: TopicPartition) -> Self {
        Self { id, name, next: AtomicU64::new(0), shown: Mutex::default() }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(crate) fn set_next(&self, next: u64) {
        self.next.store(next, Ordering::Relaxed);
    }

    pub(crate) fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        lock(&self.shown)
    }

    /// Takes the offset `end` as both next and visible, as recovery finds it.
    pub(crate) fn recover_end(&self, end: u64) {
        self.set_next(end);
        self.shown().end = end;
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) partitions: Vec<Arc<Partition>>,
}

/// All topics, by name and by the ids that the journal knows their partitions by.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: BTreeMap<Arc<str>, Topic>,
    by_id: Vec<Arc<Partition>>,
}

/// The record of a topic's creation in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Creation {
    pub(crate) name: Arc<str>,
    pub(crate) first_id: u32,
    pub(crate) partitions: u32,
}

impl Creation {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, &self.name);
        out.extend_from_slice(&self.first_id.to_le_bytes());
        out.extend_from_slice(&self.partitions.to_le_bytes());
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let name = Arc::from(cursor.text()?);
        let first_id = cursor.u32()?;
        let partitions = cursor.u32()?;
        let fits = first_id.checked_add(partitions).is_some_and(|end| end <= MAX_PARTITIONS);
        fits.then_some(Self { name, first_id, partitions })
    }
}

impl Topics {
    /// Adds a topic; `None` where its ids are not the next ones or its name is there already.
    pub(crate) fn insert(&mut self, creation: &Creation) -> Option<()> {
        if creation.first_id != self.next_id() || self.by_name.contains_key(&*creation.name) {
            return None;
        }
        let partitions: Vec<_> = (0..creation.partitions)
            .map(|number| {
                let name = TopicPartition::new(Arc::clone(&creation.name), number);
                Arc::new(Partition::new(creation.first_id + number, name))
            })
            .collect();
        self.by_id.extend(partitions.iter().cloned());
        self.by_name.insert(Arc::clone(&creation.name), Topic { partitions });
        Some(())
    }

    pub(crate) fn next_id(&self) -> u32 {
        u32::try_from(self.by_id.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn topic(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(crate) fn find(&self, name: &TopicPartition) -> Result<&Arc<Partition>, LogError> {
        self.by_name
            .get::<str>(name.topic.borrow())
            .and_then(|topic| topic.partitions.get(name.partition as usize))
            .ok_or_else(|| LogError::Unknown { partition: name.clone() })
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<&Arc<Partition>> {
        self.by_id.get(id as usize)
    }

    /// All partitions, in the order of their ids.
    pub(crate) fn partitions(&self) -> &[Arc<Partition>] {
        &self.by_id
    }

    pub(crate) fn infos(&self) -> impl Iterator<Item = TopicInfo> {
        self.by_name.iter().map(|(name, topic)| TopicInfo {
            name: Arc::clone(name),
            partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
        })
    }

    /// The creations that make these topics, in the order of their ids.
    pub(crate) fn creations(&self) -> Vec<Creation> {
        let mut creations: Vec<_> = self
            .by_name
            .iter()
            .map(|(name, topic)| Creation {
                name: Arc::clone(name),
                first_id: topic.partitions.first().map_or(0, |partition| partition.id),
                partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
            })
            .collect();
        creations.sort_by_key(|creation| creation.first_id);
        creations
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
