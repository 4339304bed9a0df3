//! What a reader has read of the log and not delivered.

use std::collections::VecDeque;

use dhara_log::batch::{Record, Records};
use dhara_log::{Fetched, LogError, RecordBatch};

/// Everything that there is from `at` up to `upto`. Offsets that no record has, as a compaction leaves
/// them, are passed over.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) at: u64,
    upto: u64,
    /// The batch that is being given.
    current: Option<Records>,
    /// Where it ends.
    current_end: u64,
    batches: VecDeque<RecordBatch>,
}

/// What a read of the log brought, and from where on.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) from: u64,
    pub(super) fetched: Fetched,
}

impl Ahead {
    /// Forgets what lies below `from`, and everything where that does not lie in what is here.
    pub(super) fn go_to(&mut self, from: u64) {
        if from < self.at || from > self.upto {
            self.begin_at(from);
            return;
        }
        self.at = from;
        if from >= self.current_end {
            self.current = None;
        }
        while self.batches.front().is_some_and(|batch| batch.next_offset() <= from) {
            self.batches.pop_front();
        }
    }

    /// Forgets everything.
    fn begin_at(&mut self, from: u64) {
        self.at = from;
        self.upto = from;
        self.current = None;
        self.batches.clear();
    }

    pub(super) fn fill(&mut self, Brought { from, fetched }: Brought) {
        if from != self.upto {
            self.begin_at(from);
        }
        self.upto = fetched.next.max(from);
        self.batches.extend(fetched.batches);
    }

    /// The next record below `until`; `None` when nothing more is here.
    pub(super) fn next(&mut self, until: u64) -> Result<Option<Record>, LogError> {
        loop {
            match self.next_of_current() {
                // It lies in a batch with some that may be given; both are read again later.
                Ok(Some(record)) if record.offset >= until => {
                    self.begin_at(until.max(self.at));
                    return Ok(None);
                }
                Ok(Some(record)) => {
                    self.at = record.offset + 1;
                    return Ok(Some(record));
                }
                Ok(None) => {}
                Err(error) => {
                    // It is no gap: the next read comes to it again.
                    self.begin_at(self.at);
                    return Err(error);
                }
            }
            let reached = self.batches.front().map_or(self.upto, RecordBatch::base_offset);
            if self.batches.is_empty() || reached >= until {
                self.at = self.at.max(reached.min(until));
                return Ok(None);
            }
            if let Err(error) = self.open_next() {
                self.begin_at(self.at);
                return Err(error);
            }
        }
    }

    /// The next record of the batch at hand that was not passed.
    fn next_of_current(&mut self) -> Result<Option<Record>, LogError> {
        let Some(records) = &mut self.current else { return Ok(None) };
        for record in records {
            let record = record?;
            if record.offset >= self.at {
                return Ok(Some(record));
            }
        }
        self.current = None;
        self.at = self.at.max(self.current_end);
        Ok(None)
    }

    fn open_next(&mut self) -> Result<(), LogError> {
        let Some(batch) = self.batches.pop_front() else { return Ok(()) };
        if batch.is_control() {
            self.at = self.at.max(batch.next_offset());
            return Ok(());
        }
        self.current = Some(batch.records()?);
        self.current_end = batch.next_offset();
        Ok(())
    }
}
