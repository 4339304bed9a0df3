//! Batches that are written anew without some of their records.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

#[path = "support/codecs.rs"]
mod codecs;

use bytes::Bytes;
use codecs::{CODECS, Codec, sealed, set};
use dhara_log::batch::{BatchBuilder, Compression, Record, RecordBatch, Retained, TimestampType};
use proptest::prelude::*;

const APPEND_TIME: u8 = 0x08;
const TRANSACTIONAL: u8 = 0x10;
const CONTROL: u8 = 0x20;
const DELETE_HORIZON: u8 = 0x40;

/// What a producer put into a record, but for its place.
#[derive(Clone, Debug)]
struct Given {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn given() -> impl Strategy<Value = Given> {
    let bytes = |most| prop::option::of(prop::collection::vec(any::<u8>(), 0..most));
    let headers = prop::collection::vec(("[a-z]{0,4}", bytes(9)), 0..3);
    let timestamp = prop_oneof![0_i64..100_000, any::<i64>()];
    (timestamp, bytes(6), bytes(200), headers).prop_map(|(timestamp, key, value, headers)| Given {
        timestamp,
        key,
        value,
        headers,
    })
}

fn uncompressed(records: &[Given]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for Given { timestamp, key, value, headers } in records {
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        builder.push(*timestamp, key.as_deref(), value.as_deref(), headers).unwrap();
    }
    builder.finish()
}

/// The batch in a log: at an offset, in an epoch, by an idempotent producer, with `attributes`.
fn stored(batch: &Bytes, attributes: u8) -> Bytes {
    let mut batch = batch.to_vec();
    set(&mut batch, 0, &1_000_000_000_007_u64.to_be_bytes());
    set(&mut batch, 12, &5_i32.to_be_bytes());
    let codec = batch.get(22).unwrap() & 7;
    set(&mut batch, 22, &[codec | attributes]);
    set(&mut batch, 43, &77_i64.to_be_bytes());
    set(&mut batch, 51, &3_i16.to_be_bytes());
    set(&mut batch, 53, &(i32::MAX - 1).to_be_bytes());
    sealed(batch)
}

fn records(batch: &RecordBatch) -> Vec<Record> {
    batch.records().unwrap().map(Result::unwrap).collect()
}

/// What is left, as a batch whose checksum was checked.
fn left(batch: &RecordBatch, keep: impl FnMut(&Record) -> bool) -> Option<RecordBatch> {
    match batch.retain(keep).unwrap() {
        Retained::All => Some(batch.clone()),
        Retained::None => None,
        Retained::Some(bytes) => {
            let left = RecordBatch::parse(bytes).unwrap();
            assert_eq!(left.compression(), Compression::None);
            Some(left)
        }
    }
}

fn assert_same_but_for_records(left: &RecordBatch, batch: &RecordBatch) {
    assert_eq!(left.base_offset(), batch.base_offset());
    assert_eq!(left.next_offset(), batch.next_offset());
    assert_eq!(left.leader_epoch(), 5);
    assert_eq!(left.base_timestamp(), batch.base_timestamp());
    assert_eq!(left.timestamp_type(), batch.timestamp_type());
    assert_eq!(left.is_transactional(), batch.is_transactional());
    assert_eq!(left.is_control(), batch.is_control());
    assert_eq!(left.delete_horizon(), batch.delete_horizon());
    assert_eq!((left.producer_id(), left.producer_epoch()), (77, 3));
    assert_eq!(left.base_sequence(), i32::MAX - 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_asked_for_stays_and_nothing_else(
        given in prop::collection::vec(given(), 1..40),
        codec in prop::sample::select(CODECS.to_vec()),
        attributes in (any::<bool>(), any::<bool>(), any::<bool>()),
        stays in prop::collection::vec(any::<bool>(), 40),
        stays_later in prop::collection::vec(any::<bool>(), 40),
    ) {
        let attributes = if attributes.0 { APPEND_TIME } else { 0 }
            | if attributes.1 { TRANSACTIONAL } else { 0 }
            | if attributes.2 { DELETE_HORIZON } else { 0 };
        let whole = stored(&codec.batch(&uncompressed(&given)), attributes);
        let whole = RecordBatch::parse(whole).unwrap();
        let stays_at = |stays: &[bool], record: &Record| {
            stays[usize::try_from(record.offset - whole.base_offset()).unwrap()]
        };

        let mut expected = records(&whole);
        prop_assert_eq!(expected.len(), given.len());
        let mut batch = whole.clone();
        for stays in [&stays, &stays_later] {
            let before = expected.len();
            expected.retain(|record| stays_at(stays, record));
            let retained = batch.retain(|record| stays_at(stays, record)).unwrap();
            prop_assert_eq!(retained == Retained::All, expected.len() == before);
            prop_assert_eq!(retained == Retained::None, expected.is_empty());
            let Some(left) = left(&batch, |record| stays_at(stays, record)) else { return Ok(()) };

            prop_assert_eq!(&records(&left), &expected);
            prop_assert_eq!(left.record_count() as usize, expected.len());
            prop_assert_eq!(left.offset_count() as usize, given.len());
            assert_same_but_for_records(&left, &whole);
            if retained != Retained::All {
                let greatest = expected.iter().map(|record| record.timestamp).max();
                prop_assert_eq!(Some(left.max_timestamp()), greatest);
            }
            batch = left;
        }
    }
}

fn three() -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(1_000, Some(b"a"), Some(b"1"), []).unwrap();
    builder.push(3_000, Some(b"b"), None, []).unwrap();
    builder.push(2_000, Some(b"a"), Some(b"2"), []).unwrap();
    builder.finish()
}

#[test]
fn the_bytes_are_those_that_a_producer_would_have_written_but_for_the_offsets() {
    let whole = RecordBatch::parse(three()).unwrap();
    let left = left(&whole, |record| record.offset != 1).unwrap();
    let mut expected = BatchBuilder::new();
    expected.push(1_000, Some(b"a"), Some(b"1"), []).unwrap();
    expected.push(2_000, Some(b"a"), Some(b"2"), []).unwrap();
    let mut expected = expected.finish().to_vec();
    set(&mut expected, 23, &2_i32.to_be_bytes());
    // The second record: length, attributes, timestamp of two bytes, and then its offset.
    let offset_at = expected.len() - 6;
    set(&mut expected, offset_at, &[4]);
    assert_eq!(left.bytes(), &sealed(expected));
}

#[test]
fn the_time_that_the_log_gave_is_that_of_every_record_and_stays() {
    let whole = RecordBatch::parse(stored(&three(), APPEND_TIME)).unwrap();
    assert_eq!(whole.timestamp_type(), TimestampType::Append);
    assert!(records(&whole).iter().all(|record| record.timestamp == 3_000));
    let left = left(&whole, |record| record.offset == whole.base_offset()).unwrap();
    assert_eq!(left.max_timestamp(), 3_000);
    assert_eq!(records(&left)[0].timestamp, 3_000);
}

#[test]
fn markers_of_transactions_are_kept_whole() {
    let marker = RecordBatch::parse(stored(&three(), CONTROL | TRANSACTIONAL)).unwrap();
    assert_eq!(marker.retain(|_| false).unwrap(), Retained::All);
}

#[test]
fn what_cannot_be_decoded_is_an_error_and_not_a_loss() {
    for codec in [Codec::Gzip, Codec::SnappyXerial, Codec::Lz4, Codec::Zstd] {
        let whole = codec.batch(&three()).to_vec();
        let cut = RecordBatch::parse(sealed(whole.get(..whole.len() - 1).unwrap().to_vec()));
        // Where only the end mark or a checksum is gone, all records may still be there.
        if let Ok(retained) = cut.unwrap().retain(|_| true) {
            assert_eq!(retained, Retained::All, "{codec:?}");
        }
    }
    let mut broken = three().to_vec();
    let last = broken.len() - 1;
    set(&mut broken, last, &[9]);
    let broken = RecordBatch::parse(sealed(broken)).unwrap();
    assert!(broken.retain(|_| false).is_err());
}
