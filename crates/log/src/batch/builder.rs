//! Encodes records to a batch.

use bytes::Bytes;

use super::{CHECKED_FROM, HEADER_LENGTH, LENGTH_PREFIX, varint};
use crate::LogError;

/// The most bytes that one batch may have.
const MAX_BATCH: usize = 1 << 30;

/// Gathers records, then gives the bytes of one uncompressed batch.
///
/// ```
/// use dhara_log::batch::{BatchBuilder, RecordBatch};
///
/// let mut builder = BatchBuilder::new();
/// builder.push(1_700_000_000_000, Some(b"key"), Some(b"value"), [("trace", Some(&b"1"[..]))])?;
/// let batch = RecordBatch::parse(builder.finish())?;
/// let record = batch.records()?.next().transpose()?.ok_or("a record")?;
/// assert_eq!(record.value.as_deref(), Some(&b"value"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct BatchBuilder {
    out: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// A builder without records.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// A builder without records, with room for about `bytes` of them.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(HEADER_LENGTH.saturating_add(bytes));
        out.resize(HEADER_LENGTH, 0);
        Self { out, count: 0, base_timestamp: 0, max_timestamp: i64::MIN }
    }

    /// Adds a record that happened at `timestamp`, in milliseconds since 1970.
    ///
    /// It is refused, and the builder stays as it was, where the batch would grow too large.
    pub fn push<'h, H>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<(), LogError>
    where
        H: IntoIterator<Item = (&'h str, Option<&'h [u8]>)>,
        H::IntoIter: Clone,
    {
        let headers = headers.into_iter();
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        let delta = timestamp.wrapping_sub(self.base_timestamp);
        let length = self.record_length(delta, key, value, headers.clone());
        if length > MAX_BATCH || self.out.len().saturating_add(length) > MAX_BATCH {
            return Err(LogError::invalid(format!(
                "record batch: a record of {length} bytes makes it longer than {MAX_BATCH}"
            )));
        }
        self.out.reserve(length + 5);
        varint::put(&mut self.out, length as i64);
        self.out.push(0);
        varint::put(&mut self.out, delta);
        varint::put(&mut self.out, i64::from(self.count));
        self.put_bytes(key);
        self.put_bytes(value);
        varint::put(&mut self.out, headers.clone().count() as i64);
        for (name, value) in headers {
            self.put_bytes(Some(name.as_bytes()));
            self.put_bytes(value);
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        Ok(())
    }

    /// The length of a record after its length field.
    fn record_length<'h>(
        &self,
        delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h str, Option<&'h [u8]>)>,
    ) -> usize {
        let mut count = 0;
        let mut length = 1
            + varint::length(delta)
            + varint::length(i64::from(self.count))
            + bytes_length(key)
            + bytes_length(value);
        for (name, value) in headers {
            count += 1;
            length += bytes_length(Some(name.as_bytes())) + bytes_length(value);
        }
        length + varint::length(count)
    }

    fn put_bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => {
                varint::put(&mut self.out, bytes.len() as i64);
                self.out.extend_from_slice(bytes);
            }
            None => varint::put(&mut self.out, -1),
        }
    }

    /// How many records were added.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Whether no record was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes the batch has so far.
    pub fn byte_len(&self) -> usize {
        self.out.len()
    }

    /// The batch's bytes. The log refuses a batch without records.
    pub fn finish(mut self) -> Bytes {
        let length = i32::try_from(self.out.len() - LENGTH_PREFIX).unwrap_or(i32::MAX);
        let mut head = Vec::with_capacity(HEADER_LENGTH);
        head.extend_from_slice(&0_i64.to_be_bytes());
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(&(-1_i32).to_be_bytes());
        head.push(super::MAGIC);
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&0_i16.to_be_bytes());
        head.extend_from_slice(&(self.count - 1).to_be_bytes());
        head.extend_from_slice(&self.base_timestamp.to_be_bytes());
        head.extend_from_slice(&self.max_timestamp.to_be_bytes());
        head.extend_from_slice(&(-1_i64).to_be_bytes());
        head.extend_from_slice(&(-1_i16).to_be_bytes());
        head.extend_from_slice(&(-1_i32).to_be_bytes());
        head.extend_from_slice(&self.count.to_be_bytes());
        put_at(&mut self.out, 0, &head);
        let crc = crc32c::crc32c(self.out.get(CHECKED_FROM..).unwrap_or_default());
        put_at(&mut self.out, 17, &crc.to_be_bytes());
        Bytes::from(self.out)
    }
}

fn bytes_length(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint::length(bytes.len() as i64) + bytes.len(),
        None => 1,
    }
}

pub(super) fn put_at(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
