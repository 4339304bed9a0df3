//! The units that wait for the writer.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Unit;

/// Units in the order in which they were submitted.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Unit>>,
    closed: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a unit; gives it back where the queue is closed.
    pub(super) fn push(&self, unit: Box<dyn Unit>) -> Result<(), Box<dyn Unit>> {
        let mut state = self.state();
        if state.closed {
            return Err(unit);
        }
        state.waiting.push_back(unit);
        let first = state.waiting.len() == 1;
        drop(state);
        // The writer takes all that wait, so that only the first of them must wake it.
        if first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for units and takes at most `most` of them. Empty when the queue is closed and has no
    /// more.
    pub(super) async fn take(&self, most: usize) -> Vec<Box<dyn Unit>> {
        loop {
            {
                let mut state = self.state();
                let count = state.waiting.len().min(most);
                if count > 0 {
                    let rest = state.waiting.split_off(count);
                    return std::mem::replace(&mut state.waiting, rest).into();
                }
                if state.closed {
                    return Vec::new();
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Takes no more units.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.arrived.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Closes, and gives what nobody will run any more.
    pub(super) fn abandon(&self) -> VecDeque<Box<dyn Unit>> {
        let mut state = self.state();
        state.closed = true;
        std::mem::take(&mut state.waiting)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        write!(f, "Queue({} waiting, closed: {})", state.waiting.len(), state.closed)
    }
}
