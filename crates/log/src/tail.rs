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

    /// Adds the commit that begins at `position`, later than all before.
    pub(crate) fn push(&mut self, position: u64, bytes: Bytes) {
        self.bytes += bytes.len();
        self.buffers.push_back((position, bytes));
        while self.bytes > self.most {
            let Some((_, oldest)) = self.buffers.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// The `length` bytes at `position`, where they are still here.
    pub(crate) fn get(&self, position: u64, length: usize) -> Option<Bytes> {
        let after = self.buffers.partition_point(|(start, _)| *start <= position);
        let (start, bytes) = self.buffers.get(after.checked_sub(1)?)?;
        let from = usize::try_from(position - start).ok()?;
        let to = from.checked_add(length)?;
        (to <= bytes.len()).then(|| bytes.slice(from..to))
    }
}
