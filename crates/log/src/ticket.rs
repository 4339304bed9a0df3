//! Tickets: what an append gives back at once, and what becomes of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::LogError;
use crate::sync::lock;

/// Stands for an append that was queued: a future, and [`Ticket::wait`] for those without a runtime.
///
/// Dropping it does not take the append back.
#[derive(Debug)]
#[must_use = "an append is durable only when its ticket says so"]
pub struct Ticket {
    shared: Arc<Shared>,
}

/// An append that is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended(Offsets);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Offsets {
    One([u64; 1]),
    Many(Vec<u64>),
}

impl Appended {
    /// The base offset that each batch of the append got, in their order.
    pub fn base_offsets(&self) -> &[u64] {
        match &self.0 {
            Offsets::One(one) => one,
            Offsets::Many(many) => many,
        }
    }

    /// The base offset of the first batch; 0 where the append had none.
    pub fn base_offset(&self) -> u64 {
        self.base_offsets().first().copied().unwrap_or(0)
    }

    pub(crate) fn one(offset: u64) -> Self {
        Self(Offsets::One([offset]))
    }

    pub(crate) fn many(offsets: Vec<u64>) -> Self {
        Self(Offsets::Many(offsets))
    }
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    result: Option<Result<Appended, LogError>>,
    waker: Option<Waker>,
    blocked: usize,
}

impl Ticket {
    pub(crate) fn new() -> (Self, Completer) {
        let shared = Arc::new(Shared::default());
        (Self { shared: Arc::clone(&shared) }, Completer { shared })
    }

    pub(crate) fn failed(error: LogError) -> Self {
        let slot = Mutex::new(Slot { result: Some(Err(error)), ..Slot::default() });
        Self { shared: Arc::new(Shared { slot, done: Condvar::new() }) }
    }

    /// What became of the append, once it is known.
    pub fn try_result(&self) -> Option<Result<Appended, LogError>> {
        lock(&self.shared.slot).result.clone()
    }

    /// Waits until the append is durable or has failed. Somebody must step the log meanwhile: a
    /// [`crate::Committer`] does.
    pub fn wait(self) -> Result<Appended, LogError> {
        let mut slot = lock(&self.shared.slot);
        slot.blocked += 1;
        loop {
            if let Some(result) = slot.result.clone() {
                return result;
            }
            slot = self.shared.done.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Ticket {
    type Output = Result<Appended, LogError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.shared.slot);
        if let Some(result) = &slot.result {
            return Poll::Ready(result.clone());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// The log's end of a ticket. Dropped without a result, it says that the log was closed.
#[derive(Debug)]
pub(crate) struct Completer {
    shared: Arc<Shared>,
}

impl Completer {
    pub(crate) fn complete(self, result: Result<Appended, LogError>) {
        self.set(result);
    }

    fn set(&self, result: Result<Appended, LogError>) {
        let mut slot = lock(&self.shared.slot);
        if slot.result.is_some() {
            return;
        }
        slot.result = Some(result);
        let waker = slot.waker.take();
        if slot.blocked > 0 {
            self.shared.done.notify_all();
        }
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.set(Err(LogError::Closed));
    }
}
