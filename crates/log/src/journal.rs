//! The journal's end: where the next frames go, and what they are numbered with.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dhara_world::disk::File;

use crate::LogError;
use crate::frame::{self, Header, Kind};
use crate::segment::{Folder, HEADER, Segment, SegmentHeader, file_name};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Zeros that follow each commit. The file may be full of frames from an earlier use, and they tell
/// recovery that nothing was begun here.
pub(crate) const SENTINEL: usize = 64;

/// Where the next frames go. One writer at a time.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) segment: Segment,
    pub(crate) file: Arc<dyn File>,
    /// The position in the segment's file that the next frame gets.
    pub(crate) at: u64,
    pub(crate) next_sequence: u64,
    /// Every frame with a lower sequence is durable.
    pub(crate) durable: u64,
    /// Whether frames were written that are not synced.
    pub(crate) is_dirty: bool,
    /// The next commit has to begin with a frame that may jump, whose base is this sequence: later
    /// ones may lie about on disk, unsynced, from a write that failed.
    pub(crate) jump_from: Option<u64>,
    pub(crate) epoch: u32,
    pub(crate) salt: u64,
    /// Memory of commits that nobody reads any more.
    pub(crate) pool: Vec<BytesMut>,
    /// How many times it was synced.
    pub(crate) syncs: Arc<AtomicU64>,
}

/// The frames of one commit, gathered for one write.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) buffer: BytesMut,
    /// The journal's position of the first byte.
    pub(crate) start: u64,
    synced: u64,
    sequence: u64,
    epoch: u32,
    salt: u64,
}

impl Frames {
    /// Appends a frame; gives its position in the journal.
    pub(crate) fn push(&mut self, header: Header, parts: &[&[u8]]) -> u64 {
        let position = self.start + self.buffer.len() as u64;
        let header = self.number(header);
        frame::push(&mut self.buffer, header, parts, self.salt);
        position
    }

    /// Appends a record batch, with its base offset and the log's epoch set; both lie outside the
    /// batch's own checksum.
    pub(crate) fn push_batch(&mut self, header: Header, batch: &[u8]) -> u64 {
        let (before, rest) = batch.split_at_checked(16).unwrap_or((batch, &[]));
        let length = before.get(8..12).unwrap_or_default();
        let base = header.base.to_be_bytes();
        let epoch = self.epoch.to_be_bytes();
        self.push(header, &[&base, length, &epoch, rest])
    }

    fn number(&mut self, header: Header) -> Header {
        let (sequence, synced, epoch) = (self.sequence, self.synced, self.epoch);
        self.sequence += 1;
        Header { sequence, synced, epoch, ..header }
    }
}

impl Journal {
    /// Whether frames of `bytes` fit into the segment, a jump before and a closing mark after them.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let spare = (3 * frame::HEADER + SENTINEL) as u64;
        self.at.saturating_add(bytes as u64).saturating_add(spare) <= self.segment.length
    }

    /// Begins a commit; where sequences have to jump, it is at a frame of kind `jump`.
    pub(crate) fn frames(&mut self, capacity: usize, jump: Kind) -> Frames {
        let capacity = capacity.saturating_add(frame::HEADER + SENTINEL);
        let mut buffer = self.pool.pop().unwrap_or_default();
        buffer.reserve(capacity);
        let mut frames = Frames {
            buffer,
            start: self.segment.start + self.at,
            synced: self.durable,
            sequence: self.next_sequence,
            epoch: self.epoch,
            salt: self.salt,
        };
        if let Some(base) = self.jump_from {
            frames.push(Header { base, ..Header::plain(jump) }, &[]);
        }
        frames
    }

    /// Writes the frames, and syncs all that was written where that is wanted. After an error that
    /// tells of a full disk the journal can go on: it will jump over the sequences that this write
    /// may have left on the disk.
    pub(crate) fn write(&mut self, frames: Frames, syncs: bool) -> Result<Bytes, WriteError> {
        let first = self.next_sequence;
        let Frames { mut buffer, sequence, .. } = frames;
        self.next_sequence = sequence;
        let length = buffer.len();
        let room = crate::codec::size(self.segment.length.saturating_sub(self.at));
        buffer.resize(length.saturating_add(SENTINEL).min(room.max(length)), 0);
        if let Err(error) = self.file.write_all_at(&buffer, self.at) {
            self.jump_from.get_or_insert(first);
            return Err(WriteError::Write(error));
        }
        self.is_dirty = true;
        if syncs {
            self.sync().map_err(WriteError::Sync)?;
        }
        self.jump_from = None;
        self.at += length as u64;
        let mut bytes = buffer.freeze();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Makes durable what was written.
    pub(crate) fn sync(&mut self) -> std::io::Result<()> {
        if self.is_dirty {
            self.file.sync_data()?;
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.is_dirty = false;
            self.durable = self.next_sequence;
        }
        Ok(())
    }

    /// Takes back the memory of a commit that nobody reads any more.
    pub(crate) fn reuse(&mut self, bytes: Bytes) {
        if self.pool.len() < 4
            && let Ok(mut buffer) = bytes.try_into_mut()
        {
            buffer.clear();
            self.pool.push(buffer);
        }
    }

    /// Goes on in `segment`. Nothing is synced here: its header becomes durable with the next sync.
    pub(crate) fn enter(&mut self, folder: &Folder, segment: Segment) -> Result<(), LogError> {
        let file = folder.segment(segment.number)?;
        let header = SegmentHeader {
            number: segment.number,
            salt: self.salt,
            first_sequence: segment.first_sequence,
            epoch: self.epoch,
            length: segment.length,
        };
        let written = file.write_all_at(&header.encode(), 0);
        written.map_err(|error| {
            let path = folder.path(&file_name(segment.number, "journal"));
            LogError::io("writing the header of", &path, error)
        })?;
        self.segment = segment;
        self.file = file;
        self.at = HEADER;
        // A state may name this segment as the journal's first before there is a commit in it.
        self.is_dirty = true;
        Ok(())
    }
}

/// Which half of a commit failed.
#[derive(Debug)]
pub(crate) enum WriteError {
    Write(std::io::Error),
    Sync(std::io::Error),
}
