//! Retention: what is too old, or too much, expires.

use std::sync::Arc;

use crate::commit::Work;
use crate::frame;
use crate::partition::{Partition, Stretch};
use crate::sabotage::Sabotage;
use crate::settled::{Class, Settled};
use crate::shared::Shared;
use crate::space::Trimmed;
use crate::sync::read;
use crate::{LogError, TopicConfig, TopicPartition};

/// How many blocks of a settled file are looked at together.
const BLOCKS: usize = 1 << 20;

impl Shared {
    /// Lets records expire; `false` where none did.
    pub(crate) fn retain_step(&self) -> Result<bool, LogError> {
        let trims = self.expired()?;
        if trims.is_empty() {
            return Ok(false);
        }
        self.trim(trims)?;
        Ok(true)
    }

    fn expired(&self) -> Result<Vec<Trimmed>, LogError> {
        let now = i64::try_from(self.options.clock.now().as_millis()).unwrap_or(i64::MAX);
        let mut trims = Vec::new();
        for (config, partitions) in self.with_retention() {
            for partition in partitions {
                // With many partitions and files this takes long: whoever appends may wait for it.
                self.wait_for_settling()?;
                // What moved to a settled file meanwhile would be passed over, and not be counted.
                let _settling = self.begin_settling()?;
                let settled = Arc::clone(&read(&self.settled));
                let from = partition.shown().earliest;
                let to = self.expired_to(&settled, &partition, from, &config, now)?;
                if to > from {
                    trims.push(Trimmed { partition, from, to });
                }
            }
        }
        Ok(trims)
    }

    /// The partitions of topics with a retention.
    fn with_retention(&self) -> Vec<(Arc<TopicConfig>, Vec<Arc<Partition>>)> {
        let topics = read(&self.topics);
        let has_one =
            |config: &TopicConfig| config.retention.is_some() || config.retention_bytes.is_some();
        let of_topic = topics.all().filter(|topic| has_one(&topic.record.config));
        of_topic.map(|topic| (Arc::clone(&topic.record.config), topic.partitions.clone())).collect()
    }

    /// Lets partitions begin later: durably, and then their space is given back.
    pub(crate) fn trim(&self, trims: Vec<Trimmed>) -> Result<(), LogError> {
        if Sabotage::SpaceBeforeTrim.is_on() {
            self.give_back(&trims)?;
        }
        let of = |trimmed: &Trimmed| (Arc::clone(&trimmed.partition), trimmed.to);
        let work = Work::Trim(trims.iter().map(of).collect());
        let ticket = self.enqueue(work, trims.len().saturating_mul(frame::HEADER), false);
        // Whoever takes it from the queue commits it, this thread or the committer's.
        self.commit_step();
        ticket.wait()?;
        self.give_back(&trims)
    }

    /// What a user asks to be trimmed.
    pub(crate) fn trim_to(&self, wanted: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        let mut trims = Vec::with_capacity(wanted.len());
        for (name, to) in wanted {
            let partition = Arc::clone(read(&self.topics).find(name)?);
            let (from, end) = {
                let shown = partition.shown();
                (shown.earliest, shown.end)
            };
            if *to > end {
                let partition = name.clone();
                return Err(LogError::OutOfRange { partition, offset: *to, earliest: from, end });
            }
            if *to > from {
                trims.push(Trimmed { partition, from, to: *to });
            }
        }
        if trims.is_empty() { Ok(()) } else { self.trim(trims) }
    }

    /// The offset below which everything in a partition has expired, which begins at `from`.
    fn expired_to(
        &self,
        settled: &Settled,
        partition: &Partition,
        from: u64,
        config: &TopicConfig,
        now: i64,
    ) -> Result<u64, LogError> {
        let oldest = config.retention.map_or(i64::MIN, |time| {
            now.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
        });
        let mut surplus = match config.retention_bytes {
            Some(most) => self.bytes_of(settled, partition)?.saturating_sub(most),
            None => 0,
        };
        let (mut at, end) = {
            let shown = partition.shown();
            // What somebody has trimmed meanwhile may have been counted, or not: it is for the next look.
            let is_counted = shown.earliest == from;
            let is_known_young = shown.oldest.is_some_and(|(time, _)| time >= oldest);
            if !is_counted || from == shown.end || (surplus == 0 && is_known_young) {
                return Ok(from);
            }
            (from, shown.end)
        };
        while at < end {
            let stretches = self.stretches_from(settled, partition, at)?;
            for stretch in &stretches {
                let is_surplus = surplus >= u64::from(stretch.bytes);
                if stretch.max_timestamp >= oldest && !is_surplus {
                    partition.shown().oldest = Some((stretch.max_timestamp, stretch.next));
                    return Ok(at);
                }
                surplus = surplus.saturating_sub(u64::from(stretch.bytes));
                at = stretch.next;
            }
            if stretches.is_empty() {
                break;
            }
        }
        Ok(at.min(end))
    }

    /// The bytes that a partition keeps, counted once and then kept up.
    pub(crate) fn bytes_of(
        &self,
        settled: &Settled,
        partition: &Partition,
    ) -> Result<u64, LogError> {
        if let Some(bytes) = partition.shown().bytes {
            return Ok(bytes);
        }
        let (from, end) = {
            let shown = partition.shown();
            (shown.earliest, shown.end)
        };
        let (mut at, mut bytes) = (from, 0);
        while at < end {
            let stretches = self.stretches_from(settled, partition, at)?;
            let Some(last) = stretches.last() else { break };
            bytes += stretches.iter().map(|stretch| u64::from(stretch.bytes)).sum::<u64>();
            at = last.next;
        }
        let mut shown = partition.shown();
        if shown.earliest == from && shown.end == end {
            shown.bytes = Some(bytes);
        }
        Ok(bytes)
    }

    /// Where the records from `offset` on lie: those of one settled file, or of the journal.
    pub(crate) fn stretches_from(
        &self,
        settled: &Settled,
        partition: &Partition,
        offset: u64,
    ) -> Result<Vec<Stretch>, LogError> {
        let mut best: Vec<Stretch> = Vec::new();
        for class in [Class::Plain, Class::Compact] {
            if let Some((_, found)) =
                self.blocks_from(settled, class, partition.id, offset, BLOCKS)?
            {
                let is_earlier = match (found.first(), best.first()) {
                    (Some(found), Some(best)) => found.offset < best.offset,
                    (found, _) => found.is_some(),
                };
                if is_earlier {
                    best = found;
                }
            }
        }
        if best.is_empty() {
            let shown = partition.shown();
            let from = shown.stretches.partition_point(|stretch| stretch.next <= offset);
            best.extend(shown.stretches.range(from..).copied());
        }
        Ok(best)
    }
}
