//! The process that has the log open.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::Outcome;

/// How long a log may take to open and to be checked.
const PATIENCE: Duration = Duration::from_secs(120);
/// The exit code of a load whose log took no more appends: after a cut it is as it should be.
const LOG_FAILED: i32 = 2;
/// Lines of what the load complained about that an error shows.
const SHOWN: usize = 25;

/// A load, from its start until it was cut off. It ends with this program: its input does.
pub(super) struct Load {
    child: Child,
    complaints: PathBuf,
}

/// What the check at the start of a load found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) records: u64,
    /// Records that retention, compaction and deletion have taken.
    pub(super) gone: u64,
    pub(super) settled: u64,
    pub(super) acked: u64,
    pub(super) torn: u64,
}

impl Load {
    pub(super) fn start(mut command: Command, complaints: &Path) -> Outcome<Load> {
        let errors: File = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(complaints)
            .map_err(|error| format!("cannot write {}: {error}", complaints.display()))?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("cannot start the load: {error}"))?;
        Ok(Load { child, complaints: complaints.to_owned() })
    }

    /// Waits until the log was opened and checked.
    pub(super) fn ready(&mut self) -> Outcome<Found> {
        let output = self.child.stdout.take().ok_or("the load's output is gone")?;
        match first_line(output).and_then(|line| Found::read(&line)) {
            Some(found) => Ok(found),
            None => {
                let ended = self.child.try_wait().ok().flatten();
                self.kill()?;
                Err(match ended {
                    Some(_) => format!("the check failed:\n{}", self.complained()),
                    None => format!("the log was not checked:\n{}", self.complained()),
                })
            }
        }
    }

    /// As [`Load::ready`] for a load that does nothing but check.
    pub(super) fn checked(mut self) -> Outcome<Found> {
        let found = self.ready()?;
        let status = self.wait()?;
        if status.success() { Ok(found) } else { Err(self.unexpected(status)) }
    }

    /// Asks the load to close its log and to end.
    pub(super) fn stop(&mut self) -> Outcome {
        self.still_runs()?;
        let input = self.child.stdin.as_mut().ok_or("the load's input is gone")?;
        input.write_all(b"stop\n").map_err(|error| format!("cannot stop the load: {error}"))
    }

    /// A load that ends before it is cut off has found something.
    pub(super) fn still_runs(&mut self) -> Outcome {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.unexpected(status)),
            Err(error) => Err(format!("cannot tell whether the load runs: {error}")),
        }
    }

    /// Kills the load and waits until its files are closed.
    pub(super) fn kill(&mut self) -> Outcome {
        // It may have ended since; then there is nothing left to kill.
        let _ = self.child.kill();
        self.wait().map(drop)
    }

    /// Makes sure that a load that was cut off had found nothing before.
    pub(super) fn ended_by_the_cut(&mut self) -> Outcome {
        let status = self.wait()?;
        match status.code() {
            // A program that was killed has no code.
            None | Some(0 | LOG_FAILED) => Ok(()),
            Some(_) => Err(self.unexpected(status)),
        }
    }

    fn wait(&mut self) -> Outcome<ExitStatus> {
        self.child.wait().map_err(|error| format!("cannot await the load: {error}"))
    }

    fn unexpected(&self, status: ExitStatus) -> String {
        format!("the load ended by itself, with {status}:\n{}", self.complained())
    }

    fn complained(&self) -> String {
        let text = std::fs::read_to_string(&self.complaints).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n")
    }
}

/// The first line of `output`, where it comes in time.
fn first_line(output: ChildStdout) -> Option<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let line = BufReader::new(output).lines().next();
        // Nobody listens any more where it came too late.
        let _ = sender.send(line);
    });
    receiver.recv_timeout(PATIENCE).ok().flatten()?.ok()
}

impl Found {
    /// Reads `ready records 1 gone 2 acked 3 torn 4 settled 5`.
    fn read(line: &str) -> Option<Found> {
        let mut words = line.strip_prefix("ready ")?.split(' ');
        let mut found = Found::default();
        while let (Some(name), Some(number)) = (words.next(), words.next()) {
            let number = number.parse().ok()?;
            match name {
                "records" => found.records = number,
                "gone" => found.gone = number,
                "settled" => found.settled = number,
                "acked" => found.acked = number,
                "torn" => found.torn = number,
                _ => {}
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_load_says_is_read() {
        let found = Found { records: 1, gone: 2, acked: 3, torn: 4, settled: 5 };
        let line = "ready records 1 gone 2 acked 3 torn 4 settled 5";
        assert_eq!(Found::read(line), Some(found));
        assert_eq!(Found::read("panicked"), None);
    }

    #[test]
    fn a_load_that_ends_by_itself_has_found_something() {
        let complaints = std::env::temp_dir().join(format!("complaints-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo a phantom >&2; exit 1"]);
        let mut load = Load::start(command, &complaints).unwrap();
        let said = load.ready().unwrap_err();
        std::fs::remove_file(&complaints).unwrap();
        assert!(said.contains("a phantom"), "{said}");
    }
}
