//! The embedded log on the disk of the bench folder, each figure in a process of its own.
//!
//! What is measured is an example of `crates/log`, which prints a line for each number.

mod appends;
mod memory;
mod opens;
mod reads;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Bench;
use super::super::table::{self, Row};
use crate::Outcome;
use crate::command::{self, cargo};
use crate::workspace::sweep;

const MIB: u64 = 1 << 20;
const GIGABYTE: u64 = 1_000_000_000;
/// What the journal holds at most: what may wait to be settled, with the files that are filled and
/// made ready meanwhile. Each figure of appends writes four times as much.
const JOURNAL: u64 = 384 * MIB;
/// Memory that is touched before anything is measured.
const WARM: u64 = 2 * GIGABYTE;

/// The program that measures, and where it may write.
struct Meter<'a> {
    bench: &'a Bench,
    program: PathBuf,
    /// The log that is measured; made anew for most figures.
    folder: PathBuf,
}

/// The numbers that a measurement told, by their names.
struct Told(BTreeMap<String, f64>);

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    command::run(cargo(&bench.workspace.root).args([
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--package=dhara-log",
        "--example=bench_log",
    ]))?;
    sweep(&bench.folder, "log-");
    let meter = Meter {
        bench,
        program: bench.workspace.target.join("release/examples/bench_log"),
        folder: bench.folder.join(format!("log-{}", std::process::id())),
    };
    let rows = meter.measure_all();
    // Left over it only takes space, and the next run takes another folder.
    let _ = std::fs::remove_dir_all(&meter.folder);
    rows
}

impl Meter<'_> {
    fn measure_all(&self) -> Outcome<Vec<Row>> {
        warm_up(&self.bench.folder)?;
        let runs = if self.bench.options.quick { 1 } else { self.bench.options.runs };
        let mut rows = Vec::new();
        for run in 1..=runs {
            eprintln!("run {run} of {runs}");
            table::gather(&mut rows, appends::rows(self)?);
            table::gather(&mut rows, reads::rows(self)?);
            table::gather(&mut rows, memory::rows(self)?);
        }
        // These take their time, and differ little from run to run.
        rows.extend(opens::rows(self)?);
        Ok(rows)
    }

    /// The smaller number for a quick look.
    fn sized(&self, usual: u64, quick: u64) -> u64 {
        if self.bench.options.quick { quick } else { usual }
    }

    /// Measures on an empty folder.
    fn fresh(&self, figure: &str, numbers: &[u64]) -> Outcome<Told> {
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder)
                .map_err(|error| format!("cannot remove {}: {error}", self.folder.display()))?;
        }
        self.again(figure, numbers)
    }

    /// Measures on what the measurement before has left.
    fn again(&self, figure: &str, numbers: &[u64]) -> Outcome<Told> {
        let mut measurement = Command::new(&self.program);
        measurement.arg(figure).arg(&self.folder).args(numbers.iter().map(u64::to_string));
        eprintln!("$ {}", command::line(&measurement));
        Ok(Told::read(&command::read(&mut measurement)?))
    }
}

impl Told {
    /// Reads lines of a name and a number.
    fn read(printed: &str) -> Told {
        let line = |line: &str| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        };
        Told(printed.lines().filter_map(line).collect())
    }

    fn get(&self, name: &str) -> Outcome<f64> {
        self.0.get(name).copied().ok_or_else(|| format!("the measurement told no `{name}`"))
    }

    /// A row of how the backlog of the settling grew from the half of the run to its end; none for
    /// a log that has no backlog.
    fn backlog(&self, of: &str) -> Option<Row> {
        let (half, end) = (self.0.get("backlog_2")?, self.0.get("backlog_4")?);
        Some(Row::new(format!("{of}: growth of the backlog"), (end - half) / 1e6, "MB"))
    }
}

/// Touches memory that a virtual machine may not have been given yet, which takes five times as
/// long as to touch it again.
fn warm_up(folder: &Path) -> Outcome {
    let path = folder.join(format!("warm-{}", std::process::id()));
    let touched = std::fs::File::create(&path).and_then(|mut file| {
        let block = vec![1; MIB as usize];
        (0..WARM / MIB).try_for_each(|_| file.write_all(&block))
    });
    // What is removed before it is synced costs the disk next to nothing.
    let _ = std::fs::remove_file(&path);
    touched.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Empties the page cache, where that is allowed; what is measured then says which it was.
fn drop_caches() -> &'static str {
    // Only clean pages go.
    let _ = Command::new("sync").status();
    match std::fs::write("/proc/sys/vm/drop_caches", "3") {
        Ok(()) => "from the disk",
        Err(_) => "from the page cache (only root can empty it)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_measurement_are_read() {
        let told = Told::read("a 1.5\nnonsense\nbacklog_2 1000000\nbacklog_4 3000000\n");
        assert_eq!(told.get("a"), Ok(1.5));
        assert!(told.get("b").unwrap_err().contains("`b`"));
        assert!(told.backlog("it").is_some());
        assert!(Told::read("backlog_4 1").backlog("it").is_none());
    }
}
