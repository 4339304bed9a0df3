//! The offsets that groups committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::{Cursor, put_text};
use crate::{LogError, TopicPartition};

/// The longest name of a group, and the longest metadata of a committed offset.
const MAX_TEXT: usize = 4096;

/// Stands for no offset.
const FORGOTTEN: u64 = u64::MAX;

/// An offset that a group commits: the one that it goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The group.
    pub group: Arc<str>,
    /// The partition.
    pub partition: TopicPartition,
    /// The offset that the group has not done yet; `u64::MAX` makes the group forget the partition.
    pub offset: u64,
    /// A note of the group's own, kept as it is.
    pub metadata: Arc<str>,
}

impl GroupOffset {
    /// `group` goes on from `offset` in `partition`.
    pub fn new(group: impl Into<Arc<str>>, partition: TopicPartition, offset: u64) -> Self {
        Self { group: group.into(), partition, offset, metadata: Arc::from("") }
    }

    /// `group` forgets what it committed for `partition`.
    pub fn forget(group: impl Into<Arc<str>>, partition: TopicPartition) -> Self {
        Self::new(group, partition, FORGOTTEN)
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        if self.group.is_empty() || self.group.len() > MAX_TEXT || self.metadata.len() > MAX_TEXT {
            return Err(LogError::invalid(format!(
                "group {:?}: a name has 1 to {MAX_TEXT} bytes, metadata at most as many",
                self.group.chars().take(64).collect::<String>()
            )));
        }
        Ok(())
    }
}

/// What a group committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset that the group goes on from.
    pub offset: u64,
    /// The note that came with it.
    pub metadata: Arc<str>,
}

/// A committed offset on its way to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) group: Arc<str>,
    pub(crate) partition: u32,
    pub(crate) committed: Committed,
}

impl Position {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, &self.group);
        out.extend_from_slice(&self.partition.to_le_bytes());
        out.extend_from_slice(&self.committed.offset.to_le_bytes());
        put_text(out, &self.committed.metadata);
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let group = Arc::from(cursor.text()?);
        let partition = cursor.u32()?;
        let offset = cursor.u64()?;
        let metadata = Arc::from(cursor.text()?);
        Some(Self { group, partition, committed: Committed { offset, metadata } })
    }

    pub(crate) fn decode_all(bytes: &[u8]) -> Option<Vec<Self>> {
        let mut cursor = Cursor::new(bytes);
        let mut all = Vec::new();
        while !cursor.is_empty() {
            all.push(Self::decode(&mut cursor)?);
        }
        Some(all)
    }
}

/// All groups with the offsets they committed, by partition id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    by_name: BTreeMap<Arc<str>, BTreeMap<u32, Committed>>,
}

impl Groups {
    pub(crate) fn set(&mut self, position: Position) {
        if position.committed.offset == FORGOTTEN {
            self.forget(&position.group, position.partition);
            return;
        }
        let group = match self.by_name.get_mut(&position.group) {
            Some(group) => group,
            None => self.by_name.entry(position.group).or_default(),
        };
        group.insert(position.partition, position.committed);
    }

    fn forget(&mut self, group: &str, partition: u32) {
        let Some(offsets) = self.by_name.get_mut(group) else { return };
        offsets.remove(&partition);
        if offsets.is_empty() {
            self.by_name.remove(group);
        }
    }

    /// What groups committed for these partitions goes.
    pub(crate) fn forget_partitions(&mut self, ids: &[u32]) {
        self.by_name.retain(|_, offsets| {
            ids.iter().for_each(|id| drop(offsets.remove(id)));
            !offsets.is_empty()
        });
    }

    /// What groups committed for other partitions goes.
    pub(crate) fn keep_partitions(&mut self, is_there: impl Fn(u32) -> bool) {
        self.by_name.retain(|_, offsets| {
            offsets.retain(|id, _| is_there(*id));
            !offsets.is_empty()
        });
    }

    pub(crate) fn get(&self, group: &str, partition: u32) -> Option<&Committed> {
        self.by_name.get(group)?.get(&partition)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    pub(crate) fn of(&self, group: &str) -> impl Iterator<Item = (u32, &Committed)> {
        self.by_name.get(group).into_iter().flatten().map(|(id, committed)| (*id, committed))
    }

    pub(crate) fn positions(&self) -> Vec<Position> {
        let of_group = |(group, offsets): (&Arc<str>, &BTreeMap<u32, Committed>)| {
            let group = Arc::clone(group);
            offsets
                .iter()
                .map(move |(partition, committed)| Position {
                    group: Arc::clone(&group),
                    partition: *partition,
                    committed: committed.clone(),
                })
                .collect::<Vec<_>>()
        };
        self.by_name.iter().flat_map(of_group).collect()
    }
}
