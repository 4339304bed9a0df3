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

use dhara_log::{Log, Options};
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
    let (dir, history) = (Path::new(dir), Path::new(history));
    let (seed, round) = (seed.parse().unwrap(), round.parse().unwrap());
    let bug = options.iter().find_map(|option| Bug::named(option));
    let log = match Log::open(bugs::disk(bug), dir, log_options(seed, round)) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("the log does not open: {error}");
            return ExitCode::FAILURE;
        }
    };
    let verdict = check::check(&log, seed, &History::read(history));
    if !verdict.violations.is_empty() {
        verdict.violations.iter().for_each(|violation| eprintln!("{violation}"));
        return ExitCode::FAILURE;
    }
    println!("ready {}", verdict.summary);
    if options.contains(&"--check") {
        return ExitCode::SUCCESS;
    }
    let journalist = Arc::new(Journalist::open(history));
    load::run(
        &log,
        &journalist,
        load::Load { seed, round, acks_early: bug == Some(Bug::EarlyAck) },
    );
    ExitCode::SUCCESS
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
        mark_delay: Duration::from_millis(one_of([1, 20, 200])),
        lazy_delay: Duration::from_millis(one_of([1, 5, 10])),
        ..Options::default()
    }
}
