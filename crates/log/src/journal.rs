//! The journal's end: where the next frames go, and what they are numbered with.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dhara_world::disk::File;

use crate::LogError;
use crate::frame::{self, Header, Kind};
use crate::segment::{Folder, HEADER, Segment, SegmentHeader, file_name};
use crate::topics::Entry;

/// A frame with records, as the index of its segment will name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) partition: u32,
    pub(crate) entry: Entry,
}

/// Where the next frames go. One writer at a time.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) segment: Segment,
    pub(crate) file: Arc<dyn File>,
    /// The position in the segment's file that the next frame gets.
    pub(crate) at: u64,
    pub(crate) next_sequence: u64,
    /// The next commit has to begin with a frame that may jump, whose base is this sequence: later
    /// ones may lie about on disk, unsynced, from a write that failed.
    pub(crate) jump_from: Option<u64>,
    pub(crate) epoch: u32,
    pub(crate) salt: u64,
    /// The frames with records of this segment.
    pub(crate) written: Vec<Written>,
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
        let header =
            Header { sequence: self.sequence, synced: self.synced, epoch: self.epoch, ..header };
        self.sequence += 1;
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
}

impl Journal {
    /// Whether frames of `bytes` fit into the segment, a jump before and a closing mark after them.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let spare = 3 * frame::HEADER as u64;
        self.at.saturating_add(bytes as u64).saturating_add(spare) <= self.segment.length
    }

    /// Begins a commit; where sequences have to jump, it is at a frame of kind `jump`.
    pub(crate) fn frames(&self, capacity: usize, jump: Kind) -> Frames {
        let mut frames = Frames {
            buffer: BytesMut::with_capacity(capacity.saturating_add(frame::HEADER)),
            start: self.segment.start + self.at,
            synced: self.jump_from.unwrap_or(self.next_sequence),
            sequence: self.next_sequence,
            epoch: self.epoch,
            salt: self.salt,
        };
        if let Some(base) = self.jump_from {
            frames.push(Header { base, ..Header::plain(jump) }, &[]);
        }
        frames
    }

    /// Writes the frames and syncs them. After an error that tells of a full disk the journal can
    /// go on: it will jump over the sequences that this write may have left on the disk.
    pub(crate) fn write(&mut self, frames: Frames) -> Result<Bytes, WriteError> {
        let first = self.next_sequence;
        self.next_sequence = frames.sequence;
        if let Err(error) = self.file.write_all_at(&frames.buffer, self.at) {
            self.jump_from.get_or_insert(first);
            return Err(WriteError::Write(error));
        }
        self.file.sync_data().map_err(WriteError::Sync)?;
        self.jump_from = None;
        self.at += frames.buffer.len() as u64;
        Ok(frames.buffer.freeze())
    }

    /// Goes on in `segment`, whose file holds zeros. Nothing is synced here: its header becomes
    /// durable with the first commit in it.
    pub(crate) fn enter(&mut self, folder: &Folder, segment: Segment) -> Result<(), LogError> {
        let file = folder.segment(segment.number)?;
        let header = SegmentHeader {
            number: segment.number,
            salt: self.salt,
            first_sequence: self.next_sequence,
            epoch: self.epoch,
        };
        let written = file.write_all_at(&header.encode(), 0);
        written.map_err(|error| {
            let path = folder.path(&file_name(segment.number, "journal"));
            LogError::io("writing the header of", &path, error)
        })?;
        self.segment = segment;
        self.file = file;
        self.at = HEADER;
        Ok(())
    }
}

/// Which half of a commit failed.
#[derive(Debug)]
pub(crate) enum WriteError {
    Write(std::io::Error),
    Sync(std::io::Error),
}
