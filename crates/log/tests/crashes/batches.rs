//! Batches of every kind that the log is given.

use bytes::Bytes;
use dhara_log::batch::BatchBuilder;
use dhara_world::Random;

use super::codecs::{CODECS, sealed, set};
use super::model::Record;

/// Records of one batch: small or up to a few KiB, with keys where they are wanted.
pub(crate) fn records(random: &Random, now: i64, has_keys: bool) -> Vec<Record> {
    let count = 1 + random.below(3);
    (0..count)
        .map(|_| {
            let length = match random.below(12) {
                0 => 1_000 + random.below(2_500),
                1..4 => random.below(600),
                _ => random.below(40),
            };
            let key = has_keys.then(|| key_of(random.below(6)));
            let is_tombstone = has_keys && random.below(4) == 0;
            let value = (!is_tombstone).then(|| value(random.next_u64(), length as usize));
            Record { key, value, time: now - random.below(5) as i64 }
        })
        .collect()
}

pub(crate) fn key_of(number: u64) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

fn value(id: u64, length: usize) -> Vec<u8> {
    let mut value = format!("{id:016x}").into_bytes();
    value.resize(16 + length, b'x');
    value
}

/// The bytes of the batch, compressed where `codec` is one of the known.
pub(crate) fn encode(records: &[Record], codec: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    for record in records {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push(record.time, key, value, []).unwrap();
    }
    let batch = builder.finish();
    CODECS.get(codec).map_or(batch.clone(), |codec| codec.batch(&batch))
}

/// The batch as an idempotent producer sends it.
pub(crate) fn sequenced(batch: &Bytes, producer: i64, first: i32) -> Bytes {
    let mut batch = batch.to_vec();
    set(&mut batch, 43, &producer.to_be_bytes());
    set(&mut batch, 51, &0_i16.to_be_bytes());
    set(&mut batch, 53, &first.to_be_bytes());
    sealed(batch)
}

/// The bytes that the frame of a batch takes.
pub(crate) fn span(batch: &Bytes) -> u64 {
    (56 + batch.len() as u64).next_multiple_of(8)
}
