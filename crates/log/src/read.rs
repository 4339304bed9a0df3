//! Reading: which frames hold what was asked for, and their bytes, checked.

use std::sync::Arc;

use bytes::Bytes;

use crate::frame::{self, HEADER, Header, Kind};
use crate::index::{self, SegmentIndex};
use crate::segment::{Segment, file_name, read_full};
use crate::shared::Shared;
use crate::sync::read;
use crate::topics::{Entry, Partition};
use crate::{LogError, RecordBatch, TopicPartition};

/// Frames that lie no farther apart than this are read at once.
const GAP: u64 = 16 << 10;

/// What a read gave.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whole batches, in order; the first holds the offset that was asked for. Empty at the end.
    pub batches: Vec<RecordBatch>,
    /// The offset after the partition's last visible record.
    pub end: u64,
}

/// The offsets of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The earliest offset that is kept.
    pub earliest: u64,
    /// The offset after the last visible record.
    pub end: u64,
}

/// A frame to be read, with its bytes where they were at hand.
type Planned = (Entry, Option<Bytes>);

impl Shared {
    pub(crate) fn bounds(&self, name: &TopicPartition) -> Result<Bounds, LogError> {
        let _visible = read(&self.tail);
        let topics = read(&self.topics);
        let end = topics.find(name)?.shown().end;
        Ok(Bounds { earliest: 0, end })
    }

    pub(crate) fn read(
        &self,
        name: &TopicPartition,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Fetched, LogError> {
        let partition = Arc::clone(read(&self.topics).find(name)?);
        let (end, planned) = self.plan_newest(&partition, offset, max_bytes)?;
        let planned = match planned {
            Some(planned) => planned,
            None => self.plan_sealed(&partition, offset, max_bytes)?,
        };
        match planned.first() {
            Some((first, _)) if first.offset > offset => {
                let what = "its frames are missing from the journal".to_owned();
                let partition = name.clone();
                Err(LogError::Damaged { partition, offset, next: first.offset, what })
            }
            None if offset < end => {
                let what = "its frames are missing from the journal".to_owned();
                Err(LogError::Damaged { partition: name.clone(), offset, next: end, what })
            }
            _ => Ok(Fetched { batches: self.load(&partition, &planned)?, end }),
        }
    }

    /// The visible end, and the frames to read where memory knows them.
    fn plan_newest(
        &self,
        partition: &Partition,
        offset: u64,
        max_bytes: usize,
    ) -> Result<(u64, Option<Vec<Planned>>), LogError> {
        let tail = read(&self.tail);
        let shown = partition.shown();
        let end = shown.end;
        if offset > end {
            let partition = partition.name.clone();
            return Err(LogError::OutOfRange { partition, offset, earliest: 0, end });
        }
        if offset == end {
            return Ok((end, Some(Vec::new())));
        }
        if shown.entries.front().is_none_or(|first| first.offset > offset) {
            return Ok((end, None));
        }
        let next = |entry: &Entry| entry.offset + u64::from(entry.count);
        let from = shown.entries.partition_point(|entry| next(entry) <= offset);
        let mut bytes = 0_usize;
        let mut expected = None;
        let mut planned = Vec::new();
        for entry in shown.entries.range(from..) {
            bytes = bytes.saturating_add(entry.length as usize);
            let is_hole = expected.is_some_and(|expected| expected != entry.offset);
            if !planned.is_empty() && (bytes > max_bytes || is_hole) {
                break;
            }
            expected = Some(next(entry));
            planned.push((*entry, tail.get(entry.position, HEADER + entry.length as usize)));
        }
        Ok((end, Some(planned)))
    }

    /// The frames to read by the index of the sealed segment that holds `offset`, or of the first
    /// after it with records of the partition.
    fn plan_sealed(
        &self,
        partition: &Partition,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Vec<Planned>, LogError> {
        let segments = read(&self.segments).clone();
        // Ends only rise from segment to segment, so that the right one is found by halving.
        let (mut low, mut high) = (0, segments.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let holds = match segments.get(middle) {
                Some(segment) => match self.index_of(segment)? {
                    Some(index) => index.end_of(partition.id) > offset,
                    None => true,
                },
                None => true,
            };
            if holds { high = middle } else { low = middle + 1 }
        }
        for segment in segments.iter().skip(low) {
            let Some(index) = self.index_of(segment)? else { break };
            let entries = index.from(partition.id, offset, max_bytes, segment.start);
            if !entries.is_empty() {
                return Ok(until_hole(entries).map(|entry| (entry, None)).collect());
            }
        }
        // What no index holds is held by memory: it may have been sealed since it was asked.
        let (_, planned) = self.plan_newest(partition, offset, max_bytes)?;
        if planned.is_some() {
            return Ok(planned.unwrap_or_default());
        }
        let first = partition.shown().entries.front().copied();
        Ok(first.map(|entry| (entry, None)).into_iter().collect())
    }

    fn index_of(&self, segment: &Segment) -> Result<Option<Arc<SegmentIndex>>, LogError> {
        index::cached(&self.indexes, &self.folder, segment.number)
    }

    /// The batches of these frames, up to the first that is damaged; an error where that is the
    /// first of all.
    fn load(
        &self,
        partition: &Partition,
        planned: &[Planned],
    ) -> Result<Vec<RecordBatch>, LogError> {
        let mut batches = Vec::with_capacity(planned.len());
        let mut rest = planned;
        while let Some(((first, at_hand), after)) = rest.split_first() {
            let loaded = match at_hand {
                // These bytes were checked before they were written, and have not left memory.
                Some(bytes) => {
                    rest = after;
                    RecordBatch::parse_trusted(bytes.slice(HEADER..)).map(|batch| vec![batch])
                }
                None => {
                    let run = run_length(rest, self.segment_at(first.position).end());
                    let (together, after) = rest.split_at_checked(run).unwrap_or((rest, &[]));
                    rest = after;
                    self.load_run(partition, together, first.position, &mut batches)
                }
            };
            match loaded {
                Ok(loaded) => batches.extend(loaded),
                Err(_) if !batches.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batches)
    }

    /// Reads frames that lie close together. Good ones before a bad one are put into `batches`.
    fn load_run(
        &self,
        partition: &Partition,
        together: &[Planned],
        from: u64,
        batches: &mut Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>, LogError> {
        let segment = self.segment_at(from);
        let to = together.last().map_or(from, |(entry, _)| end_of(entry));
        let mut buffer = vec![0; crate::codec::size(to - from)];
        let name = file_name(segment.number, "journal");
        let file = self.folder.segment(segment.number)?;
        let got = read_full(file.as_ref(), &mut buffer, from - segment.start)
            .map_err(|error| LogError::io("reading", &self.folder.path(&name), error))?;
        buffer.truncate(got);
        let buffer = Bytes::from(buffer);
        for (entry, _) in together {
            let at = crate::codec::size(entry.position - from);
            match self.check(partition, entry, &buffer, at) {
                Some(batch) => batches.push(batch),
                None => {
                    let at = entry.position - segment.start;
                    return Err(LogError::Damaged {
                        partition: partition.name.clone(),
                        offset: entry.offset,
                        next: entry.offset + u64::from(entry.count),
                        what: format!("{} at byte {at}", self.folder.path(&name).display()),
                    });
                }
            }
        }
        Ok(Vec::new())
    }

    /// The batch of the frame at `at`, where all of it is as the index and its checksums say.
    fn check(
        &self,
        partition: &Partition,
        entry: &Entry,
        buffer: &Bytes,
        at: usize,
    ) -> Option<RecordBatch> {
        let header = Header::parse(buffer.get(at..)?, self.salt)?;
        let is_it = header.kind == Kind::Batch
            && header.partition == partition.id
            && header.base == entry.offset
            && header.length == entry.length;
        let (from, to) = (at + HEADER, at + HEADER + header.length as usize);
        if !is_it || !header.matches(buffer.get(from..to)?) {
            return None;
        }
        RecordBatch::parse_trusted(buffer.slice(from..to)).ok()
    }

    fn segment_at(&self, position: u64) -> Segment {
        let segments = read(&self.segments);
        let after = segments.partition_point(|segment| segment.start <= position);
        let none = Segment { number: 0, start: 0, length: 0 };
        after.checked_sub(1).and_then(|at| segments.get(at)).copied().unwrap_or(none)
    }
}

fn end_of(entry: &Entry) -> u64 {
    entry.position + frame::span(entry.length as usize) as u64
}

/// The entries up to where offsets are missing between them.
fn until_hole(entries: Vec<Entry>) -> impl Iterator<Item = Entry> {
    let mut expected = None;
    entries.into_iter().take_while(move |entry| {
        let is_next = expected.is_none_or(|expected| expected == entry.offset);
        expected = Some(entry.offset + u64::from(entry.count));
        is_next
    })
}

/// How many of the first frames lie close together, and in one file, to be read at once.
fn run_length(planned: &[Planned], segment_end: u64) -> usize {
    let mut end = None;
    planned
        .iter()
        .take_while(|(entry, at_hand)| {
            let is_near = end
                .is_none_or(|end| entry.position >= end && entry.position - end <= GAP)
                && entry.position < segment_end;
            end = Some(end_of(entry));
            is_near && at_hand.is_none()
        })
        .count()
}
