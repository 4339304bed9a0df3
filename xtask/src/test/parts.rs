//! The parts, in their order: the quick ones first.

use std::process::Command;
use std::time::Duration;

use super::suites::SUITES;
use super::{Run, tally};
use crate::command::{cargo, run as run_command};
use crate::runs::COUNTS;
use crate::workspace::Target;
use crate::{Outcome, layers, licences, tools};

/// A check, or a group of tests.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) work: fn(&mut Run<'_>) -> Outcome,
}

/// Every part.
pub(super) const PARTS: &[Part] = &[
    Part { name: "format", about: "every file is as rustfmt writes it", work: format },
    Part {
        name: "layers",
        about: "imports run one way, between crates and modules",
        work: layering,
    },
    Part {
        name: "licences",
        about: "each dependency is under a licence of the list",
        work: licence,
    },
    Part { name: "lints", about: "clippy over every target; warnings are errors", work: lints },
    Part {
        name: "features",
        about: "each library with each feature alone, and with none",
        work: features,
    },
    Part { name: "docs", about: "rustdoc; warnings are errors", work: docs },
    Part { name: "tests", about: "unit and integration tests of the workspace", work: tests },
    Part { name: "doctests", about: "the examples in the documentation", work: doctests },
    Part {
        name: "examples",
        about: "every example is built, and run when it ends by itself",
        work: examples,
    },
];

/// Examples that are given arguments, or never end by themselves.
const EXAMPLES: &[Example] = &[
    Example { name: "bench_log", arguments: None },
    Example { name: "mem_path", arguments: Some(&["path", "1000"]) },
    Example { name: "torture", arguments: None },
];

struct Example {
    name: &'static str,
    /// None for one that serves until it is stopped, which is built alone.
    arguments: Option<&'static [&'static str]>,
}

/// An example that takes longer is taken for one that hangs.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);

fn format(run: &mut Run<'_>) -> Outcome {
    tools::component("fmt", "rustfmt")?;
    run_command(cargo(&run.workspace.root).args(["fmt", "--all", "--check"]))
}

fn layering(run: &mut Run<'_>) -> Outcome {
    layers::check(run.workspace)
}

fn licence(run: &mut Run<'_>) -> Outcome {
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        if !run.workspace.root.join(file).is_file() {
            return Err(format!("{file} is missing from the root of the repository"));
        }
    }
    licences::check(run.workspace)
}

fn lints(run: &mut Run<'_>) -> Outcome {
    tools::component("clippy", "clippy")?;
    run_command(clippy(run, &["--workspace", "--all-targets"]).args(["--", "-D", "warnings"]))?;
    // What needs a server is off by default, and so are its tests.
    let postgres = ["--package", "dhara", "--all-targets", "--features", "postgres"];
    run_command(clippy(run, &postgres).args(["--", "-D", "warnings"]))
}

fn clippy(run: &Run<'_>, arguments: &[&str]) -> Command {
    let mut command = cargo(&run.workspace.root);
    command.args(["clippy", "--locked", "--quiet"]).args(arguments);
    command
}

/// Clippy rather than `cargo check`: it checks the same, shares what `lints` built, and turns the
/// warnings of our code alone into errors.
fn features(run: &mut Run<'_>) -> Outcome {
    tools::component("clippy", "clippy")?;
    let mut combinations = 0;
    for package in run.workspace.ours().filter(|package| package.targets_of("lib").next().is_some())
    {
        let alone = package.features.iter().filter(|feature| *feature != "default");
        for feature in std::iter::once("").chain(alone.map(String::as_str)) {
            let arguments = [
                "--package",
                &package.name,
                "--lib",
                "--no-default-features",
                "--features",
                feature,
            ];
            run_command(clippy(run, &arguments).args(["--", "-D", "warnings"]))?;
            combinations += 1;
        }
    }
    println!("{combinations} combinations");
    Ok(())
}

fn docs(run: &mut Run<'_>) -> Outcome {
    run_command(cargo(&run.workspace.root).env("RUSTDOCFLAGS", "-D warnings").args([
        "doc",
        "--workspace",
        "--no-deps",
        "--locked",
        "--quiet",
    ]))
}

/// Every test but those of the suites, which have their own needs.
fn tests(run: &mut Run<'_>) -> Outcome {
    let mut command = cargo_test(run);
    command.args(["--workspace", "--lib", "--bins"]);
    for target in run.workspace.ours().flat_map(|package| package.targets_of("test")) {
        if !SUITES.iter().any(|suite| suite.is_test(&target.name)) {
            command.args(["--test", &target.name]);
        }
    }
    tally::run(&mut command, &mut run.tally)
}

fn doctests(run: &mut Run<'_>) -> Outcome {
    tally::run(cargo_test(run).args(["--workspace", "--doc"]), &mut run.tally)
}

/// `cargo test` with the counts of this run in its environment.
pub(super) fn cargo_test(run: &Run<'_>) -> Command {
    let mut command = cargo(&run.workspace.root);
    command.args(["test", "--locked", "--no-fail-fast"]);
    for count in COUNTS {
        // A count that is set already was set on purpose.
        if std::env::var_os(count.variable).is_none() {
            command.env(count.variable, count.of(run.deep).to_string());
        }
    }
    command
}

fn examples(run: &mut Run<'_>) -> Outcome {
    let examples: Vec<&Target> =
        run.workspace.ours().flat_map(|package| package.targets_of("example")).collect();
    run_command(cargo(&run.workspace.root).args([
        "build",
        "--workspace",
        "--examples",
        "--locked",
        "--quiet",
    ]))?;
    let mut failures = Vec::new();
    for example in &examples {
        let known = EXAMPLES.iter().find(|known| known.name == example.name);
        let arguments = known.map_or(Some(&[][..]), |known| known.arguments);
        let Some(arguments) = arguments else { continue };
        let program = run.workspace.target.join("debug/examples").join(&example.name);
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&run.workspace.root);
        failures.extend(tools::run_within(&mut command, EXAMPLE_LIMIT).err());
    }
    println!("{} examples", examples.len());
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}
