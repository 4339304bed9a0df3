//! Tests that need more than Rust, or that are worth a line of their own in the summary.

use super::parts::cargo_test;
use super::{Run, tally};
use crate::Outcome;
use crate::runs::{Count, LOG_KILLS, POWER_CUTS};
use crate::tools::{CHROMIUM, Tool};
use crate::torture::{self, Way};

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
            Work::Torture(way, count) => {
                torture::bring(*way).map_err(|why| self.left_out(&why))?;
                let times = count.wanted(run.deep).to_string();
                torture::run(&[way.name(), "--times", &times].map(str::to_owned))
            }
        }
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
