//! What is done beside the commits: segments of zeros are made before they are needed, and those
//! that are full get their index.

use crate::LogError;
use crate::groups::Position;
use crate::index;
use crate::journal::{Journal, Written};
use crate::segment::Segment;
use crate::shared::Shared;
use crate::sync::{lock, read, write};
use crate::topics::Creation;

/// A segment that is full, with all that its index and the state after it are made of.
#[derive(Debug)]
pub(crate) struct SealJob {
    pub(crate) segment: Segment,
    pub(crate) written: Vec<Written>,
    pub(crate) state: State,
}

/// The state of the log at the end of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) salt: u64,
    pub(crate) next_sequence: u64,
    pub(crate) epoch: u32,
    pub(crate) topics: Vec<Creation>,
    /// The next offset of each partition, by id.
    pub(crate) ends: Vec<u64>,
    pub(crate) positions: Vec<Position>,
}

impl Shared {
    /// Leaves the segment at hand for the next, which gets room for `bytes` of frames.
    pub(crate) fn rotate(&self, journal: &mut Journal, bytes: usize) -> Result<(), LogError> {
        let number = journal.segment.number + 1;
        let needed = Segment::length_for(bytes);
        let making = lock(&self.making);
        let spare = lock(&self.house).spare.take().filter(|(spare, _)| *spare == number);
        let length = match spare {
            Some((_, length)) if length >= needed => length,
            _ => {
                let length = self.next_length(journal.segment.length).max(needed);
                self.folder.create_segment(number, length)?;
                length
            }
        };
        lock(&self.house).current = number;
        drop(making);
        let old = journal.segment;
        let segment = Segment { number, start: old.end(), length };
        journal.enter(&self.folder, segment)?;
        write(&self.segments).push(segment);
        let written = std::mem::take(&mut journal.written);
        let job = SealJob { segment: old, written, state: self.state(journal) };
        lock(&self.house).seals.push(job);
        self.house_changed.notify_all();
        Ok(())
    }

    /// The length of the segment after one of `length`: small logs stay small on disk.
    fn next_length(&self, length: u64) -> u64 {
        length.saturating_mul(4).clamp(self.options.first_segment_bytes, self.options.segment_bytes)
    }

    /// Asks for the next segment when the one at hand is half full.
    pub(crate) fn want_next(&self, journal: &Journal) {
        if journal.at < journal.segment.length / 2 {
            return;
        }
        let mut house = lock(&self.house);
        if house.spare.is_none() && house.wanted.is_none() {
            let next = self.next_length(journal.segment.length);
            house.wanted = Some((journal.segment.number + 1, next));
            self.house_changed.notify_all();
        }
    }

    fn state(&self, journal: &Journal) -> State {
        let topics = read(&self.topics);
        State {
            salt: self.salt,
            next_sequence: journal.jump_from.unwrap_or(journal.next_sequence),
            epoch: journal.epoch,
            topics: topics.creations(),
            ends: topics.partitions().iter().map(|partition| partition.next()).collect(),
            positions: read(&self.groups).positions(),
        }
    }

    /// Does one thing that waits to be done; `false` where there was nothing.
    pub(crate) fn housekeep_step(&self) -> Result<bool, LogError> {
        let wanted = lock(&self.house).wanted;
        if let Some((number, length)) = wanted {
            let made = self.make_spare(number, length);
            lock(&self.house).wanted = None;
            made?;
            return Ok(true);
        }
        let job = {
            let mut house = lock(&self.house);
            if house.seals.is_empty() { None } else { Some(house.seals.remove(0)) }
        };
        match job {
            Some(job) => match self.seal(&job) {
                Ok(()) => Ok(true),
                Err(error) => {
                    lock(&self.house).seals.insert(0, job);
                    Err(error)
                }
            },
            None => Ok(false),
        }
    }

    fn make_spare(&self, number: u64, length: u64) -> Result<(), LogError> {
        let _making = lock(&self.making);
        // A commit that could not wait has made the segment itself.
        if lock(&self.house).current >= number {
            return Ok(());
        }
        self.folder.create_segment(number, length)?;
        lock(&self.house).spare = Some((number, length));
        Ok(())
    }

    /// Writes a segment's index and the state after it; the entries then need no memory.
    fn seal(&self, job: &SealJob) -> Result<(), LogError> {
        index::write_files(&self.folder, job)?;
        let end = job.segment.end();
        let topics = read(&self.topics);
        for written in &job.written {
            let Some(partition) = topics.by_id(written.partition) else { continue };
            let mut shown = partition.shown();
            while shown.entries.front().is_some_and(|entry| entry.position < end) {
                shown.entries.pop_front();
            }
        }
        Ok(())
    }
}
