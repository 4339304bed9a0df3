//! `cargo xtask test`: everything that a change must pass.

mod parts;
mod suites;
mod tally;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::runs::COUNTS;
use crate::workspace::Workspace;
use parts::PARTS;
pub(crate) use suites::CONTROLS;
use suites::SUITES;
use tally::Tally;

/// What the command line asked for.
#[derive(Debug, Default)]
struct Options {
    deep: bool,
    without: Vec<String>,
    only: Option<String>,
}

/// How a part or a suite ended.
struct Row {
    name: &'static str,
    ended: Ended,
    took: Duration,
}

enum Ended {
    Passed,
    Failed(String),
    /// Left out because the command line said so.
    LeftOut,
}

/// What the parts share.
struct Run<'a> {
    workspace: &'a Workspace,
    deep: bool,
    /// Parts and suites that are left out.
    without: &'a [String],
    tally: Tally,
}

/// Runs the parts and suites that are wanted; the exit code says whether all of them passed.
pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{}", help());
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::read(arguments)?;
    let workspace = Workspace::load()?;
    let mut run = Run {
        workspace: &workspace,
        deep: options.deep,
        without: &options.without,
        tally: Tally::default(),
    };
    let began = Instant::now();
    let rows: Vec<Row> =
        steps().filter(|step| options.wants(step.name)).map(|step| step.take(&mut run)).collect();
    summarise(&rows, began.elapsed());
    let failed = rows.iter().any(|row| matches!(row.ended, Ended::Failed(_)));
    // The last line of all, for whoever reads nothing else.
    println!("\n{} passed, {} failed", run.tally.passed, run.tally.failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A part or a suite, in the order in which they run.
struct Step {
    name: &'static str,
    work: Box<dyn Fn(&mut Run<'_>) -> Outcome>,
}

fn steps() -> impl Iterator<Item = Step> {
    let parts =
        PARTS.iter().map(|part| Step { name: part.name, work: Box::new(|run| (part.work)(run)) });
    let suites =
        SUITES.iter().map(|suite| Step { name: suite.name, work: Box::new(|run| suite.run(run)) });
    parts.chain(suites)
}

impl Step {
    fn take(&self, run: &mut Run<'_>) -> Row {
        if run.without.iter().any(|name| name == self.name) {
            return Row { name: self.name, ended: Ended::LeftOut, took: Duration::ZERO };
        }
        println!("\n==== {}", self.name);
        let began = Instant::now();
        let ended = match (self.work)(run) {
            Ok(()) => Ended::Passed,
            Err(message) => {
                eprintln!("{message}");
                Ended::Failed(message)
            }
        };
        Row { name: self.name, ended, took: began.elapsed() }
    }
}

impl Options {
    fn read(arguments: &[String]) -> Outcome<Options> {
        let mut options = Options::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--deep" => options.deep = true,
                "--without" => options.without.push(named(arguments.next(), argument)?),
                "--only" => options.only = Some(named(arguments.next(), argument)?),
                other => return Err(format!("`{other}` is no option of `test`\n\n{}", help())),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }
}

/// The part or suite that stands after an option.
fn named(name: Option<&String>, option: &str) -> Outcome<String> {
    let name = name.ok_or_else(|| format!("`{option}` needs the name of a part or a suite"))?;
    if steps().any(|step| step.name == name) {
        return Ok(name.clone());
    }
    Err(format!("there is no part or suite `{name}`\n\n{}", help()))
}

fn help() -> String {
    let mut help = String::from(
        "cargo xtask test [--deep] [--without NAME]... [--only NAME]\n\nParts, in their order:\n",
    );
    for part in PARTS {
        help += &format!("  {:<12} {}\n", part.name, part.about);
    }
    help += "\nSuites, after the parts:\n";
    for suite in SUITES {
        help += &format!("  {:<12} {}\n", suite.name, suite.about);
    }
    help += "\nCounts, usual and with --deep, told to the tests in the environment:\n";
    for count in COUNTS {
        help += &format!(
            "  {:<24} {:>6} {:>6}  {}\n",
            count.variable, count.usual, count.deep, count.counts
        );
    }
    help
}

fn summarise(rows: &[Row], took: Duration) {
    println!("\n{:<14} {:>8}  result", "part", "minutes");
    for row in rows {
        let result = match &row.ended {
            Ended::Passed => "passed",
            Ended::LeftOut => "left out, as asked",
            Ended::Failed(message) => message.lines().next().unwrap_or("failed"),
        };
        println!("{:<14} {:>8.2}  {}", row.name, row.took.as_secs_f64() / 60.0, shortened(result));
    }
    println!("{:<14} {:>8.2}", "all", took.as_secs_f64() / 60.0);
}

fn shortened(line: &str) -> String {
    let mut short: String = line.chars().take(100).collect();
    if short.len() < line.len() {
        short.push_str(" ...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Outcome<Options> {
        Options::read(&arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn an_unknown_part_is_refused_rather_than_passed_by() {
        assert!(
            options(&["--only", "nonsense"]).unwrap_err().contains("no part or suite `nonsense`")
        );
        assert!(options(&["--without"]).unwrap_err().contains("needs the name"));
        assert!(options(&["--quick"]).unwrap_err().contains("no option"));
    }

    #[test]
    fn only_leaves_one_part() {
        let options = options(&["--only", "layers", "--deep"]).unwrap();
        assert!(options.deep);
        let wanted: Vec<_> =
            steps().map(|step| step.name).filter(|name| options.wants(name)).collect();
        assert_eq!(wanted, ["layers"]);
    }

    #[test]
    fn no_two_steps_share_a_name() {
        let mut names: Vec<_> = steps().map(|step| step.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
