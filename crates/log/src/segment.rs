//! The files of the journal: written with zeros before use, so that a sync has no extent to change.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BufMut;
use dhara_world::disk::{Disk, File, OpenMode};

use crate::LogError;
use crate::codec::{Cursor, open_bytes, seal_bytes};
use crate::frame;
use crate::journal::SENTINEL;
use crate::names::SyncedOnce;
use crate::sabotage::Sabotage;
use crate::sync::{Mutex, lock};

/// Bytes of a segment before its first frame.
pub(crate) const HEADER: u64 = 1024;
/// The header stands twice, in two sectors, since without the salt in it no frame can be told.
pub(crate) const COPY: usize = 512;
/// The bytes of a header that mean something.
pub(crate) const FIELDS: usize = 64;
const MAGIC: &[u8; 8] = b"DHARAJNL";
/// A segment is written under this name until all of its zeros are durable.
pub(crate) const SPARE: &str = "spare.tmp";
const ZEROS: usize = 1 << 20;
const OPEN_HANDLES: usize = 32;

/// One file of the journal. Positions count from the first segment that is kept, and mean something
/// only as long as the log is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// The journal's position of the file's first byte.
    pub(crate) start: u64,
    /// The length of the file.
    pub(crate) length: u64,
    /// The sequence that its first frame is to have; known of those that were entered.
    pub(crate) first_sequence: u64,
}

impl Segment {
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// The length of a segment that has room for `bytes` of frames.
    pub(crate) fn length_for(bytes: usize) -> u64 {
        // Besides the frames there is room for a jump before them, a closing mark and the sentinel.
        HEADER + bytes as u64 + (4 * frame::HEADER + SENTINEL) as u64
    }
}

/// What a segment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    /// The number of this log that its frames' checksums begin with.
    pub(crate) salt: u64,
    pub(crate) first_sequence: u64,
    pub(crate) epoch: u32,
    /// The length of the file; 0 in one that was written before this was noted.
    pub(crate) length: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(FIELDS);
        rest.put_u64_le(self.number);
        rest.put_u64_le(self.salt);
        rest.put_u64_le(self.first_sequence);
        rest.put_u32_le(self.epoch);
        rest.put_u32_le(0);
        rest.put_u64_le(self.length);
        rest.resize(FIELDS - 16, 0);
        let mut out = seal_bytes(MAGIC, &rest);
        out.resize(COPY, 0);
        out.extend_from_within(..);
        out
    }

    /// The header at the front of a segment's `bytes`; `Ok(None)` where both copies are damaged. A
    /// foreign version is believed only where no other copy is good: no checksum covers it.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Option<Self>, LogError> {
        let mut foreign = None;
        for copy in [0, COPY] {
            let bytes = bytes.get(copy..copy + FIELDS).unwrap_or_default();
            match open_bytes(MAGIC, bytes, path) {
                Ok(Some((_, rest))) => {
                    if let Some(header) = Self::parse_fields(rest) {
                        return Ok(Some(header));
                    }
                }
                Ok(None) => {}
                Err(error) => drop(foreign.get_or_insert(error)),
            }
        }
        foreign.map_or(Ok(None), Err)
    }

    /// What each copy of the header says; `None` where it is damaged, or of another version.
    pub(crate) fn copies(bytes: &[u8], path: &Path) -> [Option<Self>; 2] {
        [0, COPY].map(|at| {
            let copy = bytes.get(at..at + FIELDS).unwrap_or_default();
            let (_, rest) = open_bytes(MAGIC, copy, path).ok()??;
            Self::parse_fields(rest)
        })
    }

    fn parse_fields(rest: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(rest);
        let (number, salt, first_sequence) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let (epoch, _, length) = (cursor.u32()?, cursor.u32()?, cursor.u64()?);
        Some(Self { number, salt, first_sequence, epoch, length })
    }
}

/// The folder of a log, and its open files.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) disk: Arc<dyn Disk>,
    names: Arc<SyncedOnce>,
    pub(crate) dir: PathBuf,
    /// How files that exist are opened.
    access: OpenMode,
    /// Files that were read lately, most lately last.
    handles: Mutex<VecDeque<(FileKey, Arc<dyn File>)>>,
}

/// The kinds of numbered files that are kept open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Journal,
    Settled,
}

impl FileKind {
    fn name(self, number: u64) -> String {
        match self {
            Self::Journal => file_name(number, "journal"),
            Self::Settled => file_name(number, "settled"),
        }
    }
}

type FileKey = (FileKind, u64);

impl Folder {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        let names = Arc::new(SyncedOnce::new(disk));
        let disk = Arc::clone(&names) as Arc<dyn Disk>;
        Self { disk, names, dir, access: OpenMode::Existing, handles: Mutex::default() }
    }

    /// A folder that is looked at and not changed.
    pub(crate) fn read_only(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { access: OpenMode::ReadOnly, ..Self::new(disk, dir) }
    }

    /// What is to be told when a sync of the folder has failed.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.names.failure()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn File>, LogError> {
        let path = self.path(name);
        self.disk.open(&path, mode).map_err(|error| LogError::io("opening", &path, error))
    }

    /// A file that exists, to be read, and written where the folder may be changed.
    pub(crate) fn existing(&self, name: &str) -> Result<Arc<dyn File>, LogError> {
        self.open(name, self.access)
    }

    pub(crate) fn sync_dir(&self) -> Result<(), LogError> {
        if Sabotage::FolderNotSynced.is_on() {
            return Ok(());
        }
        let synced = self.disk.sync_dir(&self.dir);
        synced.map_err(|error| LogError::io("syncing the folder", &self.dir, error))
    }

    /// The file of a segment that exists.
    pub(crate) fn segment(&self, number: u64) -> Result<Arc<dyn File>, LogError> {
        self.handle((FileKind::Journal, number))
    }

    /// A settled file that exists.
    pub(crate) fn settled(&self, number: u64) -> Result<Arc<dyn File>, LogError> {
        self.handle((FileKind::Settled, number))
    }

    fn handle(&self, key: FileKey) -> Result<Arc<dyn File>, LogError> {
        let mut handles = lock(&self.handles);
        if let Some(at) = handles.iter().position(|(open, _)| *open == key)
            && let Some(found) = handles.remove(at)
        {
            let file = Arc::clone(&found.1);
            handles.push_back(found);
            return Ok(file);
        }
        let (kind, number) = key;
        let file = self.existing(&kind.name(number))?;
        handles.push_back((key, Arc::clone(&file)));
        if handles.len() > OPEN_HANDLES {
            handles.pop_front();
        }
        Ok(file)
    }

    /// Closes a file whose name was removed or given to another: its space is not free before. Those
    /// who read it meanwhile keep it open until they are done.
    pub(crate) fn forget(&self, kind: FileKind, number: u64) {
        lock(&self.handles).retain(|(open, _)| *open != (kind, number));
    }

    /// The names of all files, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>, LogError> {
        let names = self.disk.list(&self.dir);
        names.map_err(|error| LogError::io("listing", &self.dir, error))
    }

    /// Removes a file; it is no error when it is gone already.
    pub(crate) fn remove(&self, name: &str) -> Result<(), LogError> {
        let path = self.path(name);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(LogError::io("removing", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Gives a file another name, durably: nobody uses it any more.
    pub(crate) fn set_aside(&self, name: &str, to: &str) -> Result<(), LogError> {
        let (from, to) = (self.path(name), self.path(to));
        let named = self.disk.rename(&from, &to);
        named.map_err(|error| LogError::io("naming", &to, error))?;
        self.sync_dir()
    }

    /// Removes the file of a segment that is settled.
    pub(crate) fn remove_segment(&self, number: u64) -> Result<(), LogError> {
        self.remove(&file_name(number, "journal"))?;
        self.forget(FileKind::Journal, number);
        Ok(())
    }

    /// Uses the file of segment `old`, which is settled, for the segment `number`. Its bytes stay:
    /// their sequences tell that they are old.
    pub(crate) fn recycle_segment(&self, old: u64, number: u64) -> Result<(), LogError> {
        let (from, to) =
            (self.path(&file_name(old, "journal")), self.path(&file_name(number, "journal")));
        let named = self.disk.rename(&from, &to);
        self.forget(FileKind::Journal, old);
        self.forget(FileKind::Journal, number);
        named.map_err(|error| LogError::io("naming", &to, error))?;
        self.sync_dir()
    }

    /// All bytes of a file.
    pub(crate) fn read_all(&self, name: &str, file: &dyn File) -> Result<Vec<u8>, LogError> {
        let path = self.path(name);
        let length = file.len().map_err(|error| LogError::io("measuring", &path, error))?;
        let mut bytes = vec![0; crate::codec::size(length)];
        let read = read_full(file, &mut bytes, 0);
        let read = read.map_err(|error| LogError::io("reading", &path, error))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Writes a whole new file, durably and at once: a crash leaves the old state or the new.
    pub(crate) fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let written = self.write_temporary(name, bytes).and_then(|()| self.name_temporary(name));
        written.inspect_err(|_| self.drop_temporary(name))?;
        self.sync_dir()
    }

    /// Keeps bytes in a new file of the kind `cut`, named like `name`; gives the name that it got. A
    /// run before may have kept all of the bytes under that name, and written over some of them.
    pub(crate) fn keep_aside(&self, name: &str, bytes: &[u8]) -> Result<String, LogError> {
        let (names, stem) = (self.names()?, name.trim_end_matches(".cut"));
        let (mut free, mut again) = (name.to_owned(), 0);
        while names.contains(&free) {
            again += 1;
            free = format!("{stem}-{again}.cut");
        }
        self.write_file(&free, bytes)?;
        Ok(free)
    }

    /// Writes what [`Folder::name_temporary`] then gives its name.
    pub(crate) fn write_temporary(&self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let temporary = format!("{name}.tmp");
        let path = self.path(&temporary);
        let failed = |error| LogError::io("writing", &path, error);
        let file = self.create(&temporary)?;
        file.write_all_at(bytes, 0).map_err(failed)?;
        file.sync_data().map_err(failed)
    }

    /// Gives a file that was written its name. The name is durable with the next sync of the folder.
    pub(crate) fn name_temporary(&self, name: &str) -> Result<(), LogError> {
        let (from, to) = (self.path(&format!("{name}.tmp")), self.path(name));
        self.disk.rename(&from, &to).map_err(|error| LogError::io("naming", &to, error))
    }

    /// Removes a file that gets no name; what cannot be removed now is at the next opening.
    pub(crate) fn drop_temporary(&self, name: &str) {
        drop(self.disk.remove(&self.path(&format!("{name}.tmp"))));
    }

    /// A new file, never one that an earlier attempt left: a sync of that may have failed.
    pub(crate) fn create(&self, name: &str) -> Result<Arc<dyn File>, LogError> {
        self.remove(name)?;
        self.open(name, OpenMode::New)
    }

    /// Makes a segment of zeros after `header` that is durable under its name.
    pub(crate) fn create_segment(
        &self,
        number: u64,
        length: u64,
        header: &[u8],
    ) -> Result<(), LogError> {
        let path = self.path(SPARE);
        let file = self.create(SPARE)?;
        let made = fill(file.as_ref(), length, header);
        made.map_err(|error| {
            // What a full disk let us write is given back; the error to tell is the first one.
            drop(self.disk.remove(&path));
            LogError::io("making a journal segment of zeros in", &path, error)
        })?;
        let name = self.path(&file_name(number, "journal"));
        let named = self.disk.rename(&path, &name);
        // A handle of a file that had this name before would write into nowhere.
        self.forget(FileKind::Journal, number);
        named.map_err(|error| LogError::io("naming", &name, error))?;
        self.sync_dir()
    }
}

/// Fills a new file with zeros after `header`, durably.
fn fill(file: &dyn File, length: u64, header: &[u8]) -> std::io::Result<()> {
    file.allocate(length)?;
    file.write_all_at(header, 0)?;
    let zeros = vec![0; ZEROS.min(crate::codec::size(length))];
    let mut at = header.len() as u64;
    while at < length {
        let part = crate::codec::size(length - at).min(zeros.len());
        file.write_all_at(zeros.get(..part).unwrap_or_default(), at)?;
        // Synced in parts, so that a commit meanwhile waits for one part at most.
        file.sync_data()?;
        at += part as u64;
    }
    Ok(())
}

/// The name of a file that belongs to segment `number`.
pub(crate) fn file_name(number: u64, kind: &str) -> String {
    format!("{number:020}.{kind}")
}

/// The segment that a file of this name and kind belongs to.
pub(crate) fn number_of(name: &str, kind: &str) -> Option<u64> {
    let digits = name.strip_suffix(kind)?.strip_suffix('.')?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// Reads until `buffer` is full or the file ends; gives how much was read.
pub(crate) fn read_full(file: &dyn File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
