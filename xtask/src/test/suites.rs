//! Tests that need more than Rust, or that are worth a line of their own in the summary.

use super::parts::cargo_test;
use super::tools::{CHROMIUM, Tool};
use super::{Run, tally};
use crate::Outcome;

/// An integration test that runs apart from the others.
pub(super) struct Suite {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// The package that has the test, and the test's target.
    pub(super) package: &'static str,
    pub(super) test: &'static str,
    /// What must be there; what is missing is installed where that is possible.
    pub(super) needs: &'static [Tool],
}

/// Every suite.
pub(super) const SUITES: &[Suite] = &[Suite {
    name: "page",
    about: "the shop's page in a real Chromium",
    package: "shop",
    test: "page",
    needs: &[CHROMIUM],
}];

impl Suite {
    /// Runs the suite. One whose needs cannot be met has failed: nobody should think that it ran.
    pub(super) fn run(&self, run: &mut Run<'_>) -> Outcome {
        let package = run.workspace.package(self.package)?;
        if !package.targets_of("test").any(|target| target.name == self.test) {
            return Err(format!(
                "did not run: {} has no test `{}`; the list of suites is out of date",
                self.package, self.test
            ));
        }
        for tool in self.needs {
            tool.bring().map_err(|why| {
                format!("did not run: {why}, or leave the suite out with `--without {}`", self.name)
            })?;
        }
        let mut command = cargo_test(run);
        command.args(["--package", self.package, "--test", self.test]);
        tally::run(&mut command, &mut run.tally)
    }
}
