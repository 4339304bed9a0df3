//! Crashes at every moment of random workloads: what both the log and seeded bugs are tested with.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on here has failed"
)]

mod batches;
mod check;
#[path = "../support/codecs.rs"]
mod codecs;
mod model;
mod run;
mod work;

use dhara_world::Random;
use dhara_world::disk::SimDisk;

use model::{Books, Model};
use run::Run;

/// How much is done with one seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Each run after the first begins on what a crash of the one before left.
    pub(crate) runs: usize,
    pub(crate) rounds: usize,
    /// In how many ways the power fails at each moment.
    pub(crate) ways: usize,
    /// At one moment in so many there is also a crash while recovering.
    pub(crate) twice_every: usize,
}

/// Tells how to do it again when a check fails.
struct Replay {
    seed: u64,
    place: String,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed {}; replay with DHARA_CRASH_SEED={}", self.place, self.seed);
        }
    }
}

/// Crashes at every moment of a few runs that follow from `seed`; gives how many crashes that were.
pub(crate) fn crash_everywhere(seed: u64, effort: Effort) -> usize {
    let mut replay = Replay { seed, place: String::new() };
    let random = Random::from_seed(seed);
    let options = run::options(&random);
    let mut points = 0;
    let mut next = Some((SimDisk::new(), Model::default(), Books::new()));
    for number in 0..effort.runs {
        let Some((disk, model, books)) = next.take() else { break };
        replay.place = format!("in run {number}");
        let mut run = Run::begin(random.fork(), disk, options.clone(), model, books);
        run.work(effort.rounds);
        let last = random.below(run.disk.moment() as u64) as usize;
        run.disk.history().each_moment(|moment, image| {
            for way in 0..effort.ways {
                replay.place = format!("in run {number} at moment {moment}, way {way}");
                let random = Random::from_seed(seed ^ ((moment * 64 + way) as u64) << 20);
                let left = image.crash(&random);
                points += 1;
                let bounds = run.bounds(moment);
                let epoch = run.epoch(moment);
                let disk = SimDisk::holding(left.clone());
                let (count, found) = check::recovered(&run, &disk, bounds, epoch, &random);
                if moment == last && way == 0 {
                    let state = run.state(count);
                    let disk = SimDisk::holding(left.clone());
                    next = Some((disk, state.clone(), state.cut(&run.books)));
                }
                if random.below(effort.twice_every as u64) == 0 {
                    points += crash_again(&run, &left, count, bounds, epoch, &random);
                }
                found.goes_on(&random);
            }
        });
    }
    points
}

/// Crashes at each moment of the recovery, which the first time found `count` operations.
fn crash_again(
    run: &Run,
    left: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>,
    count: usize,
    bounds: (usize, usize),
    epoch: u32,
    random: &Random,
) -> usize {
    let disk = SimDisk::holding(left.clone());
    drop(check::recovered(run, &disk, bounds, epoch, random));
    let end = disk.moment();
    let mut points = 0;
    disk.history().each_moment(|moment, image| {
        let again = SimDisk::holding(image.crash(random));
        // What the first opening has found may have been read.
        let bounds = if moment == end { (count, count) } else { bounds };
        let (_, found) = check::recovered(run, &again, bounds, epoch, random);
        found.goes_on(random);
        points += 1;
    });
    points
}
