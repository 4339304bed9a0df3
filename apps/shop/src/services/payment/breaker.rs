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
    now: Mutex<Now>,
    changed: Notify,
}

/// Every change is decided on and made under one lock.
#[derive(Debug)]
struct Now {
    state: State,
    /// How many times it has opened: a pause that has run out ends the opening it belongs to, and a
    /// probe decides for its own.
    opened: u64,
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
    /// The opening that this call is the probe of.
    probe: Option<u64>,
    told: bool,
}

impl Breaker {
    pub(super) fn new(world: World) -> Self {
        let now = Mutex::new(Now { state: State::Closed(0), opened: 0 });
        Self { shared: Arc::new(Shared { world, now, changed: Notify::new() }) }
    }

    /// Waits until a call may be made; `None` once the breaker has ended.
    pub(super) async fn permit(&self) -> Option<Permit> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Whoever is woken between the look at the state and the wait is not missed.
            changed.as_mut().enable();
            let probe = {
                let mut now = self.lock();
                match now.state {
                    State::Closed(_) => Some(None),
                    State::Ready(pause) => {
                        now.state = State::Probing(pause);
                        Some(Some(now.opened))
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
        self.change(|_| Some(State::Ended));
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.shared.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, probe: Option<u64>) {
        let mut now = self.lock();
        let pause = match now.state {
            State::Probing(pause) if probe == Some(now.opened) => pause,
            State::Closed(failures) if failures + 1 >= THRESHOLD => FIRST_PAUSE,
            State::Closed(failures) => {
                now.state = State::Closed(failures + 1);
                return;
            }
            // A call that began before it opened tells nothing new.
            _ => return,
        };
        now.state = State::Open((pause * 2).min(LONGEST_PAUSE));
        now.opened += 1;
        let (breaker, opening) = (self.clone(), now.opened);
        drop(now);
        drop(self.shared.world.spawn(async move {
            breaker.shared.world.sleep(pause).await;
            breaker.pause_is_over(opening);
        }));
    }

    fn pause_is_over(&self, opening: u64) {
        self.change(|now| match now.state {
            State::Open(next) if now.opened == opening => Some(State::Ready(next)),
            _ => None,
        });
    }

    fn succeeded(&self, probe: Option<u64>) {
        // A late success of a call that began before it opened does not close it: the probe does.
        self.change(|now| match now.state {
            State::Closed(failures) if failures > 0 => Some(State::Closed(0)),
            State::Probing(_) if probe == Some(now.opened) => Some(State::Closed(0)),
            _ => None,
        });
    }

    fn given_up(&self, probe: u64) {
        self.change(|now| match now.state {
            State::Probing(pause) if now.opened == probe => Some(State::Ready(pause)),
            _ => None,
        });
    }

    /// Goes into the state that `next` decides on, if any, and lets those who wait look again.
    fn change(&self, next: impl FnOnce(&Now) -> Option<State>) {
        let mut now = self.lock();
        let Some(state) = next(&now) else { return };
        now.state = state;
        drop(now);
        self.shared.changed.notify_waiters();
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
        if let Some(probe) = self.probe
            && !self.told
        {
            self.breaker.given_up(probe);
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
        assert!(probe.probe.is_some());
        let pause = Duration::from_secs(60);
        assert!(timeout(pause, breaker.permit()).await.is_none(), "one probe at a time");
        probe.succeeded();
        assert!(breaker.permit().await.unwrap().probe.is_none(), "closed again");
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
        assert!(breaker.permit().await.unwrap().probe.is_some());
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

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_an_earlier_opening_ends_no_later_one() {
        let breaker = Breaker::new(World::real());
        fail(&breaker, THRESHOLD).await;
        let first = breaker.lock().opened;
        fail(&breaker, 1).await;
        breaker.pause_is_over(first);
        assert!(matches!(breaker.lock().state, State::Open(_)), "it opened again since");
        let probe = breaker.permit().await.unwrap();
        breaker.pause_is_over(first + 1);
        assert!(matches!(breaker.lock().state, State::Probing(_)), "one probe at a time");
        probe.succeeded();
        breaker.pause_is_over(first + 1);
        assert_eq!(breaker.lock().state, State::Closed(0));
    }

    #[test]
    fn it_opens_once_when_many_calls_fail_at_the_same_moment() {
        for _ in 0..200 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let runtime = runtime.unwrap();
            let breaker = Breaker::new(World::real());
            let permits = (0..8).map(|_| runtime.block_on(breaker.permit()).unwrap());
            let permits: Vec<Permit> = permits.collect();
            let barrier = std::sync::Barrier::new(permits.len());
            std::thread::scope(|scope| {
                for permit in permits {
                    let (barrier, handle) = (&barrier, runtime.handle());
                    scope.spawn(move || {
                        let _entered = handle.enter();
                        barrier.wait();
                        permit.failed();
                    });
                }
            });
            let now = breaker.lock();
            assert_eq!((now.opened, now.state), (1, State::Open(FIRST_PAUSE * 2)));
        }
    }
}
