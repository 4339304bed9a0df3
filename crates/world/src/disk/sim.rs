//! A disk in memory that records what is done to it, can fail, fill up, and lose its power.

mod crash;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crash::{History, Image, Op};

use super::{Disk, File, Lock, OpenMode};

/// A disk in memory. Cloning is cheap, and a clone is the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    names: BTreeMap<PathBuf, u64>,
    files: BTreeMap<u64, Vec<u8>>,
    next_file: u64,
    /// Bytes of each file that were given back.
    punched: BTreeMap<u64, u64>,
    knows_holes: bool,
    locked: BTreeSet<PathBuf>,
    history: History,
    calls: u64,
    fault: Option<Fault>,
    failing: Option<Failing>,
    /// How many calls of the kind that fails there were.
    of_kind: u64,
    has_failed: bool,
    failed_syncs: BTreeMap<PathBuf, u64>,
    tried_again: u64,
    capacity: Option<u64>,
    out_of_files: bool,
}

/// Linux's number for "too many open files".
const EMFILE: i32 = 24;

/// Stands for a folder among the numbers of files.
const FOLDER: u64 = u64::MAX;

/// A call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How many calls that change the disk, syncs included, go well before.
    pub after: u64,
    /// The error that it gives.
    pub error: io::ErrorKind,
    /// Whether all later calls fail as well.
    pub lasting: bool,
}

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A file is opened, be it there or not.
    Open,
    /// Bytes are written: after an error half of them are there.
    Write,
    /// The length of a file is set, or space reserved.
    SetLen,
    /// A file is synced.
    Sync,
    /// A file gets another name.
    Rename,
    /// A file is removed.
    Remove,
    /// Space inside of a file is given back.
    Punch,
    /// A folder is synced.
    SyncDir,
}

impl Call {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Open,
        Self::Write,
        Self::SetLen,
        Self::Sync,
        Self::Rename,
        Self::Remove,
        Self::Punch,
        Self::SyncDir,
    ];
}

/// Calls of one kind that fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The kind.
    pub call: Call,
    /// How many of the kind go well before.
    pub after: u64,
    /// The system's number of the error.
    pub errno: i32,
    /// Whether all later ones fail as well.
    pub lasting: bool,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::holding(BTreeMap::new())
    }

    /// A disk that durably holds these files.
    pub fn holding(contents: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let mut names = BTreeMap::new();
        let mut files = BTreeMap::new();
        for (file, (path, bytes)) in (0..).zip(contents) {
            names.insert(path, file);
            files.insert(file, bytes);
        }
        let next_file = files.len() as u64;
        let history = History::of(names.clone(), files.clone());
        Self {
            state: Arc::new(Mutex::new(State {
                names,
                files,
                next_file,
                punched: BTreeMap::new(),
                knows_holes: true,
                locked: BTreeSet::new(),
                history,
                calls: 0,
                fault: None,
                failing: None,
                of_kind: 0,
                has_failed: false,
                failed_syncs: BTreeMap::new(),
                tried_again: 0,
                capacity: None,
                out_of_files: false,
            })),
        }
    }

    /// Everything that was done to the disk so far.
    pub fn history(&self) -> History {
        self.state().history.clone()
    }

    /// How many steps the history has: a moment, to be told from an earlier or a later one.
    pub fn moment(&self) -> usize {
        self.state().history.len()
    }

    /// What the files hold for those who read them now, synced or not.
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let held =
            |(path, file): (&PathBuf, &u64)| Some((path.clone(), state.files.get(file)?.clone()));
        state.names.iter().filter_map(held).collect()
    }

    /// How many calls that change the disk were made.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Lets a call fail from now on; `None` mends the disk.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.calls = 0;
        state.fault = fault;
    }

    /// Lets calls of one kind fail from now on; `None` mends the disk.
    pub fn set_failing(&self, failing: Option<Failing>) {
        let mut state = self.state();
        state.of_kind = 0;
        state.failing = failing;
    }

    /// Forgets which syncs have failed: whoever opens the files anew may sync them.
    pub fn forget_failed_syncs(&self) {
        self.state().failed_syncs.clear();
    }

    /// Whether a call that was to fail has ever come.
    pub fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    /// The files and folders whose sync has failed, by the names that they had.
    pub fn failed_syncs(&self) -> Vec<PathBuf> {
        self.state().failed_syncs.keys().cloned().collect()
    }

    /// How many times something was synced again after that had failed.
    pub fn syncs_tried_again(&self) -> u64 {
        self.state().tried_again
    }

    /// Bounds the lengths of all files together; a write beyond gives
    /// [`io::ErrorKind::StorageFull`].
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Whether space inside of a file can be given back; some file systems cannot.
    pub fn set_knows_holes(&self, knows_holes: bool) {
        self.state().knows_holes = knows_holes;
    }

    /// The space that the files take: their lengths less what was given back.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Lets every opening of a file fail with `EMFILE`, as when the process has too many open.
    pub fn set_out_of_files(&self, out_of_files: bool) {
        self.state().out_of_files = out_of_files;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("files", &self.state().names.len()).finish_non_exhaustive()
    }
}

impl State {
    /// Counts a call, and fails it where it is the one that has to.
    fn call(&mut self, call: Call) -> io::Result<()> {
        self.call_of_kind(call)?;
        let number = self.calls;
        self.calls += 1;
        match self.fault {
            Some(fault) if number == fault.after || (fault.lasting && number > fault.after) => {
                Err(fault.error.into())
            }
            _ => Ok(()),
        }
    }

    fn call_of_kind(&mut self, call: Call) -> io::Result<()> {
        let Some(failing) = self.failing.filter(|failing| failing.call == call) else {
            return Ok(());
        };
        let number = self.of_kind;
        self.of_kind += 1;
        if number == failing.after || (failing.lasting && number > failing.after) {
            self.has_failed = true;
            return Err(io::Error::from_raw_os_error(failing.errno));
        }
        Ok(())
    }

    /// Notes what became of a sync of a file, or of a folder, which has no number.
    fn note_sync(&mut self, path: PathBuf, number: u64, went_well: bool) {
        self.tried_again += u64::from(self.failed_syncs.values().any(|failed| *failed == number));
        if !went_well {
            self.failed_syncs.insert(path, number);
        }
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Fails where a file of this length would fill the disk.
    fn check_space(&self, file: u64, length: u64) -> io::Result<()> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let grown = length.saturating_sub(self.length_of(file));
        let used = self.used().saturating_add(grown);
        if used > capacity { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn length_of(&self, file: u64) -> u64 {
        self.files.get(&file).map_or(0, |bytes| bytes.len() as u64)
    }

    /// The space that the files take which have a name, less what was given back.
    fn used(&self) -> u64 {
        let given_back = |file: &u64| self.punched.get(file).copied().unwrap_or(0);
        let taken = |file: &u64| self.length_of(*file).saturating_sub(given_back(file));
        self.names.values().map(taken).sum()
    }

    fn change(&mut self, op: Op) {
        if let Op::Write { file, .. } | Op::SetLen { file, .. } = &op
            && let Some(bytes) = self.files.get_mut(file)
        {
            crash::apply(bytes, &op);
        }
        self.history.push(op);
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        if state.out_of_files {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        let file = match (state.file(path), mode) {
            (Ok(_), OpenMode::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(file), _) => {
                state.call_of_kind(Call::Open)?;
                file
            }
            (Err(error), OpenMode::Existing | OpenMode::ReadOnly) => return Err(error),
            (Err(_), _) => {
                state.call(Call::Open)?;
                let file = state.next_file;
                state.next_file += 1;
                state.files.insert(file, Vec::new());
                state.names.insert(path.to_owned(), file);
                state.change(Op::Create { path: path.to_owned(), file });
                file
            }
        };
        let is_read_only = mode == OpenMode::ReadOnly;
        Ok(Arc::new(SimFile { disk: self.clone(), file, is_read_only }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let here = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Rename)?;
        let file = state.file(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        state.change(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(Call::Remove)?;
        state.file(path)?;
        state.names.remove(path);
        state.change(Op::Remove { path: path.to_owned() });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let result = state.call(Call::SyncDir);
        state.note_sync(dir.to_owned(), FOLDER, result.is_ok());
        result?;
        state.change(Op::SyncDir { dir: dir.to_owned() });
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.state();
        if !state.locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.clone(), path: path.to_owned() }))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: u64,
    is_read_only: bool,
}

impl SimFile {
    /// The disk, for a change of the file.
    fn to_change(&self) -> io::Result<MutexGuard<'_, State>> {
        match self.is_read_only {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => Ok(self.disk.state()),
        }
    }

    /// After a failed write half of the bytes are there.
    fn write(&self, state: &mut State, bytes: &[u8], position: u64) -> io::Result<()> {
        let called = state.call(Call::Write);
        let space = state.check_space(self.file, position.saturating_add(bytes.len() as u64));
        let result = called.and(space);
        let kept = if result.is_ok() { bytes.len() } else { bytes.len() / 2 };
        if result.is_ok() || state.check_space(self.file, position + kept as u64).is_ok() {
            let bytes = bytes.iter().take(kept).copied().collect();
            state.change(Op::Write { file: self.file, position, bytes });
        }
        result
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = state.files.get(&self.file).map(Vec::as_slice).unwrap_or_default();
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(bytes.len());
        let rest = bytes.get(from..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write(&mut *self.to_change()?, bytes, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let result = state.call(Call::Sync);
        let named = state.names.iter().find(|(_, file)| **file == self.file);
        let path = named.map_or_else(PathBuf::new, |(path, _)| path.clone());
        state.note_sync(path, self.file, result.is_ok());
        // A system that failed to write the pages back forgets that they were dirty.
        let went_well = result.is_ok();
        state.change(Op::Sync { file: self.file, went_well });
        result
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if length > self.len()? { self.set_len(length) } else { Ok(()) }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.to_change()?;
        state.call(Call::SetLen)?;
        state.check_space(self.file, length)?;
        state.change(Op::SetLen { file: self.file, length });
        Ok(())
    }

    fn punch(&self, position: u64, length: u64) -> io::Result<()> {
        let mut state = self.to_change()?;
        state.call(Call::Punch)?;
        if !state.knows_holes {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let length = length.min(state.length_of(self.file).saturating_sub(position));
        let bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        *state.punched.entry(self.file).or_default() += length;
        state.change(Op::Write { file: self.file, position, bytes });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().length_of(self.file))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locked.remove(&self.path);
    }
}
