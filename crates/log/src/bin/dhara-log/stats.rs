//! `stats`: how much room the log takes.

use std::io::Write;

use dhara_log::inspect::Inspection;

use crate::{Failure, Outcome};

pub(crate) fn stats(log: &Inspection, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let sizes = log.sizes()?;
    for (kind, (count, bytes)) in &sizes.files {
        writeln!(out, "files {kind}: {count}, {bytes} bytes")?;
    }
    writeln!(out, "unsettled: {} bytes of the journal", sizes.unsettled)?;
    writeln!(out, "reusable: {} bytes of the journal", sizes.reusable)?;
    writeln!(out, "settled: {} bytes alive, {} dead", sizes.alive, sizes.dead)?;
    for topic in &sizes.topics {
        let (name, partitions) = (&topic.name, topic.partitions);
        let (records, bytes) = (topic.records, topic.bytes);
        writeln!(out, "topic {name}: {partitions} partitions, {records} records, {bytes} bytes")?;
    }
    Ok(Outcome::Good)
}
