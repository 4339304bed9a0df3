//! Negative controls: each bug that the log can be given is found by the tests that are there for
//! it. A check that no bug ever fails proves nothing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on here has failed"
)]

mod crashes;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crashes::{Effort, crash_everywhere};
use dhara_log::batch::BatchBuilder;
use dhara_log::sabotage::Sabotage;
use dhara_log::{Append, Log, Options, TopicPartition};
use dhara_world::disk::SimDisk;

/// So many workloads may pass before the bug has to be found.
const MOST_WORKLOADS: u64 = 60;

const EFFORT: Effort = Effort { runs: 2, rounds: 60, ways: 1, twice_every: 500 };

/// A bit flips in the middle of a journal whose frames were all synced.
fn damage_is_told() {
    let open = |disk: &SimDisk| {
        let options = Options { salt: Some(7), ..Options::default() };
        Log::open(Arc::new(disk.clone()), Path::new("/log"), options).unwrap()
    };
    let disk = SimDisk::new();
    let log = open(&disk);
    log.create_topic("orders", 1).unwrap();
    let orders = TopicPartition::new("orders", 0);
    for number in 0..10 {
        let mut batch = BatchBuilder::new();
        batch.push(1_000, None, Some(format!("value {number}").as_bytes()), []).unwrap();
        let ticket = log.append(Append::batch(orders.clone(), batch.finish()));
        log.commit_step();
        ticket.wait().unwrap();
    }
    let mut contents = disk.contents();
    let journal = Path::new("/log/00000000000000000001.journal");
    let bytes = contents.get_mut(journal).unwrap();
    let at = bytes.windows(7).position(|window| window == b"value 4").unwrap();
    bytes[at] ^= 1;
    let log = open(&SimDisk::holding(contents));
    assert_eq!(log.report().damage.len(), 1, "damage that nobody is told of");
    assert_eq!(log.bounds(&orders).unwrap().end, 10);
}

/// By what a bug was found.
enum By {
    Flip,
    Crash { workload: u64 },
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip => f.write_str("a flipped bit"),
            Self::Crash { workload } => write!(f, "a crash of workload {workload}"),
        }
    }
}

/// Looks for the bug; `None` where it is not found.
fn find(bug: Option<Sabotage>) -> Option<By> {
    Sabotage::set(bug);
    let passes = |check: &dyn Fn()| catch_unwind(AssertUnwindSafe(check)).is_ok();
    // Crashes alone damage nothing that was durable.
    if matches!(bug, None | Some(Sabotage::DamageIsTail)) && !passes(&damage_is_told) {
        return Some(By::Flip);
    }
    let most = if bug.is_some() { MOST_WORKLOADS } else { 3 };
    let crash = |seed: u64| assert!(crash_everywhere(seed, EFFORT) > 0);
    let workload = (1..=most).find(|seed| !passes(&|| crash(*seed)))?;
    Some(By::Crash { workload })
}

#[test]
fn every_bug_is_found_and_without_one_nothing_is() {
    // What fails here has to.
    std::panic::set_hook(Box::new(|_| {}));
    let bugs: Vec<_> = std::iter::once(None).chain(Sabotage::ALL.map(Some)).collect();
    let found: Vec<_> = thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let mine: Vec<_> = bugs.iter().copied().skip(half).step_by(2).collect();
            scope.spawn(|| mine.into_iter().map(|bug| (bug, find(bug))).collect::<Vec<_>>())
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    });
    drop(std::panic::take_hook());
    let mut wrong = Vec::new();
    for (bug, found) in found {
        match (bug, found) {
            (Some(bug), Some(by)) => println!("{bug:?} is found by {by}"),
            (None, None) => println!("without a bug nothing is found"),
            (Some(bug), None) => wrong.push(format!("{bug:?} is not found")),
            (None, Some(by)) => wrong.push(format!("{by} fails without a bug")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
}
