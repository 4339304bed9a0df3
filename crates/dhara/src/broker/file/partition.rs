//! A partition of the log, as deliveries read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use dhara_log::batch::Record;
use dhara_log::{Fetched, Log, LogError};

use super::super::group::{Bounds, Read, Sink, Source};
use super::super::{BrokerError, Headers};
use super::ahead::{Ahead, Brought};
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
    /// The topic that it is of; another may have its name one day.
    topic_id: u128,
    earliest: AtomicU64,
    /// What lies from here on is not shown yet.
    end: AtomicU64,
    ended: AtomicBool,
    /// As many changes of topics ago its topic was still there.
    checked: AtomicU64,
}

impl FilePartition {
    /// A partition of which nothing is shown yet.
    pub(super) fn new(log: Log, name: dhara_log::TopicPartition, topic_id: u128) -> Self {
        Self {
            log,
            name,
            topic_id,
            earliest: AtomicU64::new(0),
            end: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            checked: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn name(&self) -> &dhara_log::TopicPartition {
        &self.name
    }

    /// What the log says of it now.
    pub(super) fn look(&self) -> Bounds {
        let bounds = self.log.bounds(&self.name);
        bounds.map_or(Bounds { earliest: 0, end: 0 }, |bounds| Bounds {
            earliest: bounds.earliest,
            end: bounds.end,
        })
    }

    /// Shows what the log said. Its bounds only rise.
    pub(super) fn show(&self, bounds: Bounds) {
        self.earliest.fetch_max(bounds.earliest, Ordering::AcqRel);
        self.reaches(bounds.end);
    }

    pub(super) fn reaches(&self, end: u64) {
        self.end.fetch_max(end, Ordering::AcqRel);
    }

    /// Its topic is there no more, and nothing is shown of it.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn load(&self, from: u64, max_bytes: usize) -> Result<Fetched, LogError> {
        let fetched = self.log.read(&self.name, from, max_bytes);
        if self.is_there() {
            return fetched;
        }
        Err(LogError::Unknown { partition: self.name.clone() })
    }

    /// Whether its name still stands for its topic, which may have been deleted and made again.
    fn is_there(&self) -> bool {
        let changes = self.log.topic_changes();
        if self.checked.load(Ordering::Relaxed) == changes {
            return true;
        }
        let topic = self.log.topic(&self.name.topic);
        let is_there = topic.is_some_and(|info| info.id == self.topic_id);
        if is_there {
            self.checked.store(changes, Ordering::Relaxed);
        }
        is_there
    }
}

impl Source for FilePartition {
    type Ahead = Ahead;
    type Fetched = Brought;

    fn bounds(&self) -> Bounds {
        if self.ended.load(Ordering::Acquire) {
            return Bounds { earliest: 0, end: 0 };
        }
        Bounds {
            earliest: self.earliest.load(Ordering::Acquire),
            end: self.end.load(Ordering::Acquire),
        }
    }

    fn read(&self, ahead: &mut Ahead, from: u64, sink: &mut Sink<'_>) -> Read {
        ahead.go_to(from);
        loop {
            let Bounds { earliest, end } = self.bounds();
            let until = end.min(sink.until());
            while sink.wants() {
                match ahead.next(until) {
                    Ok(Some(record)) => give(record, sink),
                    Ok(None) => break,
                    Err(error) => return Read::Failed(from_log(error)),
                }
            }
            let at = ahead.at;
            if !sink.wants() || at >= until {
                return Read::To(at);
            }
            if at < earliest {
                return Read::Expired(earliest);
            }
            if end - at > NEAR {
                return Read::Cold(at);
            }
            match self.load(at, NEAR_BYTES) {
                Ok(fetched) if fetched.next <= at => return Read::To(at),
                Ok(fetched) => ahead.fill(Brought { from: at, fetched }),
                Err(LogError::OutOfRange { offset, earliest, .. }) if offset < earliest => {
                    return Read::Expired(earliest);
                }
                // Its readers are told with the news of it.
                Err(LogError::Unknown { .. }) => {
                    self.end();
                    return Read::To(at);
                }
                Err(error) => return Read::Failed(from_log(error)),
            }
        }
    }

    fn fetch(&self, from: u64, max_bytes: usize) -> Result<Brought, BrokerError> {
        let nothing = |end| Fetched { batches: Vec::new(), next: from, end };
        let fetched = match self.load(from, max_bytes.min(FETCH_BYTES)) {
            // The next read finds it expired by the bounds.
            Err(LogError::OutOfRange { offset, earliest, end, .. }) if offset < earliest => {
                self.earliest.fetch_max(earliest, Ordering::AcqRel);
                nothing(end)
            }
            Err(LogError::Unknown { .. }) => {
                self.end();
                nothing(0)
            }
            loaded => loaded.map_err(from_log)?,
        };
        Ok(Brought { from, fetched })
    }

    fn fill(&self, ahead: &mut Ahead, brought: Brought) {
        ahead.fill(brought);
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
