//! Writes a batch anew without some of its records, as compaction does.

use bytes::Bytes;

use super::builder::put_at;
use super::{CHECKED_FROM, HEADER_LENGTH, LENGTH_PREFIX, Record, RecordBatch, TimestampType};
use crate::LogError;

/// What [`RecordBatch::retain`] leaves of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retained {
    /// The batch as it is: no record goes.
    All,
    /// Nothing: every record goes.
    None,
    /// This batch, uncompressed, without the records that go.
    Some(Bytes),
}

impl RecordBatch {
    /// Asks of each record, in order, whether it stays.
    ///
    /// A batch that loses some of its records keeps its base offset, the number of offsets it takes,
    /// its leader epoch, its producer with epoch and first sequence, and its base timestamp, so that
    /// readers and the memory of producers see no difference. The records that stay are copied byte
    /// for byte. Markers of transactions, and batches that hold no records, are kept as they are.
    ///
    /// The result of a compressed batch is not compressed, and so may be longer than the batch was.
    /// A batch in which something cannot be decoded gives an error and has to be kept.
    pub fn retain(&self, mut keep: impl FnMut(&Record) -> bool) -> Result<Retained, LogError> {
        if self.is_control() {
            return Ok(Retained::All);
        }
        let mut records = self.records()?;
        let mut out = Vec::with_capacity(self.bytes.len());
        out.extend_from_slice(self.bytes.get(..HEADER_LENGTH).unwrap_or_default());
        let (mut kept, mut max_timestamp) = (0_u32, i64::MIN);
        while let Some(next) = records.next_with_bytes() {
            let (record, bytes) = next?;
            if keep(&record) {
                out.extend_from_slice(&bytes);
                kept = kept.saturating_add(1);
                max_timestamp = max_timestamp.max(record.timestamp);
            }
        }
        if kept == self.record_count() {
            return Ok(Retained::All);
        }
        if kept == 0 {
            return Ok(Retained::None);
        }
        self.rewritten(out, kept, max_timestamp).map(Retained::Some)
    }

    /// Makes the header, which is this batch's, fit the records behind it.
    fn rewritten(
        &self,
        mut out: Vec<u8>,
        count: u32,
        max_timestamp: i64,
    ) -> Result<Bytes, LogError> {
        let length = out.len().saturating_sub(LENGTH_PREFIX);
        let length = i32::try_from(length).map_err(|_| {
            LogError::invalid(format!(
                "record batch at offset {}: without compression it takes {length} bytes, more than \
                 a batch can have",
                self.base_offset()
            ))
        })?;
        put_at(&mut out, 8, &length.to_be_bytes());
        put_at(&mut out, 21, &(self.attributes() & !super::COMPRESSION_BITS).to_be_bytes());
        // Where the log gave the time, the greatest timestamp is the time of every record.
        if self.timestamp_type() == TimestampType::Create {
            put_at(&mut out, 35, &max_timestamp.to_be_bytes());
        }
        put_at(&mut out, 57, &count.to_be_bytes());
        let crc = crc32c::crc32c(out.get(CHECKED_FROM..).unwrap_or_default());
        put_at(&mut out, 17, &crc.to_be_bytes());
        Ok(Bytes::from(out))
    }
}
