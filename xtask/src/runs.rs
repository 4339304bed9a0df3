//! How often the tests repeat what is worth repeating: the one table of counts.
//!
//! A test reads its count from the environment, and takes the usual one when the variable is not
//! set, so that plain `cargo test` works too.

/// One count: the variable it travels in, and how high it is usually and with `--deep`.
pub(crate) struct Count {
    /// The environment variable that the tests read.
    pub(crate) variable: &'static str,
    pub(crate) usual: u32,
    pub(crate) deep: u32,
    pub(crate) counts: &'static str,
}

/// Every count there is.
pub(crate) const COUNTS: &[Count] = &[
    count("DHARA_KILLS", 5, 50, "kill -9 of the shop under load, and start again"),
    count("DHARA_PAGE_RUNS", 1, 10, "whole visits to the page in a browser"),
    count("DHARA_CRASH_POINTS", 200, 5_000, "points of a workload at which the log's disk is cut"),
    count("DHARA_FUZZ_SECONDS", 2, 60, "seconds that each decoder is fed random bytes"),
    count("DHARA_RACES", 1, 20, "races of many orders for few items"),
    count("DHARA_CONFORMANCE_RUNS", 1, 20, "runs of the conformance suite over each back end"),
    count("PROPTEST_CASES", 128, 4_096, "cases of each property"),
];

const fn count(variable: &'static str, usual: u32, deep: u32, counts: &'static str) -> Count {
    Count { variable, usual, deep, counts }
}

impl Count {
    /// The count of this run.
    pub(crate) fn of(&self, deep: bool) -> u32 {
        if deep { self.deep } else { self.usual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_runs_are_never_shallower_than_usual_ones() {
        for count in COUNTS {
            assert!(count.deep >= count.usual, "{} goes down", count.variable);
            assert!(count.usual > 0, "{} would run nothing", count.variable);
        }
    }
}
