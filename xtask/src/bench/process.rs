//! What a process and those it started use, from Linux's `/proc`.

use std::path::Path;

/// Ticks in a second of processor time; Linux shows no other number to programs.
const TICKS: f64 = 100.0;

/// Memory and processor time of a process with all its descendants.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Resident megabytes (10^6 bytes).
    pub(super) megabytes: f64,
    /// Processor seconds since the processes began.
    pub(super) cpu_seconds: f64,
    pub(super) processes: u32,
}

/// Sums up the tree below `root`. A process that ends meanwhile counts as nothing.
pub(super) fn usage(root: u32) -> Usage {
    let mut tree = vec![root];
    let all = stats();
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        tree.extend(all.iter().filter(|stat| stat.parent == parent).map(|stat| stat.id));
        next += 1;
    }
    let mut usage = Usage::default();
    for stat in all.iter().filter(|stat| tree.contains(&stat.id)) {
        usage.megabytes += resident(stat.id);
        usage.cpu_seconds += stat.ticks / TICKS;
        usage.processes += 1;
    }
    usage
}

struct Stat {
    id: u32,
    parent: u32,
    ticks: f64,
}

fn stats() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            stat(id, &std::fs::read_to_string(entry.path().join("stat")).ok()?)
        })
        .collect()
}

/// Reads a line of `/proc/ID/stat`, in which the name may hold anything, parentheses too.
fn stat(id: u32, line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    Some(Stat { id, parent: fields.get(1)?.parse().ok()?, ticks: number(11)? + number(12)? })
}

fn resident(id: u32) -> f64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status"));
    let kibibytes = status.ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    });
    kibibytes.unwrap_or(0.0) * 1024.0 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_shifts_no_field() {
        let stat = stat(7, "7 (a) b) S 3 7 7 0 -1 4194560 1 0 0 0 25 15 0 0 20 0").unwrap();
        assert_eq!((stat.parent, stat.ticks), (3, 40.0));
    }

    #[test]
    fn a_process_counts_itself_and_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let usage = usage(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(usage.processes >= 2, "{usage:?}");
        assert!(usage.megabytes > 0.0, "{usage:?}");
    }
}
