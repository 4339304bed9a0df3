//! Small batches that claim to be large, or are: refused, in memory that stays bounded.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

#[path = "support/codecs.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod codecs;

use std::alloc::System;

use bytes::Bytes;
use codecs::{Codec, packed};
use dhara_log::batch::{BatchBuilder, RecordBatch};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LIMIT: usize = 1 << 20;

/// What all allocations of one refusal come to, those included that were freed meanwhile: output
/// that doubles up to the limit, and a decoder's window likewise.
const MOST_ALLOCATED: usize = 40 << 20;

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(0, None, None, []).unwrap();
    builder.finish()
}

/// Blocks of 128 KiB that repeat one byte, in a frame whose window is `1 << (10 + window)`.
fn zstd_frame(window: u8, blocks: usize) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window << 3];
    for block in 1..=blocks {
        let last = u32::from(block == blocks);
        let header = (128 << 10) << 3 | 1 << 1 | last;
        out.extend_from_slice(header.to_le_bytes().get(..3).unwrap());
        out.push(0);
    }
    out
}

fn bombs() -> Vec<(&'static str, u8, Vec<u8>)> {
    let zeros = vec![0; 4 << 20];
    let claims_of_zstd =
        [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(10_u64 << 30).to_le_bytes(), &[0; 1000]];
    vec![
        ("10 GB of gzip", 1, Codec::Gzip.compress(&zeros).repeat(2560)),
        ("4 MB of raw snappy", 2, Codec::SnappyRaw.compress(&zeros)),
        ("256 MB of snappy in blocks", 2, Codec::SnappyXerial.compress(&zeros).repeat(64)),
        ("256 MB of lz4", 3, Codec::Lz4.compress(&zeros).repeat(64)),
        ("256 MB of linked lz4", 3, Codec::Lz4Linked.compress(&zeros).repeat(64)),
        ("256 MB of zstd", 4, Codec::Zstd.compress(&zeros).repeat(64)),
        ("10 GB of zstd in one frame", 4, zstd_frame(13, 80_000)),
        ("10 GB of zstd in a small window", 4, zstd_frame(7, 80_000)),
        ("a window of 2 GB", 4, zstd_frame(21, 80_000)),
        ("a claim of 10 GB, zstd", 4, claims_of_zstd.concat()),
        ("a claim of 4 GB, snappy", 2, [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 1000]].concat()),
        (
            "a claim of 4 GB, snappy in blocks",
            2,
            [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff"[..], &[0; 1000]].concat(),
        ),
    ]
}

/// One test alone: the allocations of others would be counted with its own.
#[test]
fn bombs_are_refused_in_bounded_memory() {
    for (name, codec, bytes) in bombs() {
        let batch = RecordBatch::parse(packed(&batch(), codec, &bytes)).unwrap();
        drop(bytes);
        let region = Region::new(ALLOCATOR);
        let error = batch.records_within(LIMIT).unwrap_err().to_string();
        let change = region.change();
        let allocated = change.bytes_allocated + change.bytes_reallocated.max(0) as usize;
        println!("{name}: {} bytes, {allocated} allocated: {error}", batch.bytes().len());
        assert!(allocated <= MOST_ALLOCATED, "{name}: {allocated} bytes were allocated");
    }
}
