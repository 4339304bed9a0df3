//! What is left of a disk's files when the power fails.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use crate::Random;

/// What a disk writes at once or not at all.
const SECTOR: usize = 512;

/// One change of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A file was made.
    Create {
        /// Its name.
        path: PathBuf,
        /// Its number.
        file: u64,
    },
    /// A file got another name.
    Rename {
        /// Its old name.
        from: PathBuf,
        /// Its new name.
        to: PathBuf,
    },
    /// A name was removed.
    Remove {
        /// The name.
        path: PathBuf,
    },
    /// The names in a folder became durable.
    SyncDir {
        /// The folder.
        dir: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// The file's number.
        file: u64,
        /// Where.
        position: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A file was cut or extended.
    SetLen {
        /// The file's number.
        file: u64,
        /// Its new length.
        length: u64,
    },
    /// A file was synced.
    Sync {
        /// The file's number.
        file: u64,
        /// Whether what was written is durable now; if not, no later sync makes it so.
        went_well: bool,
    },
}

/// Everything that was done to a disk, and what it held before.
#[derive(Clone, Debug, Default)]
pub struct History {
    start: Image,
    ops: Vec<Op>,
}

impl History {
    pub(super) fn of(names: BTreeMap<PathBuf, u64>, files: BTreeMap<u64, Vec<u8>>) -> Self {
        let durable = |bytes| FileImage { durable: bytes, pending: VecDeque::new() };
        let files = files.into_iter().map(|(file, bytes)| (file, durable(bytes))).collect();
        Self { start: Image { names, pending_names: Vec::new(), files }, ops: Vec::new() }
    }

    pub(super) fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// How many changes there were.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// The changes, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Whether there was no change.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The power fails after each of the changes in turn. `crashes` is given the number of changes
    /// before the crash and the disk at that moment, of which [`Image::crash`] gives what is left.
    pub fn each_moment(&self, mut crashes: impl FnMut(usize, &Image)) {
        let mut image = self.start.clone();
        crashes(0, &image);
        for (number, op) in (1..).zip(&self.ops) {
            image.step(op);
            crashes(number, &image);
        }
    }
}

/// A disk at one moment: what is durable, and what may or may not be there after a crash.
#[derive(Clone, Debug, Default)]
pub struct Image {
    names: BTreeMap<PathBuf, u64>,
    pending_names: Vec<Op>,
    files: BTreeMap<u64, FileImage>,
}

#[derive(Clone, Debug, Default)]
struct FileImage {
    durable: Vec<u8>,
    pending: VecDeque<(Op, Fate)>,
}

/// Whether a write survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It may, until it is synced.
    Open,
    /// It does: only an undecided write before it keeps it here.
    Durable,
    /// It may, and no sync will decide it.
    Forgotten,
}

impl Image {
    fn step(&mut self, op: &Op) {
        match op {
            Op::Create { file, .. } => {
                self.files.insert(*file, FileImage::default());
                self.pending_names.push(op.clone());
            }
            Op::Rename { .. } | Op::Remove { .. } => self.pending_names.push(op.clone()),
            Op::SyncDir { .. } => {
                for op in std::mem::take(&mut self.pending_names) {
                    rename(&mut self.names, &op);
                }
            }
            Op::Write { file, .. } | Op::SetLen { file, .. } => {
                if let Some(image) = self.files.get_mut(file) {
                    image.pending.push_back((op.clone(), Fate::Open));
                }
            }
            Op::Sync { file, went_well } => {
                if let Some(image) = self.files.get_mut(file) {
                    image.sync(*went_well);
                }
            }
        }
    }

    /// What the files hold after the power failed: all that was synced, and of the rest whatever
    /// `random` picks, in whole or in sectors.
    pub fn crash(&self, random: &Random) -> BTreeMap<PathBuf, Vec<u8>> {
        // Now and then nothing or everything of the rest is there: the corners matter most.
        let chance = match random.below(4) {
            0 => 0,
            1 => 8,
            _ => random.below(9),
        };
        let mut names = self.names.clone();
        for op in &self.pending_names {
            if random.below(8) < chance {
                rename(&mut names, op);
            }
        }
        let left = |(path, file): (PathBuf, u64)| {
            Some((path, self.files.get(&file)?.crash(random, chance)))
        };
        names.into_iter().filter_map(left).collect()
    }
}

impl FileImage {
    fn sync(&mut self, went_well: bool) {
        let fate = if went_well { Fate::Durable } else { Fate::Forgotten };
        for (_, open) in self.pending.iter_mut().filter(|(_, other)| *other == Fate::Open) {
            *open = fate;
        }
        while let Some((op, Fate::Durable)) = self.pending.front() {
            apply(&mut self.durable, op);
            self.pending.pop_front();
        }
    }

    fn crash(&self, random: &Random, chance: u64) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (op, fate) in &self.pending {
            if *fate == Fate::Durable {
                apply(&mut bytes, op);
            } else if random.below(8) < chance {
                match op {
                    Op::Write { .. } if random.below(3) == 0 => tear(&mut bytes, op, random),
                    _ => apply(&mut bytes, op),
                }
            }
        }
        bytes
    }
}

/// Does to a file's bytes what `op` says.
pub(super) fn apply(file: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write { position, bytes, .. } => put(file, *position, bytes),
        Op::SetLen { length, .. } => file.resize(usize::try_from(*length).unwrap_or(0), 0),
        _ => {}
    }
}

fn put(file: &mut Vec<u8>, position: u64, bytes: &[u8]) {
    let from = usize::try_from(position).unwrap_or(usize::MAX);
    let to = from.saturating_add(bytes.len());
    if file.len() < to {
        file.resize(to, 0);
    }
    if let Some(place) = file.get_mut(from..to) {
        place.copy_from_slice(bytes);
    }
}

/// Writes some of the sectors that a write touches.
fn tear(file: &mut Vec<u8>, op: &Op, random: &Random) {
    let Op::Write { position, bytes, .. } = op else { return };
    let mut rest = bytes.as_slice();
    let mut at = *position;
    while !rest.is_empty() {
        let in_sector = usize::try_from(at).unwrap_or(0) % SECTOR;
        let (part, after) = rest.split_at(rest.len().min(SECTOR - in_sector));
        if random.below(2) == 0 {
            put(file, at, part);
        }
        at += part.len() as u64;
        rest = after;
    }
}

fn rename(names: &mut BTreeMap<PathBuf, u64>, op: &Op) {
    match op {
        Op::Create { path, file } => {
            names.insert(path.clone(), *file);
        }
        Op::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Op::Remove { path } => {
            names.remove(path);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::disk::{Disk, OpenMode, SimDisk};

    use super::*;

    /// All that may be left of a file after a crash now.
    fn left(disk: &SimDisk, path: &Path) -> Vec<Option<Vec<u8>>> {
        let moment = disk.moment();
        let random = Random::from_seed(1);
        let mut found = Vec::new();
        disk.history().each_moment(|number, image| {
            if number == moment {
                found = (0..200).map(|_| image.crash(&random).get(path).cloned()).collect();
            }
        });
        found.sort();
        found.dedup();
        found
    }

    #[test]
    fn what_was_not_synced_may_be_gone_torn_or_there() {
        let disk = SimDisk::new();
        let path = Path::new("/dir/file");
        let file = disk.open(path, OpenMode::New).unwrap();
        file.write_all_at(b"old", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(left(&disk, path), [None, Some(b"old".to_vec())], "the name is not durable");
        disk.sync_dir(Path::new("/dir")).unwrap();
        assert_eq!(left(&disk, path), [Some(b"old".to_vec())]);
        file.write_all_at(b"new", 0).unwrap();
        assert_eq!(left(&disk, path), [Some(b"new".to_vec()), Some(b"old".to_vec())]);
        file.sync_data().unwrap();
        assert_eq!(left(&disk, path), [Some(b"new".to_vec())]);
    }

    #[test]
    fn what_a_failed_sync_forgot_no_later_sync_makes_durable() {
        let disk = SimDisk::new();
        let path = Path::new("/dir/file");
        let file = disk.open(path, OpenMode::New).unwrap();
        disk.sync_dir(Path::new("/dir")).unwrap();
        file.write_all_at(b"one", 0).unwrap();
        disk.set_fault(Some(super::super::Fault {
            after: 0,
            error: std::io::ErrorKind::Other,
            lasting: false,
        }));
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert!(left(&disk, path).contains(&Some(Vec::new())));
        file.write_all_at(b"one", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(left(&disk, path), [Some(b"one".to_vec())]);
    }
}
