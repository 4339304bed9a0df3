//! What is done beside the commits: segments are made ready before they are needed, and what is
//! full, expired, deleted or worth compacting is seen to.

use crate::LogError;
use crate::frame::{self, Header, Kind};
use crate::journal::Journal;
use crate::segment::{self, Segment};
use crate::shared::Shared;
use crate::sync::{lock, write};

/// How many files of the journal wait at most to be used again.
const MOST_FREE: usize = 3;

/// What is done beside the commits.
#[derive(Debug)]
pub(crate) struct House {
    /// A segment that waits to be used: its number and length.
    pub(crate) spare: Option<(u64, u64)>,
    /// A segment is wanted: its number and length.
    pub(crate) wanted: Option<(u64, u64)>,
    /// The number of the segment at hand.
    pub(crate) current: u64,
    /// Files of the journal that are settled, by their old numbers, with their lengths.
    pub(crate) free: Vec<(u64, u64)>,
    /// The number of the state file.
    pub(crate) state_number: u64,
    /// The partitions of topics that were deleted since the last look.
    pub(crate) deleted: Vec<u32>,
    /// The settled files that were not looked through since the opening.
    pub(crate) unswept: Vec<u64>,
    /// Whether somebody has asked for a look at everything.
    pub(crate) is_called: bool,
    pub(crate) is_closed: bool,
}

impl Shared {
    /// Leaves the segment at hand for the next, which gets room for `bytes` of frames.
    pub(crate) fn rotate(&self, journal: &mut Journal, bytes: usize) -> Result<(), LogError> {
        self.end_segment(journal)?;
        // A segment is used when everything in the one before it is durable.
        self.sync_journal(journal)?;
        let number = journal.segment.number + 1;
        let needed = Segment::length_for(bytes);
        let making = lock(&self.making);
        let spare = lock(&self.house).spare.take().filter(|(spare, _)| *spare == number);
        let length = match spare {
            Some((_, length)) if length >= needed => length,
            _ => {
                let length = self.next_length(journal.segment.length).max(needed);
                self.make_segment(number, length)?;
                length
            }
        };
        let old = journal.segment;
        let first_sequence = journal.jump_from.unwrap_or(journal.next_sequence);
        let segment = Segment { number, start: old.end(), length, first_sequence };
        if let Err(error) = journal.enter(&self.folder, segment) {
            lock(&self.house).spare = Some((number, length));
            return Err(error);
        }
        lock(&self.house).current = number;
        drop(making);
        let mut segments = write(&self.segments);
        let mut all = segments.to_vec();
        all.push(segment);
        *segments = all.into();
        drop(segments);
        if self.sealed_bytes() >= self.options.settle_bytes {
            self.call_house();
        }
        Ok(())
    }

    /// Puts a mark where a failed write may have left frames, lest they pass for the segment's last,
    /// and where there is no frame at all, lest the journal seems to end before this segment.
    fn end_segment(&self, journal: &mut Journal) -> Result<(), LogError> {
        let has_place = journal.at + frame::HEADER as u64 <= journal.segment.length;
        let is_empty = journal.at == segment::HEADER;
        if (journal.jump_from.is_none() && !is_empty) || !has_place {
            return Ok(());
        }
        let base = journal.next_sequence;
        let mut frames = journal.frames(Kind::Mark);
        if frames.len() == 0 {
            frames.push(Header { base, ..Header::plain(Kind::Mark) }, &[]);
        }
        journal.write(frames, true).map(drop).map_err(|error| self.write_failed(journal, error))
    }

    /// The length of the segment after one of `length`: small logs stay small on disk. The bound holds
    /// also where it is below the length of the first.
    fn next_length(&self, length: u64) -> u64 {
        let length = length.saturating_mul(4).max(self.options.first_segment_bytes);
        length.min(self.options.segment_bytes)
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

    /// Asks for a look at everything.
    pub(crate) fn call_house(&self) {
        lock(&self.house).is_called = true;
        self.house_changed.notify_all();
    }

    /// Does one thing that waits to be done; `false` where there was nothing.
    pub(crate) fn housekeep_step(&self) -> Result<bool, LogError> {
        lock(&self.house).is_called = false;
        let wanted = lock(&self.house).wanted;
        if let Some((number, length)) = wanted {
            let made = self.make_spare(number, length);
            lock(&self.house).wanted = None;
            made?;
            return Ok(true);
        }
        if self.find_failure().is_some() {
            return Ok(false);
        }
        Ok(self.free_step()?
            || self.settle_step(false)?
            || self.sweep_step()?
            || self.bury_step()?
            || self.retain_step()?
            || self.merge_step()?)
    }

    fn make_spare(&self, number: u64, length: u64) -> Result<(), LogError> {
        let _making = lock(&self.making);
        {
            let house = lock(&self.house);
            // A commit that could not wait has made the segment itself; or the folder is another's.
            if house.current >= number || house.is_closed {
                return Ok(());
            }
        }
        self.make_segment(number, length)?;
        lock(&self.house).spare = Some((number, length));
        Ok(())
    }

    /// Makes the file of a segment: from one that is settled, or anew.
    fn make_segment(&self, number: u64, length: u64) -> Result<(), LogError> {
        let free = {
            let mut house = lock(&self.house);
            let at = house.free.iter().position(|(_, other)| *other == length);
            at.map(|at| house.free.swap_remove(at))
        };
        match free {
            Some((old, _)) => self.folder.recycle_segment(old, number),
            None => self.folder.create_segment(number, length, &[]),
        }
    }

    /// Removes a file of the journal that is not going to be used again.
    fn free_step(&self) -> Result<bool, LogError> {
        let _making = lock(&self.making);
        let gone = {
            let mut house = lock(&self.house);
            if house.is_closed {
                // The folder is another's, or will be in a moment.
                return Ok(false);
            }
            let length = self.options.segment_bytes;
            let other = house.free.iter().position(|(_, other)| *other != length);
            let surplus = (house.free.len() > MOST_FREE).then_some(0);
            other.or(surplus).map(|at| house.free.remove(at))
        };
        let Some((number, _)) = gone else { return Ok(false) };
        self.folder.remove_segment(number)?;
        Ok(true)
    }
}
