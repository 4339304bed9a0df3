//! How much room a log takes, and for what.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Inspection;
use crate::partition::Partition;
use crate::segment::number_of;
use crate::settled::Settled;
use crate::shared::Shared;
use crate::sync::read;
use crate::topics::Topic;
use crate::{LogError, TopicInfo};

/// How much is read at a time to count records.
const PIECE: usize = 4 << 20;

/// How much room a log takes, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// How many files each kind has, and their lengths together.
    pub files: BTreeMap<&'static str, (usize, u64)>,
    /// Frames in the journal that are not settled yet, with what is free between them.
    pub unsettled: u64,
    /// Files of the journal that are settled, and wait to be used again.
    pub reusable: u64,
    /// Frames in settled files that somebody may read.
    pub alive: u64,
    /// Frames in settled files that nobody can read any more; holes are among them.
    pub dead: u64,
    /// Each topic, by name.
    pub topics: Vec<TopicSize>,
}

/// How much room a topic takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSize {
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: u32,
    /// How many records there are; those of damaged offsets count where the topic is not compacted.
    pub records: u64,
    /// The bytes of its frames, wherever they lie.
    pub bytes: u64,
}

impl Inspection {
    /// How much room the log takes. Of topics that are compacted all records are read.
    pub fn sizes(&self) -> Result<Sizes, LogError> {
        let shared = self.shared();
        let settled = Arc::clone(&read(&shared.settled));
        let mut sizes = Sizes { files: shared.file_sizes()?, ..Sizes::default() };
        for held in settled.all() {
            let index = shared.index_of(&settled, held)?;
            for run in index.runs() {
                let earliest = shared.earliest_of(run.partition);
                let blocks = index.blocks(run.partition).filter(|block| block.next > earliest);
                sizes.alive += blocks.map(|block| u64::from(block.bytes)).sum::<u64>();
            }
            sizes.dead += held.file.frame_bytes;
        }
        sizes.dead = sizes.dead.saturating_sub(sizes.alive);
        let segments = Arc::clone(&read(&shared.segments));
        let end_of = |number, length| shared.end_in(number).unwrap_or(length);
        sizes.unsettled =
            segments.iter().map(|segment| end_of(segment.number, segment.length)).sum();
        let stats = shared.stats();
        sizes.reusable =
            stats.journal_bytes - segments.iter().map(|segment| segment.length).sum::<u64>();
        let topics = read(&shared.topics);
        let all: Vec<_> = topics.all().map(|topic| (topics.info(topic), topic.clone())).collect();
        drop(topics);
        for (info, topic) in all {
            sizes.topics.push(shared.topic_size(&settled, &info, &topic)?);
        }
        Ok(sizes)
    }
}

impl Shared {
    fn file_sizes(&self) -> Result<BTreeMap<&'static str, (usize, u64)>, LogError> {
        let mut files: BTreeMap<_, (usize, u64)> = BTreeMap::new();
        for name in self.folder.names()? {
            let kinds = ["journal", "settled", "state", "state-copy"];
            let kind = kinds.into_iter().find(|kind| number_of(&name, kind).is_some());
            let kind = kind.or(name.ends_with(".cut").then_some("cut"));
            let length = self.folder.existing(&name)?.len();
            let length = length
                .map_err(|error| LogError::io("measuring", &self.folder.path(&name), error))?;
            let entry = files.entry(kind.unwrap_or("other")).or_default();
            *entry = (entry.0 + 1, entry.1 + length);
        }
        Ok(files)
    }

    fn topic_size(
        &self,
        settled: &Settled,
        info: &TopicInfo,
        topic: &Topic,
    ) -> Result<TopicSize, LogError> {
        let (mut records, mut bytes) = (0, 0);
        for partition in &topic.partitions {
            bytes += self.bytes_of(settled, partition)?;
            records += match partition.is_compacted() {
                true => self.count_records(partition)?,
                false => {
                    let shown = partition.shown();
                    shown.end - shown.earliest
                }
            };
        }
        let (name, partitions) = (Arc::clone(&info.name), info.partitions);
        Ok(TopicSize { name, partitions, records, bytes })
    }

    /// Counts the records of a partition that can be read.
    fn count_records(&self, partition: &Partition) -> Result<u64, LogError> {
        let mut at = partition.shown().earliest;
        let mut records = 0;
        loop {
            match self.read_partition(partition, at, PIECE) {
                Ok(fetched) if fetched.next == at => return Ok(records),
                Ok(fetched) => {
                    let counts = fetched.batches.iter().map(|batch| batch.record_count());
                    records += counts.map(u64::from).sum::<u64>();
                    at = fetched.next;
                }
                Err(LogError::Damaged { next, .. }) if next > at => at = next,
                Err(error) => return Err(error),
            }
        }
    }
}
