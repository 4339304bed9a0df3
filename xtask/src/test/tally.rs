//! Counts what `cargo test` says passed and failed, while it is shown.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::command::line;

/// Tests that passed and failed, over all test executables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

/// Runs `command`, a `cargo test`, and adds its results to `tally`.
pub(super) fn run(command: &mut Command, tally: &mut Tally) -> Outcome {
    let shown = line(command);
    eprintln!("$ {shown}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    if let Some(output) = child.stdout.take() {
        // What is printed need not be UTF-8, and a test may leave a line unfinished.
        for line in BufReader::new(output).split(b'\n') {
            let line =
                line.map_err(|error| format!("cannot read what `{shown}` prints: {error}"))?;
            let line = String::from_utf8_lossy(&line);
            tally.read(&line);
            println!("{line}");
        }
        // A closed standard output is not the tests' failure.
        let _ = std::io::stdout().flush();
    }
    let status = child.wait().map_err(|error| format!("cannot await `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` ended with {status}")) }
}

impl Tally {
    /// Adds one line, when it is the last of a test executable.
    fn read(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ") else { return };
        for count in counts.split(';') {
            let mut words = count.split_whitespace().rev();
            let (Some(what), Some(number)) = (words.next(), words.next()) else { continue };
            let number: u64 = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_executables_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out; finished in 1.20s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally, Tally { passed: 16, failed: 2 });
    }
}
