//! The load under which the log is cut off, and the check of what it left.
//!
//! `cargo xtask torture` runs it. `torture DIR HISTORY SEED ROUND [--check] [--bug NAME]` opens the
//! log in `DIR`, checks it against all that `HISTORY` (a file on another file system) says was
//! given and acked, prints `ready` with what it found, and then appends until it is killed. It ends
//! when its standard input does. Exit codes: 1 for a violation, 2 for a log that took no more.
#![expect(clippy::unwrap_used, reason = "a load that cannot go on has failed")]

mod bugs;
mod check;
mod found;
mod history;
mod load;
mod plan;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dhara_log::{Log, LogError, Options};
use dhara_world::Random;

use bugs::Bug;
use history::{History, Journalist};

const USAGE: &str = "torture DIR HISTORY SEED ROUND [--check] [--bug NAME]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [dir, history, seed, round, options @ ..] = words.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(64);
    };
    let (dir, history_path) = (Path::new(dir), Path::new(history));
    let (seed, round) = (seed.parse().unwrap(), round.parse().unwrap());
    let bug = options.iter().find_map(|option| Bug::named(option));
    let log = match Log::open(bugs::disk(bug), dir, log_options(seed, round)) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("the log does not open: {error}");
            return ExitCode::FAILURE;
        }
    };
    let history = History::read(history_path);
    let is_check = options.contains(&"--check");
    let mut verdict = check::check(&log, seed, &history);
    if verdict.violations.is_empty() && (is_check || round % 4 == 0) {
        // What is settled, expired and compacted must say the same as before.
        keep_house(&log).unwrap();
        verdict = check::check(&log, seed, &history);
    }
    if !verdict.violations.is_empty() {
        verdict.violations.iter().for_each(|violation| eprintln!("{violation}"));
        return ExitCode::FAILURE;
    }
    println!("ready {}", verdict.summary);
    if is_check {
        return ExitCode::SUCCESS;
    }
    let journalist = Arc::new(Journalist::open(history_path));
    load::run(
        &log,
        &journalist,
        load::Load { seed, round, acks_early: bug == Some(Bug::EarlyAck) },
    );
    ExitCode::SUCCESS
}

/// Does all that there is to do beside the commits.
fn keep_house(log: &Log) -> Result<(), LogError> {
    log.settle()?;
    while log.housekeep_step()? {}
    Ok(())
}

/// Small files, so that every round passes from one to the next; other ones in each round.
fn log_options(seed: u64, round: u32) -> Options {
    let random = Random::from_seed(seed ^ u64::from(round).rotate_left(40));
    let one_of = |choice: [u64; 3]| choice.get(random.below(3) as usize).copied().unwrap();
    Options {
        first_segment_bytes: one_of([32 << 10, 64 << 10, 256 << 10]),
        segment_bytes: one_of([256 << 10, 1 << 20, 4 << 20]),
        tail_bytes: one_of([16 << 10, 1 << 20, 8 << 20]) as usize,
        index_cache_bytes: one_of([4 << 10, 64 << 10, 8 << 20]) as usize,
        settle_bytes: one_of([64 << 10, 512 << 10, 4 << 20]),
        max_unsettled_bytes: one_of([5 << 20, 8 << 20, 32 << 20]),
        retention_interval: Duration::from_millis(one_of([5, 30, 200])),
        mark_delay: Duration::from_millis(one_of([1, 20, 200])),
        lazy_delay: Duration::from_millis(one_of([1, 5, 10])),
        ..Options::default()
    }
}
