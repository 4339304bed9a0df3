//! Tickets: what an append gives back at once, and what becomes of it.
//!
//! All that is queued between two commits is one round: its tickets share a lock and a list of
//! results, so that a commit of a thousand appends tells all of them at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use crate::LogError;
use crate::shared::Shared;
use crate::sync::{Condvar, Mutex, lock, wait};

/// Stands for an append that was queued: a future, and [`Ticket::wait`] for those without a runtime.
///
/// Dropping it does not take the append back.
#[derive(Debug)]
#[must_use = "an append is durable only when its ticket says so"]
pub struct Ticket(State);

#[derive(Debug)]
enum State {
    /// Refused before it was queued.
    Refused(LogError),
    Queued {
        round: Arc<Round>,
        place: usize,
    },
}

/// An append that is as durable as its topics promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    offsets: Offsets,
    is_repeat: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Offsets {
    One([u64; 1]),
    Many(Vec<u64>),
}

impl Appended {
    /// The base offset that each batch of the append got, in their order.
    pub fn base_offsets(&self) -> &[u64] {
        match &self.offsets {
            Offsets::One(one) => one,
            Offsets::Many(many) => many,
        }
    }

    /// The base offset of the first batch; 0 where the append had none.
    pub fn base_offset(&self) -> u64 {
        self.base_offsets().first().copied().unwrap_or(0)
    }

    /// Whether a batch of it was known from before: an idempotent producer sent it once more, and
    /// its offset is the first one's.
    pub fn is_repeat(&self) -> bool {
        self.is_repeat
    }

    pub(crate) fn one(offset: u64) -> Self {
        Self { offsets: Offsets::One([offset]), is_repeat: false }
    }

    pub(crate) fn many(offsets: Vec<u64>) -> Self {
        Self { offsets: Offsets::Many(offsets), is_repeat: false }
    }

    pub(crate) fn repeated(mut self, is_repeat: bool) -> Self {
        self.is_repeat = is_repeat;
        self
    }
}

/// What became of an append.
pub(crate) type Outcome = Result<Appended, LogError>;

/// The appends that were queued between two commits.
#[derive(Debug)]
struct Round {
    log: Weak<Shared>,
    slots: Mutex<Slots>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Slots {
    /// The results of the first appends of the round, in order.
    results: Vec<Outcome>,
    /// What became of all that have no result of their own.
    ended: Option<LogError>,
    /// Who waits for each place, as far as anybody does.
    wakers: Vec<Option<Waker>>,
    blocked: usize,
}

impl Slots {
    fn result(&self, place: usize) -> Option<Outcome> {
        self.results.get(place).cloned().or_else(|| self.ended.clone().map(Err))
    }
}

impl Ticket {
    pub(crate) fn failed(error: LogError) -> Self {
        Self(State::Refused(error))
    }

    /// What became of the append, once it is known.
    pub fn try_result(&self) -> Option<Result<Appended, LogError>> {
        match &self.0 {
            State::Refused(error) => Some(Err(error.clone())),
            State::Queued { round, place } => lock(&round.slots).result(*place),
        }
    }

    /// Waits until the append is durable or has failed. Where nobody else commits just now, this
    /// thread does, so that it needs no [`crate::Committer`].
    pub fn wait(self) -> Result<Appended, LogError> {
        let (round, place) = match self.0 {
            State::Refused(error) => return Err(error),
            State::Queued { round, place } => (round, place),
        };
        round.wait(place)
    }
}

impl Round {
    /// Waits for what became of one append. Who waits commits by itself where nobody else does just
    /// now: handing the work to a thread and back costs a good part of a sync.
    fn wait(&self, place: usize) -> Outcome {
        let mut slots = lock(&self.slots);
        if slots.result(place).is_none()
            && let Some(log) = self.log.upgrade()
        {
            drop(slots);
            log.commit_for_waiter();
            slots = lock(&self.slots);
        }
        slots.blocked += 1;
        loop {
            if let Some(result) = slots.result(place) {
                slots.blocked -= 1;
                return result;
            }
            slots = wait(&self.done, slots);
        }
    }
}

impl Future for Ticket {
    type Output = Result<Appended, LogError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (round, place) = match &self.0 {
            State::Refused(error) => return Poll::Ready(Err(error.clone())),
            State::Queued { round, place } => (round, *place),
        };
        let mut slots = lock(&round.slots);
        if let Some(result) = slots.result(place) {
            return Poll::Ready(result);
        }
        if slots.wakers.len() <= place {
            slots.wakers.resize(place + 1, None);
        }
        match slots.wakers.get_mut(place) {
            Some(Some(waker)) => waker.clone_from(cx.waker()),
            Some(none) => *none = Some(cx.waker().clone()),
            None => {}
        }
        Poll::Pending
    }
}

/// The log's end of the tickets of one round. Dropped before all have a result, it says that the log
/// was closed.
#[derive(Debug)]
pub(crate) struct Completer {
    round: Arc<Round>,
}

impl Completer {
    pub(crate) fn new(log: Weak<Shared>) -> Self {
        let (slots, done) = (Mutex::default(), Condvar::new());
        Self { round: Arc::new(Round { log, slots, done }) }
    }

    /// The ticket of what is queued at this place of the round.
    pub(crate) fn ticket(&self, place: usize) -> Ticket {
        Ticket(State::Queued { round: Arc::clone(&self.round), place })
    }

    /// Tells the next tickets of the round what became of them.
    pub(crate) fn complete(&self, results: impl IntoIterator<Item = Outcome>) {
        self.change(|slots| slots.results.extend(results));
    }

    /// Tells all tickets without a result that this is what became of them.
    pub(crate) fn end(&self, error: LogError) {
        self.change(|slots| {
            slots.ended.get_or_insert(error);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Slots)) {
        let mut slots = lock(&self.round.slots);
        let from = slots.results.len().min(slots.wakers.len());
        change(&mut slots);
        let known = if slots.ended.is_some() { usize::MAX } else { slots.results.len() };
        let to = known.min(slots.wakers.len());
        let told = slots.wakers.get_mut(from..to).unwrap_or_default();
        let woken: Vec<_> = told.iter_mut().filter_map(Option::take).collect();
        if slots.blocked > 0 {
            self.round.done.notify_all();
        }
        drop(slots);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Completer {
    fn drop(&mut self) {
        self.end(LogError::Closed);
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn tickets_of_one_round_are_told_on_the_threads_that_wait() {
        let completer = Completer::new(Weak::new());
        let tickets: Vec<_> = (0..4).map(|place| completer.ticket(place)).collect();
        let results = std::thread::scope(|scope| {
            let waiters: Vec<_> =
                tickets.into_iter().map(|ticket| scope.spawn(|| ticket.wait())).collect();
            completer.complete([Ok(Appended::one(5)), Ok(Appended::one(6))]);
            completer.complete([Ok(Appended::one(7))]);
            drop(completer);
            waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect::<Vec<_>>()
        });
        let offsets: Vec<_> =
            results.iter().map(|it| it.as_ref().ok().map(Appended::base_offset)).collect();
        assert_eq!(offsets, [Some(5), Some(6), Some(7), None]);
        assert!(matches!(results.last(), Some(Err(LogError::Closed))));
    }
}
