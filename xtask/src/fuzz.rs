//! `cargo xtask fuzz`: libFuzzer feeds the readers of the log's files and of Kafka's frames.
//!
//! The targets are in `crates/log/fuzz` and `crates/wire/fuzz`, workspaces of their own, since they
//! need a nightly toolchain.

use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::command::{self, cargo};
use crate::tools;
use crate::workspace::Workspace;

/// The folders, each with its targets, as its `Cargo.toml` names them.
const FOLDERS: [(&str, &[&str]); 2] = [
    ("crates/log/fuzz", &["batch", "journal", "state", "settled"]),
    ("crates/wire/fuzz", &["request", "response", "stream"]),
];

/// How long each target runs where nobody says.
const SECONDS: u64 = 60;
const HELP: &str = "\
cargo xtask fuzz [TARGET] [--runs N] [--seconds N]

Feeds the readers of the log's files and of Kafka's frames with bytes that nobody wrote, for N runs or N
seconds for each target; 60 seconds where nothing is said. Targets: batch, journal, state, settled;
request, response, stream.
";

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    target: Option<String>,
    runs: Option<u64>,
    seconds: Option<u64>,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let options = Options::read(arguments)?;
    bring()?;
    let workspace = Workspace::load()?;
    let only = options.target.as_deref();
    for (folder, targets) in FOLDERS {
        let wanted = |target: &&str| only.is_none_or(|only| only == *target);
        let targets: Vec<_> = targets.iter().copied().filter(wanted).collect();
        if !targets.is_empty() {
            run_targets(&workspace, folder, &targets, &options)?;
        }
    }
    Ok(())
}

/// Runs targets of one folder, from the inputs that its program `seeds` writes.
fn run_targets(workspace: &Workspace, of: &str, targets: &[&str], options: &Options) -> Outcome {
    let folder = workspace.target.join("fuzz");
    let corpus = folder.join("corpus");
    let manifest = workspace.root.join(of).join("Cargo.toml");
    let mut seeds = cargo(&workspace.root);
    seeds.args(["run", "--quiet", "--no-default-features", "--bin", "seeds", "--manifest-path"]);
    seeds.arg(manifest).arg("--target-dir").arg(folder.join("seeds")).arg("--").arg(&corpus);
    command::run(&mut seeds)?;
    for target in targets {
        let mut fuzz = tools::nightly(&workspace.root, "fuzz");
        // `-O` is what older and newer versions of cargo-fuzz both understand.
        fuzz.args(["run", "-O", "--fuzz-dir", of, "--target-dir"]);
        fuzz.arg(&folder).arg(target).arg(corpus.join(target));
        command::run(options.limit(&mut fuzz, folder.join("artifacts").join(target))?)?;
    }
    Ok(())
}

/// Whether a folder has a target of this name.
fn is_target(name: &str) -> bool {
    FOLDERS.iter().any(|(_, targets)| targets.contains(&name))
}

/// Makes sure that the targets can be built; the error says what is missing.
pub(crate) fn bring() -> Outcome {
    tools::has_nightly()?;
    let here = PathBuf::from(".");
    if command::read(tools::nightly(&here, "fuzz").arg("--version")).is_ok() {
        return Ok(());
    }
    command::run(cargo(&here).args(["install", "cargo-fuzz", "--locked"]))
        .map_err(|_| "`cargo fuzz` is missing: cargo install cargo-fuzz".to_owned())
}

impl Options {
    fn read(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--runs" => options.runs = Some(number(arguments.next(), argument)?),
                "--seconds" => options.seconds = Some(number(arguments.next(), argument)?),
                name if is_target(name) => options.target = Some(name.to_owned()),
                other => return Err(format!("`{other}` is no option of `fuzz`\n\n{HELP}")),
            }
        }
        if options.runs.is_none() && options.seconds.is_none() {
            options.seconds = Some(SECONDS);
        }
        Ok(options)
    }

    /// What libFuzzer is told. No input is worth more memory than this, whatever it claims.
    fn limit<'a>(&self, command: &'a mut Command, found: PathBuf) -> Outcome<&'a mut Command> {
        std::fs::create_dir_all(&found)
            .map_err(|error| format!("cannot make {}: {error}", found.display()))?;
        command.args(["--", "-max_len=16384", "-timeout=20", "-malloc_limit_mb=256"]);
        command.args(["-rss_limit_mb=2048", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/", found.display()));
        let limits = [("runs", self.runs), ("max_total_time", self.seconds)];
        for (name, limit) in limits {
            command.args(limit.map(|limit| format!("-{name}={limit}")));
        }
        Ok(command)
    }
}

fn number(text: Option<&String>, option: &str) -> Outcome<u64> {
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("`{option}` needs a number\n\n{HELP}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Outcome<Options> {
        Options::read(&arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_target_is_fuzzed_for_as_long_as_is_said() {
        let wanted =
            Options { target: Some("state".into()), runs: Some(100_000_000), seconds: None };
        assert_eq!(read(&["state", "--runs", "100000000"]), Ok(wanted));
        assert_eq!(read(&[]).unwrap().seconds, Some(SECONDS));
        assert!(read(&["stat"]).unwrap_err().contains("`stat` is no option"));
        assert!(read(&["--runs", "many"]).unwrap_err().contains("needs a number"));
    }

    #[test]
    fn every_target_is_there() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        for (folder, targets) in FOLDERS {
            for target in targets {
                let file = root.join(folder).join("targets").join(target).with_extension("rs");
                assert!(file.is_file(), "{target}");
            }
        }
    }
}
