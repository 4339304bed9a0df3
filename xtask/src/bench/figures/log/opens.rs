//! Openings after a crash, and how they grow with the log and with its partitions.

use super::super::super::table::{Goal, Row};
use super::{GIGABYTE, Meter, drop_caches};
use crate::Outcome;

const MANY: u64 = 100_000;
/// Partitions of one topic.
const OF_TOPIC: u64 = 1_000;

pub(super) fn rows(meter: &Meter<'_>) -> Outcome<Vec<Row>> {
    let largest = meter.sized(meter.bench.options.gigabytes, 1);
    let mut sizes: Vec<u64> = [1, 4].into_iter().filter(|size| *size < largest).collect();
    sizes.push(largest);
    let mut rows = Vec::new();
    for gigabytes in &sizes {
        rows.extend(of_size(meter, *gigabytes, &sizes)?);
    }
    let empty = of_partitions(meter, 1)?.resident;
    for partitions in [1_000, 10_000, MANY] {
        let opened = of_partitions(meter, partitions)?;
        let each = (opened.resident - empty) / partitions as f64;
        let open = Row::new(format!("open, {partitions} partitions"), opened.seconds, "s");
        let memory = Row::new(format!("memory of one of {partitions}"), each, "B");
        if partitions == MANY {
            rows.push(open.goal(Goal::AtMost(2.0)));
            rows.push(memory.goal(Goal::AtMost(1024.0)));
        } else {
            rows.extend([open, memory]);
        }
    }
    Ok(rows)
}

/// Fills a log, opens it, and tells for the largest how the rate of the filling grew.
fn of_size(meter: &Meter<'_>, gigabytes: u64, sizes: &[u64]) -> Outcome<Vec<Row>> {
    let filled = meter.fresh("fill", &[gigabytes * GIGABYTE, 64 << 10, 100])?;
    let source = drop_caches();
    let seconds = meter.again("open", &[])?.get("open_seconds")?;
    let mut row = Row::new(format!("open after a crash, {gigabytes} GB, {source}"), seconds, "s");
    let mut rows = Vec::new();
    if sizes.last() == Some(&gigabytes) {
        row = row.goal(Goal::AtMost(1.0));
        for gigabyte in sizes {
            let rate = filled.get(&format!("megabytes_per_second_in_{gigabyte}"))?;
            rows.push(Row::new(format!("rate in GB {gigabyte}"), rate, "MB/s"));
        }
        rows.extend(filled.backlog("filling"));
    }
    rows.push(row);
    Ok(rows)
}

struct Opened {
    seconds: f64,
    /// Bytes that the open log takes.
    resident: f64,
}

/// Opens a log with a record in each of so many partitions.
fn of_partitions(meter: &Meter<'_>, partitions: u64) -> Outcome<Opened> {
    meter.fresh("create", &[partitions.div_ceil(OF_TOPIC), partitions.min(OF_TOPIC)])?;
    drop_caches();
    let told = meter.again("open", &[])?;
    Ok(Opened { seconds: told.get("open_seconds")?, resident: told.get("resident_bytes")? })
}
