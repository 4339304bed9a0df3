//! Finding offsets by time.

use std::sync::Arc;

use crate::partition::{Partition, Stretch};
use crate::shared::Shared;
use crate::sync::read;
use crate::{LogError, TopicPartition};

/// How much is read at a time to find a record in its stretch.
const PIECE: usize = 256 << 10;

impl Shared {
    /// Offset and timestamp of the first record that is not older than `timestamp`.
    pub(crate) fn offset_at(
        &self,
        name: &TopicPartition,
        timestamp: i64,
    ) -> Result<Option<(u64, i64)>, LogError> {
        let partition = Arc::clone(read(&self.topics).find(name)?);
        let (mut at, end) = {
            let shown = partition.shown();
            (shown.earliest, shown.end)
        };
        while at < end {
            let stretches = self.stretches_now(&partition, at)?;
            let Some(last) = stretches.last() else { break };
            for stretch in &stretches {
                if stretch.max_timestamp >= timestamp
                    && let Some(found) =
                        self.find_time(&partition, stretch.offset.max(at), stretch.next, timestamp)?
                {
                    return Ok(Some(found));
                }
            }
            at = last.next;
        }
        Ok(None)
    }

    /// As [`Shared::stretches_from`], while others settle and merge.
    fn stretches_now(&self, partition: &Partition, at: u64) -> Result<Vec<Stretch>, LogError> {
        loop {
            let files = self.files();
            let found = self.stretches_from(&files.settled, partition, at);
            let is_whole = match &found {
                Ok(stretches) => stretches.first().is_some_and(|first| first.offset <= at),
                Err(_) => false,
            };
            // What was settled meanwhile is missed in the files that there were before.
            if is_whole || files.are_those_of(self) {
                return found;
            }
        }
    }

    fn find_time(
        &self,
        partition: &Partition,
        from: u64,
        to: u64,
        timestamp: i64,
    ) -> Result<Option<(u64, i64)>, LogError> {
        let mut next = from;
        while next < to {
            let fetched = match self.read_partition(partition, next, PIECE) {
                // It expired a moment ago.
                Err(LogError::OutOfRange { earliest, .. }) if earliest > next => {
                    next = earliest;
                    continue;
                }
                fetched => fetched?,
            };
            if fetched.next <= next {
                break;
            }
            next = fetched.next;
            for batch in fetched.batches.iter().filter(|batch| batch.max_timestamp() >= timestamp) {
                for record in batch.records()? {
                    let record = record?;
                    if record.offset >= from && record.timestamp >= timestamp {
                        return Ok(Some((record.offset, record.timestamp)));
                    }
                }
            }
        }
        Ok(None)
    }
}
