//! Reads: from the page cache, and of those who come late.

use super::super::super::table::{Goal, Row};
use super::{GIGABYTE, Meter, drop_caches};
use crate::Outcome;

const PARTITIONS: u64 = 1_000;
/// Partitions that are read, one after another.
const READ: u64 = 50;
/// Appended at a time, of 1 KB records.
const BATCH: u64 = 16 << 10;

pub(super) fn rows(meter: &Meter<'_>) -> Outcome<Vec<Row>> {
    let bytes = meter.sized(2 * GIGABYTE, GIGABYTE / 2);
    let of_each = bytes / PARTITIONS;
    meter.fresh("fill", &[bytes, BATCH, PARTITIONS])?;
    // The first opening tidies up what the crash left.
    meter.again("open", &[])?;
    let source = drop_caches();
    let many = meter.again("read", &[READ, of_each, 2])?;
    meter.fresh("fill", &[bytes, BATCH, 1])?;
    meter.again("open", &[])?;
    drop_caches();
    let one = meter.again("read", &[1, READ * of_each, 2])?;
    let all = meter.again("read", &[1, bytes, 2])?;
    let late = many.get("megabytes_per_second_1")?;
    let alone = one.get("megabytes_per_second_1")?;
    let warm = many.get("megabytes_per_second_2")?;
    Ok(vec![
        Row::new("read back, checked, page cache", all.get("megabytes_per_second_2")?, "MB/s")
            .goal(Goal::AtLeast(2_000.0)),
        Row::new(format!("one of 1,000, late, {source}"), late, "MB/s")
            .floor("the only partition", alone),
        Row::new("one of 1,000, late, of the only", late / alone, "x").goal(Goal::AtLeast(0.5)),
        Row::new("one of 1,000, page cache", warm, "MB/s")
            .floor("the only partition", one.get("megabytes_per_second_2")?),
        Row::new("memory of the reader, peak", all.get("peak_bytes")? / 1e6, "MB"),
    ])
}
