//! A partition of the log, as deliveries read it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dhara_log::batch::{Record, Records};
use dhara_log::{Fetched, Log, LogError, RecordBatch};

use super::super::group::{Bounds, Read, Sink, Source};
use super::super::{BrokerError, Headers};
use super::error::from_log;
use crate::world::Timestamp;

/// A reader that is no more records than this behind the end reads where it stands.
///
/// What was written last is in the log's own memory, or at the worst in the page cache: a read of it
/// takes microseconds, less than handing it to another thread and back. Who is farther behind may
/// meet the disk itself, and does so on a thread that may wait.
const NEAR: u64 = 4096;

/// How many bytes one read at the end brings; from farther back the bound is the reader's own.
const NEAR_BYTES: usize = 256 << 10;

/// A fetch from farther back brings no more than this, however much the reader may hold.
const FETCH_BYTES: usize = 1 << 20;

/// One partition.
#[derive(Debug)]
pub(super) struct FilePartition {
    log: Log,
    name: dhara_log::TopicPartition,
    earliest: AtomicU64,
    end: AtomicU64,
}

impl FilePartition {
    pub(super) fn new(log: Log, name: dhara_log::TopicPartition) -> Self {
        let (earliest, end) = (AtomicU64::new(0), AtomicU64::new(0));
        let partition = Self { log, name, earliest, end };
        partition.refresh();
        partition
    }

    pub(super) fn name(&self) -> &dhara_log::TopicPartition {
        &self.name
    }

    /// Takes over what the log says. Its bounds only rise.
    pub(super) fn refresh(&self) {
        if let Ok(bounds) = self.log.bounds(&self.name) {
            self.earliest.fetch_max(bounds.earliest, Ordering::AcqRel);
            self.reaches(bounds.end);
        }
    }

    pub(super) fn reaches(&self, end: u64) {
        self.end.fetch_max(end, Ordering::AcqRel);
    }

    fn load(&self, from: u64, max_bytes: usize) -> Result<Fetched, LogError> {
        self.log.read(&self.name, from, max_bytes)
    }
}

/// What a reader has read of the log and not delivered: every record from `at` on, up to where the
/// last batch ends.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    at: u64,
    /// The batch that is being given.
    current: Option<Records>,
    /// Where it ends.
    current_end: u64,
    batches: VecDeque<RecordBatch>,
}

impl Ahead {
    /// Forgets what lies below `from`, and everything where that does not lie in what is here.
    fn go_to(&mut self, from: u64) {
        if from < self.at || (from >= self.current_end && self.current.is_some()) {
            self.current = None;
        }
        if from < self.at {
            self.batches.clear();
        }
        self.at = from;
        while self.batches.front().is_some_and(|batch| batch.next_offset() <= from) {
            self.batches.pop_front();
        }
        let hole = self.batches.front().is_some_and(|batch| batch.base_offset() > from);
        if self.current.is_none() && hole {
            self.batches.clear();
        }
    }

    /// The next record; `None` when nothing more is here.
    fn next(&mut self) -> Result<Option<Record>, LogError> {
        loop {
            if let Some(records) = &mut self.current {
                match records.next() {
                    Some(Ok(record)) if record.offset < self.at => continue,
                    Some(Ok(record)) => {
                        self.at = record.offset + 1;
                        return Ok(Some(record));
                    }
                    Some(Err(error)) => {
                        self.current = None;
                        return Err(error);
                    }
                    None => {
                        self.current = None;
                        self.at = self.at.max(self.current_end);
                    }
                }
            }
            let Some(batch) = self.batches.front() else { return Ok(None) };
            if batch.is_control() {
                self.at = self.at.max(batch.next_offset());
            } else {
                self.current = Some(batch.records()?);
                self.current_end = batch.next_offset();
            }
            self.batches.pop_front();
        }
    }
}

impl Source for FilePartition {
    type Ahead = Ahead;
    type Fetched = Fetched;

    fn bounds(&self) -> Bounds {
        Bounds {
            earliest: self.earliest.load(Ordering::Acquire),
            end: self.end.load(Ordering::Acquire),
        }
    }

    fn read(&self, ahead: &mut Ahead, from: u64, sink: &mut Sink<'_>) -> Read {
        ahead.go_to(from);
        loop {
            while sink.wants() {
                match ahead.next() {
                    Ok(Some(record)) => give(record, sink),
                    Ok(None) => break,
                    Err(error) => return Read::Failed(from_log(error)),
                }
            }
            let Bounds { earliest, end } = self.bounds();
            if !sink.wants() || ahead.at >= end {
                return Read::To(ahead.at);
            }
            if ahead.at < earliest {
                return Read::Expired(earliest);
            }
            if end - ahead.at > NEAR {
                return Read::Cold(ahead.at);
            }
            match self.load(ahead.at, NEAR_BYTES) {
                Ok(fetched) if fetched.batches.is_empty() => return Read::To(ahead.at),
                Ok(fetched) => self.fill(ahead, fetched),
                Err(LogError::OutOfRange { offset, earliest, .. }) if offset < earliest => {
                    return Read::Expired(earliest);
                }
                Err(error) => return Read::Failed(from_log(error)),
            }
        }
    }

    fn fetch(&self, from: u64, max_bytes: usize) -> Result<Fetched, BrokerError> {
        match self.load(from, max_bytes.min(FETCH_BYTES)) {
            // The next read finds it expired by the bounds.
            Err(LogError::OutOfRange { offset, earliest, end, .. }) if offset < earliest => {
                self.earliest.fetch_max(earliest, Ordering::AcqRel);
                Ok(Fetched { batches: Vec::new(), end })
            }
            loaded => loaded.map_err(from_log),
        }
    }

    fn fill(&self, ahead: &mut Ahead, fetched: Fetched) {
        ahead.batches.extend(fetched.batches);
    }
}

/// Key and value are slices of what was read. A record without a value, which is how Kafka marks a
/// key as deleted, has an empty body.
fn give(record: Record, sink: &mut Sink<'_>) {
    let Record { offset, timestamp, key, value, headers } = record;
    let timestamp = Timestamp::from_millis(u64::try_from(timestamp).unwrap_or(0));
    let headers: Headers = headers
        .iter()
        .map(|(name, value)| {
            (Arc::from(String::from_utf8_lossy(&name).as_ref()), value.unwrap_or_default())
        })
        .collect();
    let body = value.unwrap_or_else(Bytes::new);
    let size = key.as_ref().map_or(0, Bytes::len).saturating_add(body.len());
    sink.push(offset, size, timestamp, || (key, body, headers));
}
