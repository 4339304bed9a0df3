//! A circuit breaker: when a dependency keeps failing, calls wait instead of failing as well.
//!
//! While it is open nobody calls; after a pause one call goes through as a probe, and its outcome
//! decides whether the others follow or the pause grows. A call that waits burns no retry.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dhara::world::World;
use tokio::sync::Notify;

/// How many failures in a row open it.
const THRESHOLD: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A breaker; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    world: World,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Calls go through; so many failed in a row.
    Closed(u32),
    /// Nobody calls; the pause after the next failed probe has this length.
    Open(Duration),
    /// The next to come is the probe.
    Ready(Duration),
    /// The probe is under way.
    Probing(Duration),
    /// It is not used any more.
    Ended,
}

/// The right to make one call. Dropped without a word of the outcome, it says nothing, and a probe
/// is left to somebody else.
#[derive(Debug)]
pub(super) struct Permit {
    breaker: Breaker,
    probe: bool,
    told: bool,
}

impl Breaker {
    pub(super) fn new(world: World) -> Self {
        let (state, changed) = (Mutex::new(State::Closed(0)), Notify::new());
        Self { shared: Arc::new(Shared { world, state, changed }) }
    }

    /// Waits until a call may be made; `None` once the breaker has ended.
    pub(super) async fn permit(&self) -> Option<Permit> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Whoever is woken between the look at the state and the wait is not missed.
            changed.as_mut().enable();
            let probe = {
                let mut state = self.lock();
                match *state {
                    State::Closed(_) => Some(false),
                    State::Ready(pause) => {
                        *state = State::Probing(pause);
                        Some(true)
                    }
                    State::Open(_) | State::Probing(_) => None,
                    State::Ended => return None,
                }
            };
            if let Some(probe) = probe {
                return Some(Permit { breaker: self.clone(), probe, told: false });
            }
            changed.await;
        }
    }

    /// Lets everybody who waits go, and nobody through any more.
    pub(super) fn end(&self) {
        self.set(State::Ended);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        let mut current = self.lock();
        if *current != State::Ended {
            *current = state;
        }
        drop(current);
        self.shared.changed.notify_waiters();
    }

    fn failed(&self, probe: bool) {
        // The guard of a scrutinee would be held in the arms, which lock again.
        let state = *self.lock();
        let pause = match (state, probe) {
            (State::Probing(pause), true) => pause,
            (State::Closed(failures), _) if failures + 1 >= THRESHOLD => FIRST_PAUSE,
            (State::Closed(failures), _) => return self.set(State::Closed(failures + 1)),
            // A call that began before it opened tells nothing new.
            _ => return,
        };
        let next = (pause * 2).min(LONGEST_PAUSE);
        self.set(State::Open(next));
        let breaker = self.clone();
        drop(self.shared.world.spawn(async move {
            breaker.shared.world.sleep(pause).await;
            breaker.set(State::Ready(next));
        }));
    }

    fn succeeded(&self, probe: bool) {
        let state = *self.lock();
        // A late success of a call that began before it opened does not close it: the probe does.
        let decides = probe || matches!(state, State::Closed(_));
        if decides && state != State::Closed(0) {
            self.set(State::Closed(0));
        }
    }
}

impl Permit {
    pub(super) fn succeeded(mut self) {
        self.told = true;
        self.breaker.succeeded(self.probe);
    }

    pub(super) fn failed(mut self) {
        self.told = true;
        self.breaker.failed(self.probe);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.told {
            let state = *self.breaker.lock();
            if let State::Probing(pause) = state {
                self.breaker.set(State::Ready(pause));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhara::world::timeout;

    async fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.permit().await.unwrap().failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_lets_one_probe_through() {
        let breaker = Breaker::new(World::real());
        fail(&breaker, THRESHOLD - 1).await;
        breaker.permit().await.unwrap().succeeded();
        fail(&breaker, THRESHOLD - 1).await;
        let held = breaker.permit().await.unwrap();
        held.failed();
        assert!(timeout(FIRST_PAUSE / 2, breaker.permit()).await.is_none(), "open: calls wait");

        let probe = breaker.permit().await.unwrap();
        assert!(probe.probe);
        let pause = Duration::from_secs(60);
        assert!(timeout(pause, breaker.permit()).await.is_none(), "one probe at a time");
        probe.succeeded();
        assert!(!breaker.permit().await.unwrap().probe, "closed again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_probe_makes_the_pause_grow() {
        let breaker = Breaker::new(World::real());
        fail(&breaker, THRESHOLD).await;
        fail(&breaker, 1).await;
        assert!(timeout(FIRST_PAUSE, breaker.permit()).await.is_none());
        assert!(timeout(FIRST_PAUSE * 2, breaker.permit()).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_is_left_to_the_next() {
        let breaker = Breaker::new(World::real());
        fail(&breaker, THRESHOLD).await;
        drop(breaker.permit().await.unwrap());
        assert!(breaker.permit().await.unwrap().probe);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_let_go_when_it_ends() {
        let breaker = Breaker::new(World::real());
        fail(&breaker, THRESHOLD).await;
        let waiting = tokio::spawn({
            let breaker = breaker.clone();
            async move { breaker.permit().await.is_none() }
        });
        tokio::task::yield_now().await;
        breaker.end();
        assert!(waiting.await.unwrap());
    }
}
