//! A partition in memory.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::group::{Bounds, Read, Sink, Source, size_in_hand};
use super::super::{BrokerError, Message};

/// Messages are kept, and dropped, in chunks of this many: a partition that grows never moves what
/// it has but the newest chunk.
const CHUNK: usize = 256;

/// How many messages are copied out under one lock, so that publishers do not wait long.
const COPIED_AT_ONCE: usize = 64;

/// One partition.
#[derive(Debug)]
pub(super) struct MemPartition {
    earliest: AtomicU64,
    end: AtomicU64,
    kept: Mutex<Kept>,
}

/// A partition that takes messages: it is locked until this is dropped.
pub(super) struct Open<'a> {
    kept: MutexGuard<'a, Kept>,
    end: &'a AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    /// The full chunks.
    full: VecDeque<Vec<Message>>,
    /// What came after them. The first of a partition grows as it must, as most topics stay small.
    newest: Vec<Message>,
    /// What they take, as [`size_of_message`] counts.
    bytes: u64,
}

impl Kept {
    #[cold]
    #[inline(never)]
    fn push_with_more_room(&mut self, message: Message) {
        if self.newest.len() == CHUNK {
            self.full.push_back(std::mem::replace(&mut self.newest, Vec::with_capacity(CHUNK)));
        }
        self.newest.push(message);
    }

    fn chunk(&self, number: usize) -> &[Message] {
        let newest = (number == self.full.len()).then_some(&self.newest);
        self.full.get(number).or(newest).map_or(&[], Vec::as_slice)
    }
}

/// How much memory a message is counted with.
#[inline]
pub(super) fn size_of_message(message: &Message) -> u64 {
    let headers = message.headers.iter();
    let of_headers: usize =
        headers.map(|header| size_of_val(header) + header.0.len() + header.1.len()).sum();
    let total = size_of_val(message) + size_in_hand(message) + of_headers;
    u64::try_from(total).unwrap_or(u64::MAX)
}

impl Open<'_> {
    /// Adds a message of `size` and gives its offset.
    // A message that is handed to a call is copied for it.
    #[inline(always)]
    pub(super) fn append(mut self, message: Message, size: u64) -> u64 {
        self.kept.bytes += size;
        let newest = &mut self.kept.newest;
        if newest.len() < CHUNK && newest.len() < newest.capacity() {
            newest.push(message);
        } else {
            self.kept.push_with_more_room(message);
        }
        // Only the holder of the lock changes the end.
        let offset = self.end.load(Ordering::Relaxed);
        self.end.store(offset + 1, Ordering::Release);
        offset
    }
}

impl MemPartition {
    pub(super) fn new() -> Self {
        Self {
            earliest: AtomicU64::new(0),
            end: AtomicU64::new(0),
            kept: Mutex::new(Kept::default()),
        }
    }

    /// Locks it, to append to it.
    pub(super) fn open(&self) -> Open<'_> {
        Open { kept: self.lock(), end: &self.end }
    }

    /// The memory that its messages take.
    pub(super) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Drops whole chunks below `below` until `target` bytes are left; tells how much that freed.
    pub(super) fn trim(&self, below: u64, target: u64) -> u64 {
        let mut dropped = Vec::new();
        let mut freed = 0;
        let mut kept = self.lock();
        while kept.bytes > target && self.earliest.load(Ordering::Relaxed) + CHUNK as u64 <= below {
            let Some(chunk) = kept.full.pop_front() else { break };
            let size: u64 = chunk.iter().map(size_of_message).sum();
            kept.bytes = kept.bytes.saturating_sub(size);
            freed += size;
            self.earliest.fetch_add(CHUNK as u64, Ordering::Release);
            dropped.push(chunk);
        }
        drop(kept);
        // The messages themselves are dropped after the lock.
        drop(dropped);
        freed
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives at most [`COPIED_AT_ONCE`] messages; tells where it goes on, or that `from` has gone.
    fn copy_some(&self, from: u64, sink: &mut Sink<'_>) -> Result<u64, u64> {
        let kept = self.lock();
        let earliest = self.earliest.load(Ordering::Relaxed);
        let place = from.checked_sub(earliest).ok_or(earliest)?;
        let Ok(place) = usize::try_from(place) else { return Ok(from) };
        let messages = kept.chunk(place / CHUNK).get(place % CHUNK..).unwrap_or_default();
        let some = messages.get(..COPIED_AT_ONCE).unwrap_or(messages);
        Ok(from + sink.extend(from, some) as u64)
    }
}

impl Source for MemPartition {
    type Ahead = ();
    type Fetched = Infallible;

    fn bounds(&self) -> Bounds {
        Bounds {
            earliest: self.earliest.load(Ordering::Acquire),
            end: self.end.load(Ordering::Acquire),
        }
    }

    fn read(&self, (): &mut (), from: u64, sink: &mut Sink<'_>) -> Read {
        let end = self.end.load(Ordering::Acquire);
        let mut next = from;
        while next < end && sink.wants() {
            match self.copy_some(next, sink) {
                Ok(reached) if reached > next => next = reached,
                Ok(_) => break,
                Err(earliest) => return Read::Expired(earliest),
            }
        }
        Read::To(next)
    }

    fn fetch(&self, _: u64, _: usize) -> Result<Infallible, BrokerError> {
        Err(BrokerError::Unsupported { what: "fetch what is in memory already" })
    }

    fn fill(&self, (): &mut (), fetched: Infallible) {
        match fetched {}
    }
}
