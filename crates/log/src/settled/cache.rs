//! The indexes that were read lately.

use std::collections::VecDeque;
use std::sync::Arc;

use super::SettledIndex;

/// Indexes of settled files by number, bounded in bytes; the latest one always stays.
#[derive(Debug)]
pub(crate) struct IndexCache {
    /// Most lately used last.
    kept: VecDeque<(u64, Arc<SettledIndex>)>,
    bytes: usize,
    most: usize,
}

impl IndexCache {
    pub(crate) fn new(most: usize) -> Self {
        Self { kept: VecDeque::new(), bytes: 0, most }
    }

    pub(crate) fn get(&mut self, number: u64) -> Option<Arc<SettledIndex>> {
        let at = self.kept.iter().position(|(kept, _)| *kept == number)?;
        let found = self.kept.remove(at)?;
        let index = Arc::clone(&found.1);
        self.kept.push_back(found);
        Some(index)
    }

    pub(crate) fn put(&mut self, number: u64, index: &Arc<SettledIndex>) {
        self.forget(number);
        self.bytes += index.byte_len();
        self.kept.push_back((number, Arc::clone(index)));
        while self.bytes > self.most && self.kept.len() > 1 {
            let Some((_, oldest)) = self.kept.pop_front() else { break };
            self.bytes -= oldest.byte_len();
        }
    }

    /// Drops the index of a file that is removed.
    pub(crate) fn forget(&mut self, number: u64) {
        let at = self.kept.iter().position(|(kept, _)| *kept == number);
        if let Some((_, index)) = at.and_then(|at| self.kept.remove(at)) {
            self.bytes -= index.byte_len();
        }
    }
}
