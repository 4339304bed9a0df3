//! Wakes the readers of a topic, at no cost while none waits.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// The readers that wait for news of one topic.
///
/// A reader registers first and looks at the topic after that; a publisher makes its message visible
/// first and calls [`Wakers::wake`] after that. With a full fence between the two steps on each side,
/// at least one of them sees the other.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    waiting: AtomicBool,
    list: Mutex<Vec<Waker>>,
}

impl Wakers {
    /// Has `waker` woken at the next news, once.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if !list.iter().any(|known| known.will_wake(waker)) {
            list.push(waker.clone());
        }
        self.waiting.store(true, Ordering::Relaxed);
        drop(list);
        fence(Ordering::SeqCst);
    }

    /// Wakes all who wait.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) {
            self.wake_all();
        }
    }

    /// Wakers are woken outside the lock, and the vector goes back to be filled again.
    #[cold]
    fn wake_all(&self) {
        let mut list = {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiting.store(false, Ordering::Relaxed);
            std::mem::take(&mut *list)
        };
        for waker in list.drain(..) {
            waker.wake();
        }
        let mut kept = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.capacity() == 0 {
            *kept = list;
        }
    }
}
