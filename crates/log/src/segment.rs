//! The files of the journal: written with zeros before use, so that a sync has no extent to change.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::BufMut;
use dhara_world::disk::{Disk, File, OpenMode};

use crate::LogError;
use crate::codec::Cursor;
use crate::frame;
use crate::sync::lock;

/// Bytes of a segment before its first frame.
pub(crate) const HEADER: u64 = 64;
/// The version of the format that this code writes.
pub(crate) const VERSION: u32 = 1;
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
}

impl Segment {
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// The length of a segment that has room for `bytes` of frames.
    pub(crate) fn length_for(bytes: usize) -> u64 {
        // Besides the frames there is room for a jump before them and a closing mark.
        HEADER + bytes as u64 + 4 * frame::HEADER as u64
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
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(52);
        rest.put_u64_le(self.number);
        rest.put_u64_le(self.salt);
        rest.put_u64_le(self.first_sequence);
        rest.put_u32_le(self.epoch);
        rest.resize(HEADER as usize - 16, 0);
        let mut out = Vec::with_capacity(HEADER as usize);
        out.extend_from_slice(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(crc32c::crc32c(&rest));
        out.extend_from_slice(&rest);
        out
    }

    /// The header at the front of a segment's `bytes`; `Ok(None)` where there is no good one.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Option<Self>, LogError> {
        let mut cursor = Cursor::new(bytes);
        if cursor.take(8) != Some(MAGIC.as_slice()) {
            return Ok(None);
        }
        let version = cursor.u32();
        let stored = cursor.u32();
        let Some(rest) = bytes.get(16..HEADER as usize) else { return Ok(None) };
        if stored != Some(crc32c::crc32c(rest)) {
            return Ok(None);
        }
        if version != Some(VERSION) {
            return Err(LogError::Unreadable {
                what: format!(
                    "{}: its format is version {}, this program knows version {VERSION}; open it \
                     with the program that wrote it, or a later one",
                    path.display(),
                    version.unwrap_or(0)
                ),
            });
        }
        let mut cursor = Cursor::new(rest);
        let fields = (cursor.u64(), cursor.u64(), cursor.u64(), cursor.u32());
        let (Some(number), Some(salt), Some(first_sequence), Some(epoch)) = fields else {
            return Ok(None);
        };
        Ok(Some(Self { number, salt, first_sequence, epoch }))
    }
}

/// The folder of a log, and its open files.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    /// Sealed segments that were read lately, most lately last.
    handles: Mutex<VecDeque<(u64, Arc<dyn File>)>>,
}

impl Folder {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, handles: Mutex::default() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn open(&self, name: &str, mode: OpenMode) -> Result<Arc<dyn File>, LogError> {
        let path = self.path(name);
        self.disk.open(&path, mode).map_err(|error| LogError::io("opening", &path, error))
    }

    pub(crate) fn sync_dir(&self) -> Result<(), LogError> {
        let synced = self.disk.sync_dir(&self.dir);
        synced.map_err(|error| LogError::io("syncing the folder", &self.dir, error))
    }

    /// The file of a segment that exists.
    pub(crate) fn segment(&self, number: u64) -> Result<Arc<dyn File>, LogError> {
        let mut handles = lock(&self.handles);
        if let Some(at) = handles.iter().position(|(open, _)| *open == number)
            && let Some(found) = handles.remove(at)
        {
            let file = Arc::clone(&found.1);
            handles.push_back(found);
            return Ok(file);
        }
        let file = self.open(&file_name(number, "journal"), OpenMode::Existing)?;
        handles.push_back((number, Arc::clone(&file)));
        if handles.len() > OPEN_HANDLES {
            handles.pop_front();
        }
        Ok(file)
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
        let temporary = format!("{name}.tmp");
        let path = self.path(&temporary);
        let failed = |error| LogError::io("writing", &path, error);
        let file = self.open(&temporary, OpenMode::OrCreate)?;
        file.set_len(0).map_err(failed)?;
        file.write_all_at(bytes, 0).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        self.disk.rename(&path, &self.path(name)).map_err(failed)?;
        self.sync_dir()
    }

    /// Makes a segment of zeros that is durable under its name.
    pub(crate) fn create_segment(&self, number: u64, length: u64) -> Result<(), LogError> {
        let path = self.path(SPARE);
        let failed = |error| LogError::io("making a journal segment of zeros in", &path, error);
        let file = self.open(SPARE, OpenMode::OrCreate)?;
        file.set_len(0).map_err(failed)?;
        file.allocate(length).map_err(failed)?;
        let zeros = vec![0; ZEROS.min(crate::codec::size(length))];
        let mut at = 0;
        while at < length {
            let part = crate::codec::size(length - at).min(zeros.len());
            file.write_all_at(zeros.get(..part).unwrap_or_default(), at).map_err(failed)?;
            // Synced in parts, so that a commit meanwhile waits for one part at most.
            file.sync_data().map_err(failed)?;
            at += part as u64;
        }
        self.disk.rename(&path, &self.path(&file_name(number, "journal"))).map_err(failed)?;
        self.sync_dir()
    }
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
