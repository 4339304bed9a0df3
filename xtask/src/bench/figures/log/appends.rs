//! Appends: each held against the disk by itself, in the same run.

use super::super::super::table::{Goal, Row};
use super::{JOURNAL, MIB, Meter, Told};
use crate::Outcome;

const PARTITIONS: u64 = 1_000;
/// What the batch of 256 bytes takes in the journal.
const FRAME: u64 = 312;

pub(super) fn rows(meter: &Meter<'_>) -> Outcome<Vec<Row>> {
    let written = meter.sized(4 * JOURNAL, JOURNAL);
    let mut rows = one(meter, written)?;
    rows.extend(tickets(meter, written)?);
    rows.extend(bulks(meter, meter.sized(6 * JOURNAL, JOURNAL))?);
    let batches = meter.sized(200_000, 20_000);
    let told = meter.fresh("cpu", &[batches])?;
    rows.push(
        Row::new("CPU, 1M records of 100 B", told.get("cpu_seconds_per_million")?, "s")
            .goal(Goal::AtMost(0.08)),
    );
    Ok(rows)
}

fn one(meter: &Meter<'_>, written: u64) -> Outcome<Vec<Row>> {
    let told = meter.fresh("one", &[meter.sized(6_000, 1_000), written])?;
    let (log, bare) = (told.get("appends_per_second")?, told.get("bare_per_second")?);
    Ok(vec![
        Row::new("one append of 256 B in flight", log, "/s").floor("bare", bare),
        Row::new("one append in flight, of bare", log / bare, "x").goal(Goal::AtLeast(0.9)),
    ])
}

fn tickets(meter: &Meter<'_>, written: u64) -> Outcome<Vec<Row>> {
    let told = meter.fresh("tickets", &[written / FRAME, 1_000])?;
    let mut rows = vec![
        Row::new("1,000 appends of 256 B in flight", told.get("appends_per_second")?, "/s")
            .goal(Goal::AtLeast(1e6)),
        Row::new("1,000 in flight, CPU of one", told.get("cpu_microseconds")?, "us"),
    ];
    rows.extend(told.backlog("1,000 in flight"));
    Ok(rows)
}

/// 1 KB records in batches of a megabyte; then the same over many partitions, and in smaller
/// batches, as many partitions have them.
fn bulks(meter: &Meter<'_>, bytes: u64) -> Outcome<Vec<Row>> {
    let single = meter.fresh("bulk", &[bytes, MIB, 1])?;
    let spread = meter.fresh("bulk", &[bytes, MIB, PARTITIONS])?;
    let small = meter.fresh("bulk", &[bytes, 16 << 10, PARTITIONS])?;
    let rate = |told: &Told| told.get("megabytes_per_second");
    let bare = |told: &Told| told.get("bare_megabytes_per_second");
    let of_bare = |told: &Told| -> Outcome<f64> { Ok(rate(told)? / bare(told)?) };
    let mut rows = vec![
        Row::new("1 MB batches", rate(&single)?, "MB/s").floor("bare", bare(&single)?),
        Row::new("1 MB batches, of bare", of_bare(&single)?, "x").goal(Goal::AtLeast(0.6)),
        Row::new("1 MB batches, CPU of a GB", single.get("cpu_seconds_per_gigabyte")?, "s"),
        Row::new("over 1,000 partitions", rate(&spread)?, "MB/s").floor("bare", bare(&spread)?),
        // Each by its own bare loop: the disk may have become slower from one to the other.
        Row::new("over 1,000 partitions, of one", of_bare(&spread)? / of_bare(&single)?, "x")
            .goal(Goal::AtLeast(0.8)),
        Row::new("over 1,000, 16 KB batches", rate(&small)?, "MB/s").floor("bare", bare(&small)?),
    ];
    rows.extend(single.backlog("1 MB batches"));
    rows.extend(spread.backlog("over 1,000 partitions"));
    Ok(rows)
}
