//! Waiting for new records of many partitions, without polling.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::LogError;
use crate::partition::Partition;
use crate::sync::{Condvar, Mutex, lock, wait};

/// Tells which of a set of partitions have new records.
///
/// A partition is told when its visible end moved after it was told last; all of them are told
/// once at the beginning. However many partitions advance in one commit, the waiter is woken once.
#[derive(Debug)]
pub struct Watch {
    state: Arc<State>,
    partitions: Vec<Arc<Partition>>,
}

#[derive(Debug)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    /// The numbers of the partitions that advanced, each once.
    ready: Vec<usize>,
    is_ready: Vec<bool>,
    waker: Option<Waker>,
    ended: Option<LogError>,
    /// Whether the commit at hand has this watch on its list of those to wake.
    to_wake: bool,
}

/// A partition's side of a watch.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    state: Arc<State>,
    number: usize,
}

/// A watch that a commit has to wake.
#[derive(Debug)]
pub(crate) struct ToWake(Arc<State>);

impl Watch {
    pub(crate) fn new(partitions: Vec<Arc<Partition>>, ended: Option<LogError>) -> Self {
        let count = partitions.len();
        let inner = Inner {
            ready: (0..count).collect(),
            is_ready: vec![true; count],
            waker: None,
            ended,
            to_wake: false,
        };
        let state = Arc::new(State { inner: Mutex::new(inner), changed: Condvar::new() });
        for (number, partition) in partitions.iter().enumerate() {
            partition.shown().watchers.push(Watcher { state: Arc::clone(&state), number });
        }
        Self { state, partitions }
    }

    /// A watch of one place that is no partition's, and that place.
    pub(crate) fn of_one(ended: Option<LogError>) -> (Self, Watcher) {
        let watch = Self::new(Vec::new(), ended);
        {
            let mut inner = lock(&watch.state.inner);
            inner.ready.push(0);
            inner.is_ready.push(true);
        }
        let watcher = Watcher { state: Arc::clone(&watch.state), number: 0 };
        (watch, watcher)
    }

    /// Waits for partitions that advanced: their places in the slice that the watch was made of.
    pub fn poll_advanced(&self, cx: &mut Context<'_>) -> Poll<Result<Vec<usize>, LogError>> {
        let mut inner = lock(&self.state.inner);
        if let Some(result) = inner.take() {
            return Poll::Ready(result);
        }
        match &mut inner.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// As [`Watch::poll_advanced`]. Dropping the future loses nothing.
    pub async fn advanced(&self) -> Result<Vec<usize>, LogError> {
        poll_fn(|cx| self.poll_advanced(cx)).await
    }

    /// As [`Watch::advanced`], blocking the thread.
    pub fn wait(&self) -> Result<Vec<usize>, LogError> {
        let mut inner = lock(&self.state.inner);
        loop {
            if let Some(result) = inner.take() {
                return result;
            }
            inner = wait(&self.state.changed, inner);
        }
    }

    pub(crate) fn waker(&self) -> WatchEnd {
        WatchEnd(Arc::downgrade(&self.state))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.shown().watchers.retain(|other| !Arc::ptr_eq(&other.state, &self.state));
        }
    }
}

impl Inner {
    fn take(&mut self) -> Option<Result<Vec<usize>, LogError>> {
        if !self.ready.is_empty() {
            for number in &self.ready {
                if let Some(is_ready) = self.is_ready.get_mut(*number) {
                    *is_ready = false;
                }
            }
            return Some(Ok(std::mem::take(&mut self.ready)));
        }
        self.ended.clone().map(Err)
    }
}

impl Watcher {
    /// Whether its watch is gone. To be asked of one that no other holds.
    pub(crate) fn is_gone(&self) -> bool {
        Arc::strong_count(&self.state) == 1
    }

    /// Notes that the partition advanced; gives the watch to be woken, once a commit.
    pub(crate) fn advance(&self) -> Option<ToWake> {
        let mut inner = lock(&self.state.inner);
        let is_ready = inner.is_ready.get_mut(self.number)?;
        if !std::mem::replace(is_ready, true) {
            inner.ready.push(self.number);
        }
        let first = !std::mem::replace(&mut inner.to_wake, true);
        first.then(|| ToWake(Arc::clone(&self.state)))
    }
}

impl ToWake {
    pub(crate) fn wake(self) {
        self.0.wake();
    }
}

impl State {
    fn wake(&self) {
        let mut inner = lock(&self.inner);
        inner.to_wake = false;
        let waker = inner.waker.take();
        self.changed.notify_all();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Ends a watch, if it is still there.
#[derive(Debug)]
pub(crate) struct WatchEnd(std::sync::Weak<State>);

impl WatchEnd {
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    pub(crate) fn end(&self, error: &LogError) {
        if let Some(state) = self.0.upgrade() {
            lock(&state.inner).ended = Some(error.clone());
            state.wake();
        }
    }
}
