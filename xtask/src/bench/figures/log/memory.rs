//! Memory under readers who are slow, or keep what they read.

use super::super::super::table::Row;
use super::{GIGABYTE, Meter};
use crate::Outcome;

const SLOW: u64 = 16;
const HELD: u64 = 256;

pub(super) fn rows(meter: &Meter<'_>) -> Outcome<Vec<Row>> {
    let bytes = meter.sized(2 * GIGABYTE, GIGABYTE / 2);
    let peak = |slow, held| -> Outcome<f64> {
        Ok(meter.fresh("memory", &[bytes, slow, held])?.get("peak_bytes")? / 1e6)
    };
    let alone = peak(0, 0)?;
    Ok(vec![
        Row::new("memory, 16 slow readers of 1 MB", peak(SLOW, 0)?, "MB").floor("none", alone),
        Row::new("memory, 256 reads of 64 KB held", peak(0, HELD)?, "MB").floor("none", alone),
    ])
}
