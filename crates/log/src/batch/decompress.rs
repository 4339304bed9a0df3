//! Decompresses the records of a batch.
//!
//! No length that the compressed bytes state is trusted: output grows as it really comes, and at
//! the limit it ends with an error. What a decoder holds beside its output is bounded as well: 32
//! KiB for gzip, 12 MiB for LZ4, and for Zstandard a window that may not be greater than the limit.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::{Compression, HEADER_LENGTH, RecordBatch};
use crate::LogError;

/// The most bytes that the records of one batch may have once they are decompressed, where no
/// other limit is given.
pub const MAX_DECOMPRESSED: usize = 128 << 20;

/// Every decoder of Zstandard is expected to know windows of this size, whatever the limit.
const LEAST_WINDOW: usize = 8 << 20;

/// How `snappy-java` begins a stream: its magic, then its version and the oldest one that can read
/// it, of four bytes each.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = XERIAL_MAGIC.len() + 8;

/// Snappy's densest element makes 64 bytes of three. A block that claims more lies.
const SNAPPY_EXPANSION: usize = 22;

/// Why bytes could not be decompressed.
#[derive(Debug)]
enum Refusal {
    /// There is more output than the limit.
    TooLong,
    /// The bytes are not what their codec writes.
    Broken(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// The records of `batch` as they are without compression: at most `limit` bytes, or an error.
pub(super) fn decompress(batch: &RecordBatch, limit: usize) -> Result<Bytes, LogError> {
    let records = batch.bytes().slice(HEADER_LENGTH..);
    let compression = batch.compression();
    let result = match compression {
        Compression::None => return Ok(records),
        Compression::Gzip => gzip(&records, limit),
        Compression::Snappy => snappy(&records, limit),
        Compression::Lz4 => lz4(&records, limit),
        Compression::Zstd => zstd(&records, limit),
        Compression::Unknown => Err(Refusal::Broken("Kafka defines no such codec".into())),
    };
    result.map(Bytes::from).map_err(|refusal| {
        let at = batch.base_offset();
        LogError::invalid(match refusal {
            Refusal::TooLong => format!(
                "record batch at offset {at}: its {} bytes of {compression:?} are more than the \
                 limit of {limit} once decompressed; raise the limit, or publish smaller batches",
                records.len()
            ),
            Refusal::Broken(why) => format!(
                "record batch at offset {at}: its records cannot be decompressed as \
                 {compression:?}: {why}; its producer wrote them so, as the checksum holds"
            ),
        })
    })
}

/// Appends all that `decoder` gives, unless `out` would grow beyond `limit`.
fn drain(decoder: impl Read, out: &mut Vec<u8>, limit: usize) -> Result<(), Refusal> {
    let left = limit.saturating_sub(out.len()) as u64;
    decoder.take(left.saturating_add(1)).read_to_end(out)?;
    if out.len() > limit { Err(Refusal::TooLong) } else { Ok(()) }
}

fn gzip(records: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    drain(MultiGzDecoder::new(records), &mut out, limit)?;
    Ok(out)
}

/// One frame after another, each with a decoder of its own: the buffers of a used one fit the
/// frame that they were made for.
fn lz4(mut records: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    while !records.is_empty() {
        let mut decoder = lz4_flex::frame::FrameDecoder::new(records);
        drain(&mut decoder, &mut out, limit)?;
        records = decoder.into_inner();
    }
    Ok(out)
}

/// One frame after another; those that carry no content are passed over.
fn zstd(mut records: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    use FrameDecoderError::ReadFrameHeaderError as InHeader;
    let window = limit.max(LEAST_WINDOW) as u64;
    let mut out = Vec::new();
    while !records.is_empty() {
        let before = records;
        match StreamingDecoder::new_with_max_window_size(&mut records, window) {
            Ok(mut decoder) => {
                drain(&mut decoder, &mut out, limit)?;
                let decoder = decoder.into_frame_decoder();
                check_zstd_checksum(&decoder)?;
            }
            Err(InHeader(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                // Magic and length take four bytes each.
                let skipped = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8);
                let Some(rest) = before.get(skipped..) else {
                    return Err(Refusal::Broken("it ends inside of a frame".into()));
                };
                records = rest;
            }
            Err(FrameDecoderError::WindowSizeTooBig { requested, .. }) => {
                return Err(Refusal::Broken(format!(
                    "it asks for a window of {requested} bytes, more than {window}"
                )));
            }
            Err(error) => return Err(Refusal::Broken(error.to_string())),
        }
    }
    Ok(out)
}

fn check_zstd_checksum(decoder: &FrameDecoder) -> Result<(), Refusal> {
    match decoder.get_checksum_from_data() {
        Some(stored) if decoder.get_calculated_checksum() != Some(stored) => {
            Err(Refusal::Broken("the checksum of its content does not hold".into()))
        }
        _ => Ok(()),
    }
}

/// One raw block, or the stream of blocks that Java clients write. No raw block begins like the
/// stream's magic: its first element would copy from before the beginning.
fn snappy(records: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    if !records.starts_with(XERIAL_MAGIC) {
        snappy_block(records, &mut out, limit)?;
        return Ok(out);
    }
    let mut rest = records;
    while !rest.is_empty() {
        // Streams that were written one after another repeat the header in between.
        if rest.starts_with(XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER..).ok_or_else(ends_early)?;
            continue;
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(ends_early)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (block, after) = after.split_at_checked(length).ok_or_else(ends_early)?;
        snappy_block(block, &mut out, limit)?;
        rest = after;
    }
    Ok(out)
}

fn ends_early() -> Refusal {
    Refusal::Broken("it ends inside of a block".into())
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Refusal> {
    let broken = |error: snap::Error| Refusal::Broken(error.to_string());
    let claimed = snap::raw::decompress_len(block).map_err(broken)?;
    if claimed > block.len().saturating_mul(SNAPPY_EXPANSION) {
        return Err(Refusal::Broken(format!(
            "a block of {} bytes claims to hold {claimed}",
            block.len()
        )));
    }
    if claimed > limit.saturating_sub(out.len()) {
        return Err(Refusal::TooLong);
    }
    let begin = out.len();
    out.resize(begin.saturating_add(claimed), 0);
    let place = out.get_mut(begin..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(block, place).map_err(broken)?;
    Ok(())
}
