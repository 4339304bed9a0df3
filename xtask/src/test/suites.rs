//! Tests that need more than Rust, or that are worth a line of their own in the summary.

use super::parts::cargo_test;
use super::{Run, tally};
use crate::fuzz;
use crate::runs::{Count, FUZZ_TARGET_SECONDS, LOG_KILLS, POWER_CUTS};
use crate::tools::{self, CHROMIUM, Tool};
use crate::torture::{self, Way};
use crate::{Outcome, command};

/// Something that runs apart from the tests.
pub(super) struct Suite {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    work: Work,
}

enum Work {
    /// An integration test.
    Test {
        /// The package that has the test, and the test's target.
        package: &'static str,
        test: &'static str,
        /// What cargo is told besides: a profile, a feature.
        arguments: &'static [&'static str],
        /// What must be there; what is missing is installed where that is possible.
        needs: &'static [Tool],
    },
    /// `cargo xtask fuzz`, which brings what it needs.
    Fuzz(&'static Count),
    /// Unit tests of the log under Miri, by parts of their names.
    Miri(&'static [&'static str]),
    /// `cargo xtask torture`, which brings what it needs.
    Torture(Way, &'static Count),
}

/// Every suite.
pub(super) const SUITES: &[Suite] = &[
    Suite {
        name: "page",
        about: "the shop's page in a real Chromium",
        work: Work::Test { package: "shop", test: "page", arguments: &[], needs: &[CHROMIUM] },
    },
    Suite {
        name: "crash",
        about: "the log after a crash at every moment of random workloads",
        work: Work::Test {
            package: "dhara-log",
            test: "crash",
            arguments: &["--profile", "heavy"],
            needs: &[],
        },
    },
    Suite {
        name: "damage",
        about: "the log with bits flipped and files cut off, one at a time, over all kinds of files",
        work: Work::Test {
            package: "dhara-log",
            test: "damage",
            arguments: &["--profile", "heavy"],
            needs: &[],
        },
    },
    Suite {
        name: "controls",
        about: "bugs that the log is given on purpose, each of which has to be found",
        work: Work::Test {
            package: "dhara-log",
            test: "sabotage",
            arguments: CONTROLS,
            needs: &[],
        },
    },
    Suite {
        name: "threads",
        about: "the log's threads under a model checker",
        work: Work::Test {
            package: "dhara-log",
            test: "shuttle",
            arguments: &["--profile", "heavy", "--features", "shuttle"],
            needs: &[],
        },
    },
    Suite {
        name: "frames",
        about: "frames from strangers to the Kafka codec",
        work: Work::Test {
            package: "dhara-wire",
            test: "frames",
            arguments: &["--profile", "heavy"],
            needs: &[],
        },
    },
    Suite { name: "miri", about: "the log's pure parts under Miri", work: Work::Miri(MIRI) },
    Suite {
        name: "fuzz",
        about: "the readers of the log's files and of Kafka's frames fed by libFuzzer",
        work: Work::Fuzz(&FUZZ_TARGET_SECONDS),
    },
    Suite {
        name: "kill",
        about: "the log killed under load",
        work: Work::Torture(Way::Kill, &LOG_KILLS),
    },
    Suite {
        name: "power-cut",
        about: "the file system shut down under the log's load",
        work: Work::Torture(Way::PowerCut, &POWER_CUTS),
    },
];

/// What cargo is told so that the log can be given bugs.
pub(crate) const CONTROLS: &[&str] = &["--profile", "heavy", "--features", "sabotage"];

/// What Miri runs in a minute or two: parts without a disk, and tickets with their threads.
const MIRI: &[&str] = &[
    "ticket::",
    "walk::",
    "frame::",
    "varint",
    "keys::tests::an_empty",
    "keys::tests::the_hash",
    "producers::tests",
    "settled::tests::index::ends",
    "records_come_back",
    "keys_and_values",
    "are_refused",
    "is_refused",
    "are_split",
];

impl Suite {
    /// Whether the suite is this integration test.
    pub(super) fn is_test(&self, target: &str) -> bool {
        matches!(self.work, Work::Test { test, .. } if test == target)
    }

    /// Runs the suite. One whose needs cannot be met has failed: nobody should think that it ran.
    pub(super) fn run(&self, run: &mut Run<'_>) -> Outcome {
        match &self.work {
            Work::Test { package, test, arguments, needs } => {
                for tool in *needs {
                    tool.bring().map_err(|why| self.left_out(&why))?;
                }
                run_test(run, package, test, arguments)
            }
            Work::Fuzz(count) => {
                fuzz::bring().map_err(|why| self.left_out(&why))?;
                let seconds = count.wanted(run.deep).to_string();
                fuzz::run(&["--seconds", &seconds].map(str::to_owned))
            }
            Work::Miri(tests) => self.run_miri(run, tests),
            Work::Torture(way, count) => {
                torture::bring(*way).map_err(|why| self.left_out(&why))?;
                let times = count.wanted(run.deep).to_string();
                torture::run(&[way.name(), "--times", &times].map(str::to_owned))
            }
        }
    }

    fn run_miri(&self, run: &mut Run<'_>, tests: &[&str]) -> Outcome {
        tools::has_nightly().map_err(|why| self.left_out(&why))?;
        let root = &run.workspace.root;
        command::read(tools::nightly(root, "miri").arg("--version")).map_err(|_| {
            self.left_out(
                "the nightly toolchain has no Miri: rustup component add --toolchain nightly miri \
                 rust-src",
            )
        })?;
        let mut command = tools::nightly(root, "miri");
        command.args(["test", "--locked", "--package", "dhara-log", "--lib", "--test", "batches"]);
        command.arg("--target-dir").arg(run.workspace.target.join("miri"));
        // What a proptest failed with before stands in a file, which isolation hides.
        command.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "6");
        command.arg("--").args(tests).args(["--skip", "the_time_of"]);
        tally::run(&mut command, &mut run.tally)
    }

    fn left_out(&self, why: &str) -> String {
        format!("did not run: {why}, or leave the suite out with `--without {}`", self.name)
    }
}

fn run_test(run: &mut Run<'_>, package: &str, test: &str, arguments: &[&str]) -> Outcome {
    if !run.workspace.package(package)?.targets_of("test").any(|target| target.name == test) {
        return Err(format!(
            "did not run: {package} has no test `{test}`; the list of suites is out of date"
        ));
    }
    let mut command = cargo_test(run);
    command.args(["--package", package, "--test", test]).args(arguments);
    tally::run(&mut command, &mut run.tally)
}
