//! Writes a settled file: in pieces, synced on the way, named when all of it is durable.

use std::path::PathBuf;
use std::sync::Arc;

use dhara_world::disk::{Disk, File};

use super::index::{IndexBuilder, index_crc};
use super::{Class, HEADER, SettledFile, Stretch};
use crate::LogError;
use crate::frame::Header;
use crate::sabotage::Sabotage;
use crate::segment::{Folder, file_name};

const PIECE: usize = 1 << 20;
/// A commit's sync waits for no more than this many bytes of a file that is being settled.
const SYNC_EVERY: u64 = 8 << 20;

/// A settled file that is being written. Dropped before it is finished, it leaves nothing.
#[derive(Debug)]
pub(crate) struct SettledWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: Arc<dyn File>,
    number: u64,
    class: Class,
    salt: u64,
    ends_before: Vec<(u32, u64)>,
    index: IndexBuilder,
    buffer: Vec<u8>,
    /// Where in the file the buffer belongs.
    at: u64,
    synced: u64,
    /// Where the next frame begins.
    end: u64,
    /// The first write or sync that failed: neither is tried again.
    failed: Option<LogError>,
    is_named: bool,
}

impl SettledWriter {
    /// Begins the settled file `number`. `ends_before` are the ends of the file of the class that
    /// comes before it or, where it takes the place of others, those of the last of them.
    pub(crate) fn create(
        folder: &Folder,
        number: u64,
        class: Class,
        salt: u64,
        ends_before: Vec<(u32, u64)>,
    ) -> Result<Self, LogError> {
        let name = temporary(number);
        let file = folder.create(&name)?;
        Ok(Self {
            disk: Arc::clone(&folder.disk),
            dir: folder.dir.clone(),
            file,
            number,
            class,
            salt,
            ends_before,
            index: IndexBuilder::default(),
            buffer: Vec::with_capacity(PIECE),
            at: HEADER,
            synced: HEADER,
            end: HEADER,
            failed: None,
            is_named: false,
        })
    }

    /// Adds a whole frame with its padding. Frames come in the order of their partitions' ids, and
    /// those of a partition in the order of their offsets. One without a batch has
    /// [`NO_TIMESTAMP`](super::NO_TIMESTAMP).
    pub(crate) fn push(
        &mut self,
        header: &Header,
        frame: &[u8],
        max_timestamp: i64,
    ) -> Result<(), LogError> {
        let partition = header.partition;
        let next = header.base.checked_add(u64::from(header.count));
        let comes_after = self.index.last().is_none_or(|(last, end)| {
            last < partition || (last == partition && end <= header.base)
        });
        let bytes = u32::try_from(frame.len()).ok().filter(|_| frame.len() == header.span());
        let (Some(bytes), Some(next), true) =
            (bytes, next.filter(|_| header.count > 0), comes_after)
        else {
            return Err(LogError::invalid(format!(
                "settled file {}: the frame of partition id {partition} at offset {} with {} bytes \
                 is out of order, or is no frame with records",
                self.number,
                header.base,
                frame.len()
            )));
        };
        self.write(frame)?;
        let (offset, position) = (header.base, self.end);
        self.end += u64::from(bytes);
        self.index.push(partition, Stretch { offset, next, position, bytes, max_timestamp });
        Ok(())
    }

    /// The bytes of frames so far.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.end - HEADER
    }

    /// Makes the file durable under its name. After an error there is none of that name.
    pub(crate) fn finish(mut self) -> Result<SettledFile, LogError> {
        let index = std::mem::take(&mut self.index).finish(std::mem::take(&mut self.ends_before));
        let bytes = index.encode();
        self.write(&bytes)?;
        self.flush()?;
        let file = SettledFile {
            number: self.number,
            class: self.class,
            partitions: index.partitions(),
            frame_bytes: self.frame_bytes(),
            length: self.end + bytes.len() as u64,
            index_crc: index_crc(&bytes, self.number, self.salt),
        };
        let (from, to) = (self.path(&temporary(self.number)), self.path(&file.name()));
        let failed = |error| LogError::io("writing", &from, error);
        self.file.write_all_at(&file.header(self.salt), 0).map_err(failed)?;
        if !Sabotage::StateBeforeFile.is_on() {
            self.file.sync_data().map_err(failed)?;
        }
        self.disk
            .rename(&from, &to)
            .map_err(|error| LogError::io("naming the settled file", &to, error))?;
        self.is_named = true;
        self.disk.sync_dir(&self.dir).map_err(|error| {
            // Whether the name is durable is not known; the error to tell is the first one.
            drop(self.disk.remove(&to));
            LogError::io("syncing the folder", &self.dir, error)
        })?;
        Ok(file)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), LogError> {
        while !bytes.is_empty() {
            let room = PIECE.saturating_sub(self.buffer.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() >= PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.try_flush().map_err(|error| {
            let error = LogError::io("writing", &self.path(&temporary(self.number)), error);
            self.failed = Some(error.clone());
            error
        })
    }

    fn try_flush(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        if self.at - self.synced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.synced = self.at;
        }
        Ok(())
    }
}

impl Drop for SettledWriter {
    fn drop(&mut self) {
        if !self.is_named {
            // What cannot be removed now is removed when the log is opened next.
            drop(self.disk.remove(&self.path(&temporary(self.number))));
        }
    }
}

fn temporary(number: u64) -> String {
    format!("{}.tmp", file_name(number, "settled"))
}
