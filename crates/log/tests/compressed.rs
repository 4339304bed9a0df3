//! Compressed batches: what producers of any kind compressed comes back, and nothing that claims to
//! be compressed makes the reader fall over.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

#[path = "support/codecs.rs"]
mod codecs;

use std::time::{Duration, Instant};

use bytes::Bytes;
use codecs::{CODECS, Codec, packed, xerial};
use dhara_log::batch::{BatchBuilder, Record, RecordBatch};
use dhara_world::Random;
use proptest::prelude::*;

/// The batch whose records the command line tools compressed to the vectors below.
fn sample() -> Bytes {
    let mut builder = BatchBuilder::new();
    let value = ["value of ".into(), "abcdefgh".repeat(20)].concat();
    for index in 0..4 {
        let key = format!("key-{}", index % 3);
        builder.push(index * 10, Some(key.as_bytes()), Some(value.as_bytes()), []).unwrap();
    }
    builder.finish()
}

fn large() -> Bytes {
    let mut builder = BatchBuilder::new();
    let random = Random::from_seed(5);
    for index in 0..2_000 {
        let word = random.below(50).to_string();
        let value = [word.repeat(100), format!("{index}")].concat();
        builder.push(index, Some(word.as_bytes()), Some(value.as_bytes()), []).unwrap();
    }
    builder.finish()
}

fn records(batch: Bytes) -> Vec<Record> {
    RecordBatch::parse(batch).unwrap().records().unwrap().map(Result::unwrap).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit_pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).unwrap());
    digit_pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn records_come_back_from_every_codec() {
    for batch in [sample(), large()] {
        let expected = records(batch.clone());
        for codec in CODECS {
            assert_eq!(records(codec.batch(&batch)), expected, "{codec:?}");
        }
    }
}

#[test]
fn records_come_back_from_what_other_programs_compressed() {
    let vectors = [
        // gzip 1.12, -9
        (
            1,
            "1f8b08000000000002037bc5c4c0c0c0959d5aa96b7089a92c31a73455213f4d2131293925352d3d63b0d20c\
             af98184498c0ce361c62ced660013bdb688839db866de825120042ba405cdc020000",
        ),
        // zstd 1.5.4, -19: one segment, content size and checksum stated
        (
            4,
            "28b52ffd64dc01050200a402ea020000000a6b65792d30d20276616c7565206f662061626364656667680\
             0ea02001402312804323c0606002f148242162006dac602123ad3162ba9eb048fce647c",
        ),
        // zstd 1.5.4, --ultra -22 --long=27 from a pipe: a window of 128 MiB, no content size
        (
            4,
            "28b52ffd0488050200a402ea020000000a6b65792d30d20276616c7565206f6620616263646566676800e\
             a02001402312804323c0606002f148242162006dac602123ad3162ba9eb048fce647c",
        ),
        // lz4 1.9.4, -9 -BD: blocks that refer to the ones before
        (
            3,
            "04224d186440a747000000ff0fea020000000a6b65792d30d20276616c7565206f662061626364656667680\
             800856100ea02001402b7001f31b7009c212804b7001f32b7009c2f3c0625029a506566676800000000009bb\
             71909",
        ),
        // lz4 1.9.4, -B4 --content-size
        (
            3,
            "04224d186c40dc02000000000000854a000000ff0fea020000000a6b65792d30d20276616c7565206f66206\
             1626364656667680800856100ea02001402b7001f31b7009c212804b7001f32b7009c213c06b7000f2502955\
             06566676800000000009bb71909",
        ),
    ];
    for (codec, hex) in vectors {
        let batch = packed(&sample(), codec, &unhex(hex));
        assert_eq!(records(batch), records(sample()), "{hex}");
    }
}

#[test]
fn streams_that_follow_one_another_are_one() {
    let batch = sample();
    let (first, second) = batch.get(61..).unwrap().split_at(300);
    for codec in CODECS.into_iter().filter(|codec| *codec != Codec::SnappyRaw) {
        let both = [codec.compress(first), codec.compress(second)].concat();
        assert_eq!(records(packed(&batch, codec.number(), &both)), records(batch.clone()));
    }
    // A frame of Zstandard that carries nothing for its reader.
    let skipped = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &Codec::Zstd.compress(first)].concat();
    let both = [skipped, Codec::Zstd.compress(second)].concat();
    assert_eq!(records(packed(&batch, 4, &both)), records(batch.clone()));
}

#[test]
fn snappy_blocks_of_any_size_come_back() {
    for block in [1, 7, 100, 1 << 20] {
        let batch = packed(&sample(), 2, &xerial(sample().get(61..).unwrap(), block));
        assert_eq!(records(batch), records(sample()), "blocks of {block}");
    }
}

#[test]
fn the_limit_is_exact_and_named() {
    for codec in CODECS.into_iter().filter(|codec| *codec != Codec::None) {
        for plain in [sample(), large()] {
            let batch = RecordBatch::parse(codec.batch(&plain)).unwrap();
            let length = plain.len() - 61;
            assert!(batch.records_within(length).is_ok(), "{codec:?} of {length}");
            let error = batch.records_within(length - 1).unwrap_err().to_string();
            assert!(error.contains(&format!("the limit of {}", length - 1)), "{error}");
            assert!(batch.records_within(0).is_err());
        }
    }
}

#[test]
fn a_stream_that_is_cut_off_gives_no_record_too_many() {
    let expected = records(sample());
    for codec in CODECS.into_iter().filter(|codec| *codec != Codec::None) {
        let whole = codec.compress(sample().get(61..).unwrap());
        for length in 0..whole.len() {
            let batch = packed(&sample(), codec.number(), whole.get(..length).unwrap());
            let Ok(found) = RecordBatch::parse(batch).unwrap().records() else { continue };
            let found: Vec<_> = found.map_while(Result::ok).collect();
            assert!(expected.starts_with(&found), "{codec:?} cut to {length}");
        }
    }
}

#[test]
fn a_codec_that_kafka_does_not_define_is_named_so() {
    for codec in 5..8 {
        let batch = RecordBatch::parse(packed(&sample(), codec, &[0; 100])).unwrap();
        let error = batch.records().unwrap_err().to_string();
        assert!(error.contains("no such codec"), "{error}");
    }
}

/// Looks at every record that is found, and panics where there are more than there can be.
fn look_into(batch: Bytes, limit: usize) {
    let Ok(found) = RecordBatch::parse(batch).unwrap().records_within(limit) else { return };
    assert!(found.map_while(Result::ok).count() <= limit);
}

#[test]
fn changed_streams_give_records_or_an_error() {
    let seconds = std::env::var("DHARA_FUZZ_SECONDS").map_or(2, |text| text.parse().unwrap());
    let (random, began) = (Random::from_seed(11), Instant::now());
    let whole: Vec<_> = [sample(), large().slice(..20_000)]
        .iter()
        .flat_map(|batch| CODECS.map(|codec| (codec, codec.compress(batch.get(61..).unwrap()))))
        .filter(|(codec, _)| *codec != Codec::None)
        .collect();
    while began.elapsed() < Duration::from_secs(seconds) {
        for (codec, stream) in &whole {
            let mut stream = stream.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(stream.len() as u64) as usize;
                *stream.get_mut(at).unwrap() = random.next_u64() as u8;
            }
            if random.below(8) == 0 {
                stream.truncate(random.below(stream.len() as u64) as usize);
            }
            look_into(packed(&sample(), codec.number(), &stream), 1 << 20);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_records_or_an_error(
        codec in prop::sample::select(CODECS.to_vec()),
        begin in prop::sample::select(vec![
            &b""[..], b"\x1f\x8b\x08\0", b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", b"\x04\x22\x4d\x18",
            b"\x28\xb5\x2f\xfd",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        look_into(packed(&sample(), codec.number(), &[begin, &bytes].concat()), 1 << 16);
    }
}
