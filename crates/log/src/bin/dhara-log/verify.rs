//! `verify`: reads everything, and tells all damage.

use std::io::Write;

use dhara_log::LogError;
use dhara_log::inspect::{Finding, FindingKind, Inspection};

use crate::{Failure, Outcome};

/// Tells what is damaged; a log that is too damaged to be looked at is told too.
pub(crate) fn verify(
    opened: Result<Inspection, LogError>,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let log = match opened {
        Err(LogError::Unreadable { what }) => {
            writeln!(out, "damage: {what}")?;
            return Ok(Outcome::Damage);
        }
        opened => opened?,
    };
    let findings = log.verify()?;
    for finding in &findings {
        put(finding, out)?;
    }
    let (outcome, damaged) = count(&findings);
    match outcome {
        Outcome::Good => writeln!(out, "every checksum is right")?,
        Outcome::Damage => {
            writeln!(out, "{damaged} damaged places; `dhara-log repair` tells what can be done")?;
        }
    }
    Ok(outcome)
}

/// What the findings come to, and how many of them are damage.
pub(crate) fn count(findings: &[Finding]) -> (Outcome, usize) {
    let damaged = findings.iter().filter(|finding| finding.kind == FindingKind::Damage).count();
    (if damaged == 0 { Outcome::Good } else { Outcome::Damage }, damaged)
}

pub(crate) fn put(finding: &Finding, out: &mut dyn Write) -> Result<(), Failure> {
    let kind = match finding.kind {
        FindingKind::Damage => "damage",
        FindingKind::Lost => "lost",
        FindingKind::Torn => "torn",
    };
    let (file, position, length) = (finding.file.display(), finding.position, finding.length);
    writeln!(out, "{kind}: {file} at {position}, {length} bytes: {}", finding.what)?;
    Ok(())
}
