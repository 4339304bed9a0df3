//! What was written last, kept in memory for those who read along.

use std::collections::VecDeque;

use bytes::Bytes;

/// The buffers of the latest commits, by their positions in the journal.
#[derive(Debug)]
pub(crate) struct Tail {
    buffers: VecDeque<(u64, Bytes)>,
    bytes: usize,
    most: usize,
}

impl Tail {
    pub(crate) fn new(most: usize) -> Self {
        Self { buffers: VecDeque::new(), bytes: 0, most }
    }

    /// Adds the pieces of the commit that begins at `position`, later than all before; gives what had
    /// to make room.
    pub(crate) fn push(&mut self, mut position: u64, pieces: Vec<Bytes>) -> Vec<Bytes> {
        for piece in pieces {
            let length = piece.len();
            self.bytes += length;
            self.buffers.push_back((position, piece));
            position += length as u64;
        }
        let mut gone = Vec::new();
        while self.bytes > self.most {
            let Some((_, oldest)) = self.buffers.pop_front() else { break };
            self.bytes -= oldest.len();
            gone.push(oldest);
        }
        gone
    }

    /// The bytes from `position` to `end`, in pieces of whole frames, where all are still here.
    pub(crate) fn get(&self, position: u64, end: u64) -> Option<Vec<Bytes>> {
        let after = self.buffers.partition_point(|(start, _)| *start <= position);
        let mut pieces = Vec::with_capacity(1);
        let mut at = position;
        for (start, bytes) in self.buffers.range(after.checked_sub(1)?..) {
            let from = usize::try_from(at.checked_sub(*start)?).ok()?;
            let to = usize::try_from(end - start).ok()?.min(bytes.len());
            if from >= to {
                return None;
            }
            pieces.push(bytes.slice(from..to));
            at = start + to as u64;
            if at == end {
                return Some(pieces);
            }
        }
        None
    }
}
