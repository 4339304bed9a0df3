//! What the machine's disk allows: nothing durable is quicker than its sync.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Instant;

use super::table::Row;
use crate::Outcome;

const BLOCK: usize = 4096;
const SYNCS: u32 = 1_000;

/// Time to write 4 KiB to a file that exists and is zeroed, and to sync its data.
pub(super) struct Floor {
    /// Milliseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Floor {
    pub(super) fn rows(&self) -> Vec<Row> {
        vec![
            Row::new("write of 4 KiB and fdatasync, p50", self.p50, "ms"),
            Row::new("write of 4 KiB and fdatasync, p99", self.p99, "ms"),
        ]
    }

    /// Syncs in a second, one after another.
    pub(super) fn syncs_per_second(&self) -> f64 {
        1_000.0 / self.p50
    }
}

/// Measures the disk of `folder`.
pub(super) fn measure(folder: &Path) -> Outcome<Floor> {
    let path = folder.join(format!("floor-{}", std::process::id()));
    let times = syncs(&path);
    // Left over it would only take a few megabytes of a cache folder.
    let _ = std::fs::remove_file(&path);
    let mut times =
        times.map_err(|error| format!("cannot measure the disk at {}: {error}", path.display()))?;
    times.sort_by(f64::total_cmp);
    let at =
        |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Ok(Floor { p50: at(0.5), p99: at(0.99) })
}

fn syncs(path: &Path) -> std::io::Result<Vec<f64>> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    for _ in 0..SYNCS {
        file.write_all(&[0; BLOCK])?;
    }
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut times = Vec::new();
    for round in 0..SYNCS {
        let block = [round as u8 | 1; BLOCK];
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(times)
}
