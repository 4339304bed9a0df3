//! The log after a crash at every point of random workloads, on a disk that loses, tears and
//! reorders whatever was not synced.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod crashes;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crashes::{Effort, crash_everywhere};

/// A number that the environment may give.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn after_a_crash_anywhere_the_log_holds_what_was_acked_and_nothing_that_was_not_done() {
    const EFFORT: Effort = Effort { runs: 3, rounds: 40, ways: 1, twice_every: 200 };
    if let Some(seed) = number("DHARA_CRASH_SEED") {
        crash_everywhere(seed, EFFORT);
        return;
    }
    let wanted = number("DHARA_CRASH_POINTS").unwrap_or(500) as usize;
    let (points, seeds) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        while points.load(Ordering::Relaxed) < wanted {
            let seed = seeds.fetch_add(1, Ordering::Relaxed) + 1;
            points.fetch_add(crash_everywhere(seed, EFFORT), Ordering::Relaxed);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    println!("{} crashes, {} seeds", points.into_inner(), seeds.into_inner());
}
