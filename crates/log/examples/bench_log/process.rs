//! What this process uses, from Linux's `/proc`.

use std::time::Duration;

/// Processor time so far, of all threads.
pub(crate) fn cpu() -> Duration {
    // After the name, which may hold spaces, come the state and eleven more fields, then the ticks.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident bytes now.
pub(crate) fn resident() -> f64 {
    status("VmRSS:")
}

/// The most bytes that were ever resident.
pub(crate) fn peak() -> f64 {
    status("VmHWM:")
}

fn status(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}
