//! What an event costs on its way over `mem:`, counted by valgrind.
//!
//! Instructions are counted rather than timed: they are the same on every machine of a kind and
//! in every run. The example runs with N and with 2N events, and the difference is free of what
//! its start costs.

use std::path::Path;
use std::process::Command;

use super::super::Bench;
use super::super::table::{Goal, Row};
use crate::Outcome;
use crate::command::{cargo, find, read, run};

const EXAMPLE: &str = "mem_path";
const EVENTS: u64 = 10_000;

/// Instructions and allocations of one event.
struct Cost {
    instructions: f64,
    allocations: f64,
}

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    if find(&["valgrind"]).is_none() {
        return Err("valgrind is missing: install the package `valgrind`".to_owned());
    }
    let target = bench.workspace.target.join("counted");
    let mut build = cargo(&bench.workspace.root);
    build.env("CARGO_TARGET_DIR", &target).env("CARGO_PROFILE_RELEASE_DEBUG", "true");
    run(build.args([
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "dhara",
        "--example",
        EXAMPLE,
    ]))?;
    let program = target.join("release/examples").join(EXAMPLE);
    let bare = cost(&bench.folder, &program, "bare")?;
    let path = cost(&bench.folder, &program, "path")?;
    Ok(vec![
        Row::new("mem: publish to handler", path.instructions, "instructions")
            .floor("encode, id, decode", bare.instructions),
        Row::new(
            "mem: of which the framework's",
            path.instructions - bare.instructions,
            "instructions",
        )
        .goal(Goal::AtMost(1_000.0)),
        // What is allocated for a batch, whatever its size, is a few hundredths a message.
        Row::new("mem: publish to handler, heap", path.allocations, "allocations")
            .goal(Goal::AtMost(bare.allocations + 0.1))
            .floor("encode, id, decode", bare.allocations),
    ])
}

fn cost(folder: &Path, program: &Path, mode: &str) -> Outcome<Cost> {
    let per_event = |count: &dyn Fn(u64) -> Outcome<u64>| -> Outcome<f64> {
        let (once, twice) = (count(EVENTS)?, count(2 * EVENTS)?);
        Ok((twice as f64 - once as f64) / EVENTS as f64)
    };
    Ok(Cost {
        instructions: per_event(&|events| instructions(folder, program, mode, events))?,
        allocations: per_event(&|events| allocations(program, mode, events))?,
    })
}

/// What callgrind counts; the profile of the last run stays in the folder, for who asks where.
fn instructions(folder: &Path, program: &Path, mode: &str, events: u64) -> Outcome<u64> {
    let profile = folder.join(format!("callgrind.{mode}"));
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args([mode, &events.to_string()]);
    read(&mut valgrind)?;
    let text = std::fs::read_to_string(&profile)
        .map_err(|error| format!("cannot read {}: {error}", profile.display()))?;
    total(&text).ok_or_else(|| format!("{} holds no total", profile.display()))
}

/// The instructions of all threads in a profile.
fn total(profile: &str) -> Option<u64> {
    let of = |name: &str| {
        let line = profile.lines().rev().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    of("totals:").or_else(|| of("summary:"))
}

fn allocations(program: &Path, mode: &str, events: u64) -> Outcome<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=memcheck", "--leak-check=no", "--undef-value-errors=no", "--log-fd=1"])
        .arg(program)
        .args([mode, &events.to_string()]);
    let printed = read(&mut valgrind)?;
    allocated(&printed).ok_or_else(|| format!("valgrind did not tell the allocations:\n{printed}"))
}

/// Reads `total heap usage: 1,234 allocs, ...`.
fn allocated(printed: &str) -> Option<u64> {
    let (_, rest) = printed.split_once("total heap usage: ")?;
    rest.split_once(" allocs")?.0.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_valgrind_are_read() {
        assert_eq!(total("events: Ir\nsummary: 120\nfn=(1) x\ntotals: 123\n"), Some(123));
        assert_eq!(total("summary: 120\n"), Some(120));
        let said =
            "==7== HEAP\n==7==   total heap usage: 1,234 allocs, 1,200 frees, 9 bytes allocated";
        assert_eq!(allocated(said), Some(1_234));
        assert_eq!(allocated("nothing"), None);
    }
}
