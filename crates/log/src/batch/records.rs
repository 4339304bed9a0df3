//! Iterates over the records of a batch; keys and values are slices of its bytes.

use bytes::{Buf, Bytes};

use super::{RecordBatch, SHORTEST_RECORD, TimestampType, varint};
use crate::LogError;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: u64,
    /// When it happened, or was appended ([`RecordBatch::timestamp_type`]), in milliseconds since
    /// 1970.
    pub timestamp: i64,
    /// Its key, where it has one.
    pub key: Option<Bytes>,
    /// Its value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
}

/// The headers of a record, decoded as they are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    bytes: Bytes,
    count: usize,
}

/// A header: its name, and its value where it has one.
pub type Header = (Bytes, Option<Bytes>);

/// An iterator over the records of a batch. It ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    rest: Bytes,
    left: u32,
    base_offset: u64,
    offset_count: u32,
    base_timestamp: i64,
    /// The time of every record, where the log gave it.
    append_time: Option<i64>,
}

impl Records {
    /// Iterates over `records`, which are those of `batch` without compression.
    pub(super) fn of(batch: &RecordBatch, records: Bytes) -> Result<Self, LogError> {
        let left = batch.record_count();
        if (left as usize).saturating_mul(SHORTEST_RECORD) > records.len() {
            return Err(LogError::invalid(format!(
                "record batch at offset {}: {left} records do not fit into {} bytes",
                batch.base_offset(),
                records.len()
            )));
        }
        let by_log = batch.timestamp_type() == TimestampType::Append;
        Ok(Self {
            rest: records,
            left,
            base_offset: batch.base_offset(),
            offset_count: batch.offset_count(),
            base_timestamp: batch.base_timestamp(),
            append_time: by_log.then(|| batch.max_timestamp()),
        })
    }

    /// The next record, and the bytes that it is made of.
    pub(super) fn next_with_bytes(&mut self) -> Option<Result<(Record, Bytes), LogError>> {
        let before = self.rest.clone();
        let record = self.next()?;
        let used = before.len().saturating_sub(self.rest.len());
        Some(record.map(|record| (record, before.slice(..used))))
    }

    fn decode(&mut self) -> Option<Record> {
        let length = take_length(&mut self.rest)?;
        let mut body = take(&mut self.rest, length)?;
        take(&mut body, 1)?;
        let delta = take_varint(&mut body)?;
        let offset = u32::try_from(take_varint(&mut body)?).ok()?;
        if offset >= self.offset_count {
            return None;
        }
        let key = take_nullable(&mut body)?;
        let value = take_nullable(&mut body)?;
        let count = usize::try_from(take_varint(&mut body)?).ok()?;
        // A header takes two bytes at least: one for each of its lengths.
        if count > body.len() / 2 {
            return None;
        }
        let headers = Headers { bytes: body, count };
        headers.check()?;
        Some(Record {
            offset: self.base_offset.checked_add(u64::from(offset))?,
            timestamp: self.append_time.unwrap_or_else(|| self.base_timestamp.wrapping_add(delta)),
            key,
            value,
            headers,
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let record = self.decode();
        if record.is_none() {
            self.left = 0;
        }
        Some(record.ok_or_else(|| {
            LogError::invalid(format!(
                "record batch at offset {}: a record in it cannot be decoded",
                self.base_offset
            ))
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

impl Headers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = Header> {
        let mut rest = self.bytes.clone();
        (0..self.count).map_while(move |_| take_header(&mut rest))
    }

    /// `Some` when the bytes hold the headers they claim, and nothing else.
    fn check(&self) -> Option<()> {
        let mut rest = self.bytes.clone();
        for _ in 0..self.count {
            take_header(&mut rest)?;
        }
        rest.is_empty().then_some(())
    }
}

fn take_header(rest: &mut Bytes) -> Option<Header> {
    let name = take_nullable(rest)??;
    let value = take_nullable(rest)?;
    Some((name, value))
}

fn take_varint(rest: &mut Bytes) -> Option<i64> {
    let (value, used) = varint::get(rest)?;
    rest.advance(used);
    Some(value)
}

fn take_length(rest: &mut Bytes) -> Option<usize> {
    usize::try_from(take_varint(rest)?).ok()
}

fn take(rest: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= rest.len()).then(|| rest.split_to(length))
}

/// The inner `None` is a null: a length of -1.
fn take_nullable(rest: &mut Bytes) -> Option<Option<Bytes>> {
    match take_varint(rest)? {
        -1 => Some(None),
        length => take(rest, usize::try_from(length).ok()?).map(Some),
    }
}
