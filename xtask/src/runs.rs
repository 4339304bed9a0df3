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
    count("DHARA_KILLS", 50, 200, "kill -9 of the shop under load, and start again"),
    count("DHARA_PAGE_RUNS", 1, 10, "times that each visit is paid to the page in a browser"),
    count(
        "DHARA_CRASH_POINTS",
        20_000,
        200_000,
        "crashes in the middle of workloads, after which the log is checked",
    ),
    count("DHARA_FLIPS", 10_000, 50_000, "bits flipped in a log's files, and files cut off"),
    POWER_CUTS,
    LOG_KILLS,
    count("DHARA_SCHEDULES", 2_000, 20_000, "orders in which the log's threads take their steps"),
    FUZZ_TARGET_SECONDS,
    count("DHARA_FUZZ_SECONDS", 2, 60, "seconds that each decoder is fed random bytes"),
    count("DHARA_WIRE_FRAMES", 200_000, 10_000_000, "random and mutated Kafka frames"),
    count("DHARA_RACES", 1, 20, "races of many orders for few items"),
    count("DHARA_GROWTH_RUNS", 10, 300, "histories of a topic that grows under its readers"),
    count("DHARA_CONFORMANCE_RUNS", 1, 20, "runs of the conformance suite over each back end"),
    count("PROPTEST_CASES", 128, 4_096, "cases of each property"),
];

/// Seconds of `cargo xtask fuzz`.
pub(crate) const FUZZ_TARGET_SECONDS: Count =
    count("DHARA_FUZZ_TARGET_SECONDS", 20, 120, "seconds that libFuzzer has for each target");
/// Power cuts of `cargo xtask torture`.
pub(crate) const POWER_CUTS: Count =
    count("DHARA_POWER_CUTS", 20, 200, "file systems shut down under the log's load");
/// Kills of `cargo xtask torture`.
pub(crate) const LOG_KILLS: Count =
    count("DHARA_LOG_KILLS", 20, 200, "kill -9 of a process that loads the log");

const fn count(variable: &'static str, usual: u32, deep: u32, counts: &'static str) -> Count {
    Count { variable, usual, deep, counts }
}

impl Count {
    /// The count of this run.
    pub(crate) fn of(&self, deep: bool) -> u32 {
        if deep { self.deep } else { self.usual }
    }

    /// The count of this run, unless the environment sets another on purpose.
    pub(crate) fn wanted(&self, deep: bool) -> u32 {
        let set = std::env::var(self.variable).ok().and_then(|count| count.parse().ok());
        set.unwrap_or_else(|| self.of(deep))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// A count that nothing reads would promise runs that never happen.
    #[test]
    fn a_test_reads_each_count() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let sources: String = [root.join("apps"), root.join("crates")].map(text_under).concat();
        let by_chores = [&POWER_CUTS, &LOG_KILLS, &FUZZ_TARGET_SECONDS].map(|count| count.variable);
        for Count { variable, .. } in COUNTS.iter().filter(|c| !by_chores.contains(&c.variable)) {
            // Proptest reads its own.
            let reader = if *variable == "PROPTEST_CASES" { "proptest! {" } else { variable };
            assert!(sources.contains(reader), "no test reads {variable}");
        }
    }

    /// All Rust under `folder`, in one text.
    fn text_under(folder: PathBuf) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                text += &text_under(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text += &fs::read_to_string(path).unwrap();
            }
        }
        text
    }

    #[test]
    fn deep_runs_are_never_shallower_than_usual_ones() {
        for count in COUNTS {
            assert!(count.deep >= count.usual, "{} goes down", count.variable);
            assert!(count.usual > 0, "{} would run nothing", count.variable);
        }
    }
}
