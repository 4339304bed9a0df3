//! Memory for reading files, used again: memory that was never touched costs more than the read.

use std::sync::Arc;

use bytes::Bytes;

use crate::sync::{Mutex, lock};

/// The most that is kept for later.
const MOST_KEPT: usize = 8 << 20;
/// What is larger than this is not kept.
const MOST_EACH: usize = 2 << 20;

/// Buffers that are not in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    free: Arc<Mutex<Free>>,
}

#[derive(Debug, Default)]
struct Free {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer that goes back when nobody uses it any more.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    home: Buffers,
}

impl Buffers {
    /// A buffer of `length` bytes, whatever they are.
    pub(crate) fn take(&self, length: usize) -> Buffer {
        let mut free = lock(&self.free);
        let found = free.buffers.iter().rposition(|buffer| buffer.len() >= length);
        let found = found.map(|at| free.buffers.swap_remove(at));
        free.bytes -= found.as_ref().map_or(0, Vec::len);
        drop(free);
        // Rounded up, so that it serves others as well.
        let rounded = length.checked_next_power_of_two().unwrap_or(length);
        let rounded = if rounded <= MOST_EACH { rounded.max(4096) } else { length };
        Buffer { bytes: found.unwrap_or_else(|| vec![0; rounded]), length, home: self.clone() }
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let mut free = lock(&self.free);
        if bytes.len() <= MOST_EACH && free.bytes + bytes.len() <= MOST_KEPT {
            free.bytes += bytes.len();
            free.buffers.push(bytes);
        }
    }
}

impl Buffer {
    /// Shares the first `length` bytes.
    pub(crate) fn freeze(mut self, length: usize) -> Bytes {
        self.length = self.length.min(length);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}
