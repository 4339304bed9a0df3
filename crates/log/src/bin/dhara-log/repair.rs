//! `repair`: tells what can be repaired, and does it when that is agreed to.

use std::io::Write;

use dhara_log::inspect::{FindingKind, Inspection};

use crate::verify::{count, put};
use crate::{Failure, Outcome};

pub(crate) fn repair(
    log: Inspection,
    is_agreed: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let findings = log.verify()?;
    let (outcome, _) = count(&findings);
    let mut mends = 0;
    for finding in findings.iter().filter(|finding| finding.kind != FindingKind::Lost) {
        put(finding, out)?;
        match finding.mend() {
            Some(mend) => {
                mends += 1;
                writeln!(out, "  {} {mend}", if is_agreed { "now:" } else { "would" })?;
            }
            None => writeln!(
                out,
                "  cannot be repaired: what else is there stays readable, and reading this gives \
                 an error"
            )?,
        }
    }
    if findings.iter().all(|finding| finding.kind == FindingKind::Lost) {
        writeln!(out, "nothing is to be repaired")?;
        return Ok(outcome);
    }
    if !is_agreed {
        if mends > 0 {
            writeln!(out, "nothing was changed; `dhara-log repair DIR --yes` does this")?;
        }
        return Ok(outcome);
    }
    // What is going to be done is told before it is done.
    out.flush()?;
    let unmendable =
        findings.iter().any(|it| it.kind == FindingKind::Damage && it.mend().is_none());
    for kept in log.repair(&findings)? {
        writeln!(out, "kept {}", kept.display())?;
    }
    Ok(if unmendable { Outcome::Damage } else { Outcome::Good })
}
