//! What the log remembers of idempotent producers, so that a batch which comes twice is appended
//! once, also across a restart.
//!
//! The rules are Kafka's. A producer counts its records for each partition, from 0, and after
//! `i32::MAX` comes 0 again. A batch is new when it goes on where the last one of its producer
//! ended. It is a repeat when its sequences are exactly those of one of the last five. A higher
//! epoch begins at 0 and fences the lower ones. A producer of which nothing is known, perhaps as
//! its memory had to give way, may begin anywhere.
//!
//! [`Producers`] is what is durable. [`Pending`] lies over it while a commit is gathered.

mod encoding;
mod known;
#[cfg(test)]
mod model;
mod pending;
mod sequenced;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use pending::{Notes, Pending};
pub(crate) use sequenced::{ProducerError, Sequenced};

use known::Known;

/// How many pairs of partition and producer are remembered where nobody says otherwise.
pub(crate) const DEFAULT_MOST: usize = 10_000;

/// A partition's id and a producer's.
type Key = (u32, i64);

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is to be appended.
    New,
    /// It was appended before, at these offsets.
    Repeat {
        /// The offset of its first record.
        base_offset: u64,
        /// The offset after its last.
        next: u64,
    },
}

/// The producers whose batches are durable: the latest `most` pairs of partition and producer.
///
/// A producer that writes to three partitions takes three places, about 200 bytes each. Where
/// there are more than `most`, the pair that has been without a new batch for the longest gives
/// way. A repeat is no use in this sense: the order is that of the notes alone, so that a replay of
/// the journal comes to the same memory.
#[derive(Clone, Debug)]
pub(crate) struct Producers {
    most: usize,
    entries: BTreeMap<Key, Entry>,
    /// The entries by their stamps, so the one that gives way next stands first.
    by_use: BTreeMap<u64, Key>,
    last_stamp: u64,
    /// For each partition whose entries had to give way, the offset below which it has nothing new
    /// to tell: a batch below is an old one that is replayed.
    forgotten: BTreeMap<u32, u64>,
}

#[derive(Clone, Debug)]
struct Entry {
    known: Known,
    last_ms: u64,
    stamp: u64,
}

/// What is known of a producer in a partition, for who wants to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerInfo {
    pub(crate) partition: u32,
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) last_sequence: i32,
    /// The offset after its last batch.
    pub(crate) next: u64,
    /// When its last batch was noted, in milliseconds since 1970.
    pub(crate) last_ms: u64,
}

impl Producers {
    /// A memory for `most` pairs of partition and producer.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            entries: BTreeMap::new(),
            by_use: BTreeMap::new(),
            last_stamp: 0,
            forgotten: BTreeMap::new(),
        }
    }

    /// Whether `batch` is to be appended to the partition, was appended before, or is refused.
    pub(crate) fn check(
        &self,
        partition: u32,
        batch: &Sequenced,
    ) -> Result<Verdict, ProducerError> {
        self.known(&(partition, batch.producer))
            .map_or(Ok(Verdict::New), |known| known.check(batch))
    }

    /// Remembers that `batch` is durable at `base` to below `next`.
    ///
    /// A batch that is below what is known already changes nothing, so that the journal may be
    /// replayed over a memory which is newer than its beginning. Any other is taken as it is: what
    /// the journal holds was checked before it was written.
    pub(crate) fn note(
        &mut self,
        partition: u32,
        batch: &Sequenced,
        base: u64,
        next: u64,
        now_ms: u64,
    ) {
        let key = (partition, batch.producer);
        let Some(entry) = self.entries.get_mut(&key) else {
            if self.forgotten.get(&partition).is_none_or(|mark| base >= *mark) {
                self.insert(key, Known::begin(batch, base, next), now_ms);
            }
            return;
        };
        if !entry.known.note(batch, base, next) {
            return;
        }
        entry.last_ms = now_ms;
        if entry.stamp != self.last_stamp {
            self.by_use.remove(&entry.stamp);
            self.last_stamp += 1;
            entry.stamp = self.last_stamp;
            self.by_use.insert(self.last_stamp, key);
        }
    }

    /// Remembers what a commit has noted, now that it is durable.
    pub(crate) fn apply(&mut self, notes: Notes) {
        for note in notes.into_iter() {
            self.note(note.partition, &note.batch, note.base, note.next, note.now_ms);
        }
    }

    /// Forgets all producers of a partition that is gone. Its id is never used again, so a replay
    /// has to leave out the batches of partitions that it does not know.
    pub(crate) fn forget_partition(&mut self, partition: u32) {
        let keys: Vec<Key> = self
            .entries
            .range((partition, i64::MIN)..=(partition, i64::MAX))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if let Some(entry) = self.entries.remove(&key) {
                self.by_use.remove(&entry.stamp);
            }
        }
        self.forgotten.remove(&partition);
    }

    /// What is remembered, by partition and producer.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ProducerInfo> {
        self.entries.iter().map(|((partition, producer), entry)| ProducerInfo {
            partition: *partition,
            producer: *producer,
            epoch: entry.known.epoch(),
            last_sequence: entry.known.last_sequence(),
            next: entry.known.next(),
            last_ms: entry.last_ms,
        })
    }

    fn known(&self, key: &Key) -> Option<&Known> {
        self.entries.get(key).map(|entry| &entry.known)
    }

    fn insert(&mut self, key: Key, known: Known, last_ms: u64) {
        self.last_stamp += 1;
        let stamp = self.last_stamp;
        self.by_use.insert(stamp, key);
        self.entries.insert(key, Entry { known, last_ms, stamp });
        while self.entries.len() > self.most {
            self.evict();
        }
    }

    fn evict(&mut self) {
        let Some((_, key)) = self.by_use.pop_first() else { return };
        if let Some(entry) = self.entries.remove(&key) {
            let mark = self.forgotten.entry(key.0).or_default();
            *mark = entry.known.next().max(*mark);
        }
    }
}
