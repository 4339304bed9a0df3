//! Record batches: what is built comes back, and no bytes make the reader fall over.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use dhara_log::batch::{BatchBuilder, Compression, RecordBatch};
use dhara_world::Random;

fn built() -> Bytes {
    let mut builder = BatchBuilder::new();
    let headers = [("trace", Some(&b"1"[..])), ("none", None)];
    builder.push(1_000, Some(b"key"), Some(b"value"), headers).unwrap();
    builder.push(900, None, None, []).unwrap();
    builder.push(2_000, Some(b""), Some(&[7; 300]), []).unwrap();
    builder.finish()
}

/// The batch with other bytes at `at`, and a checksum that fits them.
fn changed(at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = built().to_vec();
    batch.get_mut(at..at + bytes.len()).unwrap().copy_from_slice(bytes);
    let crc = crc32c::crc32c(batch.get(21..).unwrap());
    batch.get_mut(17..21).unwrap().copy_from_slice(&crc.to_be_bytes());
    batch.into()
}

#[test]
fn records_come_back_with_keys_values_headers_and_times() {
    let batch = RecordBatch::parse(built()).unwrap();
    assert_eq!((batch.offset_count(), batch.record_count(), batch.max_timestamp()), (3, 3, 2_000));
    let records: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
    let [first, second, third] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(
        (first.key.as_deref(), first.value.as_deref()),
        (Some(&b"key"[..]), Some(&b"value"[..]))
    );
    let headers: Vec<_> = first.headers.iter().collect();
    assert_eq!(headers, [("trace".into(), Some("1".into())), ("none".into(), None)]);
    assert_eq!(
        (second.offset, second.timestamp, &second.key, &second.value),
        (1, 900, &None, &None)
    );
    assert_eq!((third.key.as_deref(), third.value.as_ref().unwrap().len()), (Some(&b""[..]), 300));
}

#[test]
fn keys_and_values_are_slices_of_the_batch() {
    let bytes = built();
    let batch = RecordBatch::parse(bytes.clone()).unwrap();
    let value = batch.records().unwrap().next().unwrap().unwrap().value.unwrap();
    assert!(bytes.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn records_that_their_codec_never_wrote_are_refused() {
    for (codec, name) in [
        (1, Compression::Gzip),
        (2, Compression::Snappy),
        (3, Compression::Lz4),
        (4, Compression::Zstd),
    ] {
        let batch = RecordBatch::parse(changed(21, &[0, codec])).unwrap();
        assert_eq!(batch.compression(), name);
        let error = batch.records().unwrap_err().to_string();
        assert!(error.contains(&format!("decompressed as {name:?}")), "{error}");
    }
}

#[test]
fn a_count_that_cannot_be_is_refused_before_memory_is_taken_for_it() {
    let batch = RecordBatch::parse(changed(57, &i32::MAX.to_be_bytes())).unwrap();
    assert!(batch.records().is_err());
    assert!(RecordBatch::parse(changed(23, &(-2_i32).to_be_bytes())).is_err());
    assert!(RecordBatch::parse(changed(16, &[1])).is_err());
}

#[test]
fn batches_that_follow_one_another_are_split() {
    let two = [built(), built()].concat();
    assert_eq!(RecordBatch::split(two.clone().into()).unwrap().len(), 2);
    assert!(RecordBatch::split(two.get(..two.len() - 1).unwrap().to_vec().into()).is_err());
}

#[test]
fn any_bytes_behind_a_good_checksum_give_records_or_an_error() {
    let seconds = std::env::var("DHARA_FUZZ_SECONDS").map_or(2, |text| text.parse().unwrap());
    let (random, began) = (Random::from_seed(3), Instant::now());
    let length = built().len() as u64;
    while began.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..1_000 {
            let at = 21 + random.below(length - 21) as usize;
            let bytes = changed(at, &[random.next_u64() as u8]);
            let Ok(batch) = RecordBatch::parse(bytes) else { continue };
            let Ok(records) = batch.records() else { continue };
            assert!(records.take(1_000).count() <= batch.bytes().len());
        }
    }
}
