//! Kafka's record batches of version 2: checked, built, iterated over without copying, and written
//! anew without some of their records.

mod builder;
mod decompress;
mod records;
mod rewrite;
pub(crate) mod varint;

use std::fmt;

use bytes::Bytes;

pub use builder::BatchBuilder;
pub use decompress::MAX_DECOMPRESSED;
pub use records::{Header, Headers, Record, Records};
pub use rewrite::Retained;

use crate::LogError;

/// Bytes before the first record.
pub(crate) const HEADER_LENGTH: usize = 61;
/// The batch's length field does not count what lies before and in itself.
pub(crate) const LENGTH_PREFIX: usize = 12;
/// The batch's checksum covers everything from here on.
pub(crate) const CHECKED_FROM: usize = 21;
/// Where the greatest timestamp of its records stands.
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
const MAGIC: u8 = 2;

// The attributes of a batch.
const COMPRESSION_BITS: u16 = 0x07;
const APPEND_TIME_BIT: u16 = 0x08;
const TRANSACTIONAL_BIT: u16 = 0x10;
const CONTROL_BIT: u16 = 0x20;
const DELETE_HORIZON_BIT: u16 = 0x40;

/// The shortest record: length, attributes, timestamp, offset, no key, no value, no headers.
pub(crate) const SHORTEST_RECORD: usize = 7;

/// One record batch whose header and checksum were found good. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
    count: u32,
}

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
    /// A number that Kafka does not define.
    Unknown,
}

/// Who gave the records of a batch their timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer: when the event happened. Kafka's `CreateTime`.
    Create,
    /// The log: when the batch was appended, one time for all its records. Kafka's
    /// `LogAppendTime`.
    Append,
}

impl RecordBatch {
    /// The batch that `bytes` are, whole and alone, with its checksum checked.
    pub fn parse(bytes: Bytes) -> Result<Self, LogError> {
        let batch = Self::parse_trusted(bytes)?;
        let stored = be_u32(&batch.bytes, 17).unwrap_or(0);
        let found = crc32c::crc32c(batch.bytes.get(CHECKED_FROM..).unwrap_or_default());
        if stored != found {
            return Err(LogError::invalid(format!(
                "record batch: the checksum is {stored:08x} but its bytes give {found:08x}"
            )));
        }
        Ok(batch)
    }

    /// As [`RecordBatch::parse`] for bytes whose checksum was checked elsewhere.
    pub(crate) fn parse_trusted(bytes: Bytes) -> Result<Self, LogError> {
        let length = bytes.len();
        if length < HEADER_LENGTH {
            return Err(LogError::invalid(format!(
                "record batch: {length} bytes are fewer than its header of {HEADER_LENGTH}"
            )));
        }
        let claimed = i64::from(be_i32(&bytes, 8).unwrap_or(-1)) + LENGTH_PREFIX as i64;
        if u64::try_from(claimed) != Ok(length as u64) {
            return Err(LogError::invalid(format!(
                "record batch: its length field makes {claimed} bytes, but there are {length}"
            )));
        }
        let magic = bytes.get(16).copied().unwrap_or(0);
        if magic != MAGIC {
            return Err(LogError::invalid(format!(
                "record batch: version {magic} is not served, only version {MAGIC}"
            )));
        }
        let last = be_i32(&bytes, 23).unwrap_or(-1);
        let Ok(last) = u32::try_from(last) else {
            return Err(LogError::invalid(format!("record batch: last offset delta {last}")));
        };
        Ok(Self { bytes, count: last.saturating_add(1) })
    }

    /// The header of a batch alone, where `bytes` begin with one: it answers everything but for
    /// records.
    pub(crate) fn header_of(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_LENGTH)?;
        let last = u32::try_from(be_i32(header, 23)?).ok()?;
        Some(Self { bytes: Bytes::copy_from_slice(header), count: last.saturating_add(1) })
    }

    /// Splits bytes that hold one batch after another.
    pub fn split(mut bytes: Bytes) -> Result<Vec<Self>, LogError> {
        let mut batches = Vec::new();
        while !bytes.is_empty() {
            let claimed = be_i32(&bytes, 8).and_then(|length| usize::try_from(length).ok());
            let length = claimed.map(|length| length.saturating_add(LENGTH_PREFIX));
            match length {
                Some(length) if length <= bytes.len() => {
                    batches.push(Self::parse(bytes.split_to(length))?);
                }
                _ => return Err(LogError::invalid("record batch: it ends before its length says")),
            }
        }
        Ok(batches)
    }

    /// The batch's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives the batch's bytes away.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The offset of the first record.
    pub fn base_offset(&self) -> u64 {
        be_u64(&self.bytes, 0).unwrap_or(0)
    }

    /// How many offsets the batch takes.
    pub fn offset_count(&self) -> u32 {
        self.count
    }

    /// The offset after the last record's.
    pub fn next_offset(&self) -> u64 {
        self.base_offset().saturating_add(u64::from(self.count))
    }

    /// How many records the batch claims to hold: fewer than its offsets after a compaction.
    pub fn record_count(&self) -> u32 {
        be_i32(&self.bytes, 57).and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
    }

    /// The epoch of the log when the batch was appended.
    pub fn leader_epoch(&self) -> i32 {
        be_i32(&self.bytes, 12).unwrap_or(-1)
    }

    /// The timestamp that the records' own are relative to, in milliseconds.
    pub fn base_timestamp(&self) -> i64 {
        be_i64(&self.bytes, 27).unwrap_or(-1)
    }

    /// The greatest timestamp of its records, in milliseconds.
    pub fn max_timestamp(&self) -> i64 {
        be_i64(&self.bytes, MAX_TIMESTAMP_AT).unwrap_or(-1)
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        match self.attributes() & COMPRESSION_BITS {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            _ => Compression::Unknown,
        }
    }

    /// Who gave the records their timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        match self.attributes() & APPEND_TIME_BIT {
            0 => TimestampType::Create,
            _ => TimestampType::Append,
        }
    }

    /// The producer's id; -1 where it is not idempotent.
    pub fn producer_id(&self) -> i64 {
        be_i64(&self.bytes, 43).unwrap_or(-1)
    }

    /// The producer's epoch; -1 where it is not idempotent.
    pub fn producer_epoch(&self) -> i16 {
        self.bytes.get(51..53).and_then(|b| b.try_into().ok()).map_or(-1, i16::from_be_bytes)
    }

    /// The producer's number for the first record; -1 where it is not idempotent.
    pub fn base_sequence(&self) -> i32 {
        be_i32(&self.bytes, 53).unwrap_or(-1)
    }

    /// Whether the batch is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch is a marker of a transaction, which readers skip.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// The time, in milliseconds, after which the tombstones in it may go, where a compaction noted
    /// one. It stands in the place of the base timestamp, and the records' own are relative to it.
    pub fn delete_horizon(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON_BIT != 0).then(|| self.base_timestamp())
    }

    /// The producer's sequence of the last record: after `i32::MAX` follows 0. It is -1 where the
    /// producer counts none.
    pub fn last_sequence(&self) -> i32 {
        let base = self.base_sequence();
        if base < 0 {
            return -1;
        }
        let delta = self.count.saturating_sub(1);
        (base.cast_unsigned().wrapping_add(delta) & i32::MAX.cast_unsigned()).cast_signed()
    }

    fn attributes(&self) -> u16 {
        self.bytes.get(21..23).and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes)
    }

    /// The records, in order. Those of a compressed batch may take [`MAX_DECOMPRESSED`] bytes.
    pub fn records(&self) -> Result<Records, LogError> {
        self.records_within(MAX_DECOMPRESSED)
    }

    /// The records, in order. Those of a compressed batch that takes more than `limit` bytes once it
    /// is decompressed are refused; memory is taken as bytes really come, never by what is claimed.
    pub fn records_within(&self, limit: usize) -> Result<Records, LogError> {
        Records::of(self, decompress::decompress(self, limit)?)
    }
}

impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBatch")
            .field("base_offset", &self.base_offset())
            .field("offsets", &self.count)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

fn be_i32(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..at + 4)?.try_into().ok().map(i32::from_be_bytes)
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn be_i64(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..at + 8)?.try_into().ok().map(i64::from_be_bytes)
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}
