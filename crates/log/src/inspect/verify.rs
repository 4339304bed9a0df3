//! Verifies every file of a log: each checksum is compared.

use std::path::PathBuf;

use super::Inspection;
use super::repair::Mend;
use crate::codec::size;
use crate::segment::{self, Segment, SegmentHeader, file_name, number_of};
use crate::shared::Shared;
use crate::state::{self, KINDS};
use crate::sync::read;
use crate::torn::Torn;
use crate::{Damage, LogError};

/// Something that was found in a file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// What it means.
    pub kind: FindingKind,
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub position: u64,
    /// How many bytes.
    pub length: u64,
    /// What they are or were, with partition and offsets as far as they are known.
    pub what: String,
    pub(super) mend: Option<Mend>,
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// Bytes that were durable once are not what was written.
    Damage,
    /// Offsets that were found damaged before, and are marked as lost since.
    Lost,
    /// A commit was begun and never finished, as a crash leaves it. The next opening cuts it.
    Torn,
}

impl Finding {
    pub(super) fn damage(damage: Damage, mend: Option<Mend>) -> Self {
        let Damage { file, position, length, what } = damage;
        Self { kind: FindingKind::Damage, file, position, length, what, mend }
    }

    /// What a repair does about it; `None` where nothing can be done.
    pub fn mend(&self) -> Option<String> {
        self.mend.as_ref().map(|mend| mend.to_string())
    }
}

impl Inspection {
    /// Reads every file of the log, compares every checksum, and gives what is not as it should be.
    pub fn verify(&self) -> Result<Vec<Finding>, LogError> {
        let shared = self.shared();
        let mut found = shared.verify_states()?;
        for segment in read(&shared.segments).iter() {
            found.extend(shared.verify_segment_header(segment)?);
        }
        let in_journal = shared.report.damage.iter().filter(|damage| !is_looked_at(damage));
        found.extend(in_journal.map(|damage| Finding::damage(damage.clone(), None)));
        found.extend(self.torn.iter().map(|torn| shared.torn(*torn)));
        found.extend(shared.verify_settled()?);
        found.extend(shared.verify_gaps()?);
        Ok(found)
    }
}

/// Whether another look at the same place tells more.
fn is_looked_at(damage: &Damage) -> bool {
    let is_header = damage.position == 0 && damage.length == segment::HEADER;
    let is = |kind: &str| damage.file.extension().is_some_and(|extension| extension == kind);
    (is_header && is("journal")) || KINDS.into_iter().any(is)
}

impl Shared {
    fn torn(&self, torn: Torn) -> Finding {
        let Torn { position, length, .. } = torn;
        Finding {
            kind: FindingKind::Torn,
            file: torn.file(&self.folder),
            position,
            length,
            what: "a commit that was begun and never finished, nor acked".to_owned(),
            mend: Some(Mend::Cut(torn)),
        }
    }

    /// The copies of a segment's header that are not what they should be.
    fn verify_segment_header(&self, segment: &Segment) -> Result<Vec<Finding>, LogError> {
        // The header of the last segment is durable when there is a frame in it.
        if self.end_in(segment.number) == Some(segment::HEADER) {
            return Ok(Vec::new());
        }
        let name = file_name(segment.number, "journal");
        let path = self.folder.path(&name);
        let mut bytes = vec![0; size(segment::HEADER)];
        let file = self.folder.segment(segment.number)?;
        let read = segment::read_full(file.as_ref(), &mut bytes, 0);
        bytes.truncate(read.map_err(|error| LogError::io("reading", &path, error))?);
        let copies = SegmentHeader::copies(&bytes, &path);
        let is_ours =
            |header: &SegmentHeader| header.number == segment.number && header.salt == self.salt;
        let good = copies.iter().flatten().copied().find(is_ours);
        let right = good.unwrap_or(SegmentHeader {
            number: segment.number,
            salt: self.salt,
            first_sequence: segment.first_sequence,
            epoch: self.epoch,
            length: segment.length,
        });
        let positions = [0, segment::COPY as u64];
        let bad = positions.into_iter().zip(copies).filter(|(_, copy)| *copy != Some(right));
        let finding = |(position, _)| {
            let (file, length) = (path.clone(), segment::FIELDS as u64);
            let what = "a copy of the segment's header; nothing is lost by it".to_owned();
            let mend = Mend::SegmentHeader { position, header: right };
            Finding::damage(Damage { file, position, length, what }, Some(mend))
        };
        Ok(bad.map(finding).collect())
    }

    /// The state files that are damaged, and the copy that should be there and is not.
    fn verify_states(&self) -> Result<Vec<Finding>, LogError> {
        let names = self.folder.names()?;
        let loaded = state::load(&self.folder, usize::MAX)?;
        let is_bad = |name: &String| loaded.damaged.contains(name);
        let number = |name: &String| KINDS.iter().find_map(|kind| number_of(name, kind));
        let is_v1 = |name: &String| state::is_version_1(&self.folder, name);
        let states: Vec<_> = names.iter().filter(|name| number(name).is_some()).collect();
        let mut good = states.iter().filter(|name| !is_bad(name) && !is_v1(name));
        let Some(newest) = good.clone().filter_map(|name| number(name)).max() else {
            return Ok(loaded.damaged.iter().map(|name| self.bad_state(name, None)).collect());
        };
        let source = good.find(|name| number(name) == Some(newest)).map(|name| (*name).clone());
        let mut found = Vec::new();
        for name in &loaded.damaged {
            let source = source.clone().filter(|_| number(name) == Some(newest));
            found.push(self.bad_state(name, source));
        }
        // Where an older state is there, a crash came between the two copies of the newest.
        let is_interrupted = states.iter().any(|name| number(name) < Some(newest));
        for kind in KINDS {
            let name = file_name(newest, kind);
            if !is_interrupted && !names.contains(&name) {
                found.push(self.bad_state(&name, source.clone()));
            }
        }
        Ok(found)
    }

    fn bad_state(&self, name: &str, source: Option<String>) -> Finding {
        let path = self.folder.path(name);
        let length = length_of(self, name);
        let what = match (length, &source) {
            (None, _) => "a state file is missing; its other copy is used",
            (_, Some(_)) => "a state file; its other copy is used",
            (_, None) => "a state file, which has no other copy; another state is used, or none",
        };
        let damage =
            Damage { file: path, position: 0, length: length.unwrap_or(0), what: what.to_owned() };
        Finding::damage(damage, source.map(|source| Mend::State { name: name.to_owned(), source }))
    }
}

fn length_of(shared: &Shared, name: &str) -> Option<u64> {
    shared.folder.existing(name).ok()?.len().ok()
}

/// The name of the file that keeps what a repair takes from another, by its place there.
pub(super) fn kept_name(name: &str, position: u64) -> String {
    format!("{name}-{position:012}.cut")
}
