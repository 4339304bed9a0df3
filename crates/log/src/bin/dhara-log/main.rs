//! `dhara-log`: looks at a log in its folder, verifies its files, and repairs what can be repaired.

mod arguments;
mod dump;
mod frames;
mod list;
mod repair;
mod stats;
mod text;
mod verify;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use dhara_log::LogError;
use dhara_log::inspect::Inspection;
use dhara_world::disk::RealDisk;

use arguments::{Command, HELP, Parsed};

/// What a command has found, which is what the program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Good,
    /// There is damage.
    Damage,
}

/// Why a command could not be carried out.
#[derive(Debug)]
enum Failure {
    /// The log, or the request, is not such that it can.
    Log(LogError),
    /// Writing the output failed.
    Output(io::Error),
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn main() -> ExitCode {
    let command = match arguments::parse(lexopt::Parser::from_env()) {
        Ok(Parsed::Command(command)) => command,
        Ok(Parsed::Help) => {
            // Whoever closes the output does not want the rest.
            drop(io::stdout().write_all(HELP.as_bytes()));
            return ExitCode::SUCCESS;
        }
        Err(error) => return failed(&format!("{error}; `dhara-log --help` lists the commands")),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let result = run(&command, &mut out).and_then(|outcome| {
        out.flush()?;
        Ok(outcome)
    });
    match result {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Damage) => ExitCode::from(1),
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => failed(&format!("writing the output: {error}")),
        Err(Failure::Log(LogError::Locked { dir })) => failed(&format!(
            "the log in {} is open in another process; stop that process first, or look at a copy \
             of the folder that was made while it was stopped",
            dir.display()
        )),
        Err(Failure::Log(LogError::Unknown { partition })) => {
            failed(&format!("there is no {partition}; `dhara-log list DIR` tells what there is"))
        }
        Err(Failure::Log(error)) => failed(&error.to_string()),
    }
}

fn failed(what: &str) -> ExitCode {
    // Nobody can be told when standard error is gone.
    drop(writeln!(io::stderr(), "dhara-log: {what}"));
    ExitCode::from(2)
}

fn run(command: &Command, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match command {
        Command::List { dir } => list::list(&inspect(dir)?, out),
        Command::Dump { dir, wanted } => dump::dump(&inspect(dir)?, wanted, out),
        Command::Frames { dir } => frames::frames(dir, out),
        Command::Verify { dir } => verify::verify(inspect(dir), out),
        Command::Repair { dir, is_agreed } => repair::repair(inspect(dir)?, *is_agreed, out),
        Command::Stats { dir } => stats::stats(&inspect(dir)?, out),
    }
}

fn inspect(dir: &Path) -> Result<Inspection, LogError> {
    Inspection::open(Arc::new(RealDisk), dir)
}
