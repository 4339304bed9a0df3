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

/// A piece of a commit takes no more frames once it has this many bytes.
const PIECE: usize = 1 << 20;

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

/// The frames of one commit, gathered for one sync.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Pieces that are full. A reader who holds one batch holds the piece that it lies in.
    full: Vec<BytesMut>,
    full_bytes: usize,
    buffer: BytesMut,
    pool: Vec<BytesMut>,
    /// The journal's position of the first byte.
    pub(crate) start: u64,
    synced: u64,
    sequence: u64,
    epoch: u32,
    salt: u64,
}

impl Frames {
    /// The bytes of all frames.
    pub(crate) fn len(&self) -> usize {
        self.full_bytes + self.buffer.len()
    }

    /// Appends a frame; gives its position in the journal.
    pub(crate) fn push(&mut self, header: Header, parts: &[&[u8]]) -> u64 {
        let span = frame::span(parts.iter().map(|part| part.len()).sum());
        if !self.buffer.is_empty() && self.buffer.len() + span > PIECE {
            let next = self.pool.pop().unwrap_or_default();
            self.full_bytes += self.buffer.len();
            self.full.push(std::mem::replace(&mut self.buffer, next));
        }
        let position = self.start + self.len() as u64;
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
    pub(crate) fn frames(&mut self, jump: Kind) -> Frames {
        let mut pool = std::mem::take(&mut self.pool);
        let mut frames = Frames {
            full: Vec::new(),
            full_bytes: 0,
            buffer: pool.pop().unwrap_or_default(),
            pool,
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

    /// Writes the frames, and syncs all that was written where that is wanted; gives them in pieces
    /// of whole frames. After an error that tells of a full disk the journal can go on: it will jump
    /// over the sequences that this write may have left on the disk.
    pub(crate) fn write(&mut self, frames: Frames, syncs: bool) -> Result<Vec<Bytes>, WriteError> {
        let first = self.next_sequence;
        let length = frames.len();
        let Frames { full, mut buffer, sequence, pool, .. } = frames;
        self.pool = pool;
        self.next_sequence = sequence;
        let last = buffer.len();
        let room = crate::codec::size(self.segment.length.saturating_sub(self.at + length as u64));
        buffer.resize(last + SENTINEL.min(room), 0);
        let mut at = self.at;
        let mut pieces = Vec::with_capacity(full.len() + 1);
        for piece in full.into_iter().chain([buffer]) {
            if let Err(error) = self.file.write_all_at(&piece, at) {
                self.jump_from.get_or_insert(first);
                return Err(WriteError::Write(error));
            }
            at += piece.len() as u64;
            pieces.push(piece.freeze());
        }
        self.is_dirty = true;
        if syncs {
            self.sync().map_err(WriteError::Sync)?;
        }
        self.jump_from = None;
        self.at += length as u64;
        if let Some(piece) = pieces.last_mut() {
            piece.truncate(last);
        }
        Ok(pieces)
    }

    /// Takes back the memory of frames that are not written after all.
    pub(crate) fn drop_frames(&mut self, frames: Frames) {
        let Frames { full, buffer, pool, .. } = frames;
        self.pool = pool;
        full.into_iter().chain([buffer]).for_each(|piece| self.reuse(piece.freeze()));
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

    /// Takes back the memory of a piece that nobody reads any more.
    pub(crate) fn reuse(&mut self, bytes: Bytes) {
        const MOST_KEPT: usize = 8;
        if self.pool.len() < MOST_KEPT
            && let Ok(mut buffer) = bytes.try_into_mut()
            && buffer.capacity() <= 2 * PIECE
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
