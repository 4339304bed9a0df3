//! Counts what `cargo test` says passed and failed, while it is shown.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::command::line;

/// Tests that passed and failed, over all test executables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

/// Runs `command`, a `cargo test`, and adds its results to `tally`.
///
/// Both its outputs go through one pipe, so that what cargo says about an executable stays in
/// front of what the executable prints.
pub(super) fn run(command: &mut Command, tally: &mut Tally) -> Outcome {
    let shown = line(command);
    println!("$ {shown}");
    let mut child = piped(command, |line| {
        tally.read(line);
        println!("{line}");
    })
    .map_err(|error| format!("cannot run `{shown}`: {error}"))?;
    let status = child.wait().map_err(|error| format!("cannot await `{shown}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{shown}` ended with {status}")) }
}

/// Starts `command` and gives each line it prints to `each`, until it prints no more.
fn piped(command: &mut Command, mut each: impl FnMut(&str)) -> std::io::Result<Child> {
    let (reader, writer) = std::io::pipe()?;
    let child = command.stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The command keeps our ends of the pipe, and the end of all output would never be seen.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        each(&String::from_utf8_lossy(&line?));
    }
    Ok(child)
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
    fn both_outputs_are_read_in_the_order_in_which_they_were_written() {
        let mut lines = Vec::new();
        let script = "echo one >&2; echo two; echo three >&2; exit 3";
        let mut child =
            piped(Command::new("sh").args(["-c", script]), |line| lines.push(line.to_owned()))
                .unwrap();
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(child.wait().unwrap().code(), Some(3));
    }

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
