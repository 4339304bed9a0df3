//! What the tests of the log share.

use bytes::Bytes;
use dhara_log::batch::BatchBuilder;
use dhara_log::{Append, Log, LogError, TopicPartition};

/// A batch with these values and no keys.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(1_000, None, Some(value.as_bytes()), []).unwrap();
    }
    builder.finish()
}

/// Appends one batch and steps the log.
pub(crate) fn append(
    log: &Log,
    partition: &TopicPartition,
    values: &[&str],
) -> Result<u64, LogError> {
    let ticket = log.append(Append::batch(partition.clone(), batch(values)));
    log.commit_step();
    ticket.wait().map(|appended| appended.base_offset())
}

/// All values of a partition with their offsets, from `offset` on.
pub(crate) fn read_from(log: &Log, partition: &TopicPartition, offset: u64) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut next = offset;
    loop {
        let fetched = log.read(partition, next, 10_000).unwrap();
        let Some(last) = fetched.batches.last() else { return found };
        next = last.next_offset();
        for batch in &fetched.batches {
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                found.push((record.offset, value));
            }
        }
    }
}
