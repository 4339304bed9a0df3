//! Repairs what can be repaired. What it takes away or writes over is kept in a file of its own.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;

use super::verify::kept_name;
use super::{Finding, Inspection};
use crate::LogError;
use crate::codec::size;
use crate::frame::{self, Header};
use crate::segment::{FIELDS, Folder, SegmentHeader, file_name, read_full};
use crate::settled::{self, SettledFile};
use crate::state;
use crate::sync::{lock, read};
use crate::torn::Torn;

/// What is done about a finding.
#[derive(Clone, Debug)]
pub(super) enum Mend {
    /// A torn tail is cut.
    Cut(Torn),
    /// A state file is written again from its other copy.
    State { name: String, source: String },
    /// A copy of a segment's header is written again.
    SegmentHeader { position: u64, header: SegmentHeader },
    /// Offsets are marked as lost.
    Lost(LostRange),
    /// The index is made again from the frames.
    SettledIndex(SettledFile),
    /// The whole file is written again, as its index cannot stand in it.
    SettledFile(SettledFile),
    /// The header of a settled file is written again.
    SettledHeader(SettledFile),
}

/// Bytes of a settled file that are to become a frame which says that offsets were lost.
#[derive(Clone, Debug)]
pub(super) struct LostRange {
    pub(super) file: SettledFile,
    pub(super) position: u64,
    pub(super) header: Header,
}

impl fmt::Display for Mend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(torn) => {
                let Torn { position, length, .. } = torn;
                write!(f, "cut {length} bytes at {position}, kept in {}", torn.kept())
            }
            Self::State { name, source } => {
                let kept = kept_name(name, 0);
                write!(f, "write {name} again from {source}, what it held kept in {kept}")
            }
            Self::SegmentHeader { position, header } => {
                let name = file_name(header.number, "journal");
                write!(f, "write the header at {position} of {name} again, its bytes kept in ")?;
                f.write_str(&kept_name(&name, *position))
            }
            Self::Lost(LostRange { file, position, header }) => {
                let bytes = header.span();
                let (from, to, name) = (header.base, header.next(), file.name());
                write!(
                    f,
                    "mark offsets {from} to below {to} as lost in {bytes} bytes at {position} of \
                     {name}, kept in {}",
                    kept_name(&name, *position)
                )
            }
            Self::SettledIndex(file) => {
                let (at, name) = (file.frames_end(), file.name());
                write!(
                    f,
                    "make the index of {name} again from its frames, the old one kept in {}; the \
                     state is written anew where it differs",
                    kept_name(&name, at)
                )
            }
            Self::SettledFile(file) => {
                let name = file.name();
                write!(
                    f,
                    "write the frames of {name} into a new file with an index, and the state anew; \
                     the old file kept as {}",
                    kept_name(&name, 0)
                )
            }
            Self::SettledHeader(file) => {
                let name = file.name();
                write!(f, "write the header of {name} again, its bytes kept in ")?;
                f.write_str(&kept_name(&name, 0))
            }
        }
    }
}

impl Inspection {
    /// Does what [`Finding::mend`] says of each of the findings. Gives the files in which the bytes
    /// are kept that were cut or written over.
    pub fn repair(self, findings: &[Finding]) -> Result<Vec<PathBuf>, LogError> {
        let shared = self.shared();
        let (disk, dir) = (Arc::clone(&shared.folder.disk), shared.folder.dir.clone());
        let _lock = match lock(&shared.lock).is_some() {
            true => None,
            false => Some(crate::look::take_lock(disk.as_ref(), &dir)?),
        };
        let mut repair = Repair {
            inspection: &self,
            folder: Folder::new(disk, dir),
            kept: Vec::new(),
            changed: Vec::new(),
            rewritten: Vec::new(),
        };
        let mends = || findings.iter().filter_map(|finding| finding.mend.as_ref());
        // An index is made of frames that are in order by then, and a header says what the index is.
        for mend in mends().filter(|mend| !mend.is_of_index()) {
            repair.apply(mend)?;
        }
        for mend in mends().filter(|mend| mend.is_of_index()) {
            repair.apply(mend)?;
        }
        repair.store_state()?;
        Ok(repair.kept)
    }
}

impl Mend {
    fn is_of_index(&self) -> bool {
        matches!(self, Self::SettledIndex(_) | Self::SettledFile(_))
    }
}

struct Repair<'a> {
    inspection: &'a Inspection,
    /// The folder, to be changed.
    folder: Folder,
    kept: Vec<PathBuf>,
    /// Settled files whose index is another now.
    changed: Vec<SettledFile>,
    /// Settled files that are to be written again.
    rewritten: Vec<SettledFile>,
}

impl Repair<'_> {
    fn apply(&mut self, mend: &Mend) -> Result<(), LogError> {
        match mend {
            Mend::Cut(torn) => self.kept.push(torn.cut(&self.folder)?.kept),
            Mend::State { name, source } => {
                if self.folder.names()?.contains(name) {
                    self.keep(name, 0, u64::MAX)?;
                }
                let good = self.folder.existing(source)?;
                let bytes = self.folder.read_all(source, good.as_ref())?;
                self.folder.write_file(name, &bytes)?;
            }
            Mend::SegmentHeader { position, header } => {
                let name = file_name(header.number, "journal");
                let bytes = header.encode();
                let copy = bytes.get(..FIELDS).unwrap_or_default();
                self.overwrite(&name, *position, copy)?;
            }
            Mend::Lost(lost) => {
                let length = size(u64::from(lost.header.length));
                let mut bytes = BytesMut::new();
                let salt = self.inspection.shared().salt;
                frame::push(&mut bytes, lost.header, &[&vec![0; length]], salt);
                self.overwrite(&lost.file.name(), lost.position, &bytes)?;
            }
            Mend::SettledIndex(file) => self.make_index(file)?,
            // Each of what is damaged in it may ask for it.
            Mend::SettledFile(file) if self.rewritten.contains(file) => {}
            Mend::SettledFile(file) => self.rewritten.push(*file),
            Mend::SettledHeader(file) => self.write_header(file)?,
        }
        Ok(())
    }

    /// Keeps bytes of a file in another: at most `length` of them, from `position` on.
    fn keep(&mut self, name: &str, position: u64, length: u64) -> Result<(), LogError> {
        let path = self.folder.path(name);
        let failed = |error| LogError::io("keeping bytes of", &path, error);
        let file = self.folder.existing(name)?;
        let there = file.len().map_err(failed)?.saturating_sub(position);
        let mut bytes = vec![0; size(length.min(there))];
        // What cannot be read cannot be kept either.
        let read = read_full(file.as_ref(), &mut bytes, position).unwrap_or(0);
        bytes.truncate(read);
        let kept = self.folder.keep_aside(&kept_name(name, position), &bytes)?;
        self.kept.push(self.folder.path(&kept));
        Ok(())
    }

    /// Writes over bytes of a file, and keeps those that were there.
    fn overwrite(&mut self, name: &str, position: u64, bytes: &[u8]) -> Result<(), LogError> {
        self.keep(name, position, bytes.len() as u64)?;
        let path = self.folder.path(name);
        let failed = |error| LogError::io("repairing", &path, error);
        let file = self.folder.existing(name)?;
        file.write_all_at(bytes, position).map_err(failed)?;
        file.sync_data().map_err(failed)
    }

    /// Makes the index of a settled file again. A crash meanwhile leaves it damaged, as it was.
    fn make_index(&mut self, file: &SettledFile) -> Result<(), LogError> {
        let shared = self.inspection.shared();
        let settled = Arc::clone(&read(&shared.settled));
        let ends = shared.ends_before(&settled, file)?;
        let made = settled::reindexed(&self.folder, file, shared.salt, ends)?;
        let Some((made, bytes)) = made else { return Ok(()) };
        let name = file.name();
        self.keep(&name, file.frames_end(), u64::MAX)?;
        let path = self.folder.path(&name);
        let failed = |error| LogError::io("repairing", &path, error);
        let handle = self.folder.existing(&name)?;
        handle.write_all_at(&bytes, made.frames_end()).map_err(failed)?;
        handle.set_len(made.length).map_err(failed)?;
        handle.sync_data().map_err(failed)?;
        if made != *file {
            self.changed.push(made);
        }
        Ok(())
    }

    /// Writes both copies of a settled file's header as the state lists it.
    fn write_header(&mut self, file: &SettledFile) -> Result<(), LogError> {
        let name = file.name();
        let kept = self.folder.path(&kept_name(&name, 0));
        // Both copies may have been found bad: they are kept and written together, once.
        if self.kept.contains(&kept) {
            return Ok(());
        }
        let header = file.header(self.inspection.shared().salt);
        self.overwrite(&name, 0, &header)
    }

    /// Writes a state that lists the settled files as they are now, then their headers.
    fn store_state(&mut self) -> Result<(), LogError> {
        if self.changed.is_empty() && self.rewritten.is_empty() {
            return Ok(());
        }
        let loaded = state::load(&self.folder, usize::MAX)?;
        let Some(mut state) = loaded.state else { return Ok(()) };
        for old in &self.rewritten {
            let number = state.next_settled;
            state.next_settled += 1;
            let new = self.rewrite(old, number)?;
            let listed = state.settled.iter_mut().filter(|file| file.number == old.number);
            listed.for_each(|file| *file = new);
        }
        for file in &mut state.settled {
            if let Some(changed) = self.changed.iter().find(|it| it.number == file.number) {
                *file = *changed;
            }
        }
        let number = loaded.highest + 1;
        state::store(&self.folder, number, &state)?;
        for file in &self.changed {
            self.write_changed_header(file)?;
        }
        for old in &self.rewritten {
            let kept = self.folder.path(&kept_name(&old.name(), 0));
            let renamed = self.folder.disk.rename(&self.folder.path(&old.name()), &kept);
            renamed.map_err(|error| LogError::io("naming", &kept, error))?;
            self.folder.sync_dir()?;
            self.kept.push(kept);
        }
        state::clean(&self.folder, number, &state);
        Ok(())
    }

    fn rewrite(&self, old: &SettledFile, number: u64) -> Result<SettledFile, LogError> {
        let shared = self.inspection.shared();
        let settled = Arc::clone(&read(&shared.settled));
        let ends = shared.ends_before(&settled, old)?;
        settled::rewritten(&self.folder, old, number, shared.salt, ends)
    }

    fn write_changed_header(&self, file: &SettledFile) -> Result<(), LogError> {
        let name = file.name();
        let path = self.folder.path(&name);
        let failed = |error| LogError::io("repairing", &path, error);
        let handle = self.folder.existing(&name)?;
        let header = file.header(self.inspection.shared().salt);
        handle.write_all_at(&header, 0).map_err(failed)?;
        handle.sync_data().map_err(failed)
    }
}
