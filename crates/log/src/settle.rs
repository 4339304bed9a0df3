//! Settling: full files of the journal are sorted by partition into settled files, so that each
//! partition reads in long runs, and go back to the journal.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::batch::MAX_TIMESTAMP_AT;
use crate::frame::{self, HEADER, Header, Kind};
use crate::partition::{Partition, Stretch};
use crate::producers::Producers;
use crate::sabotage::Sabotage;
use crate::segment::{Segment, file_name, read_full};
use crate::settled::{Class, Settled, SettledFile, SettledWriter};
use crate::shared::Shared;
use crate::state::{self, State};
use crate::sync::atomic::Ordering;
use crate::sync::{lock, read, try_lock, wait_timeout, write};
use crate::walk::{Met, Walk};
use crate::{Damage, LogError};

/// How soon an append that waits for a settling looks again, whoever tells it of one.
const LOOK: Duration = Duration::from_millis(20);
/// What lies together is read together, up to this many bytes.
const PIECE: u64 = 1 << 20;

impl Shared {
    /// Appends wait here when the journal holds more that is not settled than it may.
    pub(crate) fn wait_for_settling(&self) -> Result<(), LogError> {
        while self.sealed_bytes() > self.options.max_unsettled_bytes {
            match try_lock(&self.settling) {
                Some(_settling) => {
                    self.check_holds_folder()?;
                    self.settle_held(true)?;
                }
                // Whoever is at it settles, or merges and settles meanwhile, and tells of it.
                None => {
                    drop(wait_timeout(&self.house_changed, &self.house, lock(&self.house), LOOK))
                }
            }
        }
        Ok(())
    }

    /// The bytes of full files of the journal that are not settled.
    pub(crate) fn sealed_bytes(&self) -> u64 {
        let segments = read(&self.segments);
        let sealed = segments.len().saturating_sub(1);
        segments.iter().take(sealed).map(|segment| segment.length).sum()
    }

    /// Settles the oldest full files of the journal, where they are enough to be worth it or
    /// `is_forced`; `false` where there was nothing to do.
    pub(crate) fn settle_step(&self, is_forced: bool) -> Result<bool, LogError> {
        let _settling = self.begin_settling()?;
        self.settle_held(is_forced)
    }

    /// As [`Shared::settle_step`], for who has begun it.
    pub(crate) fn settle_held(&self, is_forced: bool) -> Result<bool, LogError> {
        let sealed = self.sealed_bytes();
        if sealed == 0 || (sealed < self.options.settle_bytes && !is_forced) {
            return Ok(false);
        }
        let segments = Arc::clone(&read(&self.segments));
        let mut bytes = 0;
        let count = segments.len() - 1;
        let chosen = segments.iter().take(count).take_while(|segment| {
            let has_room = bytes < self.options.settle_bytes;
            bytes += segment.length;
            has_room
        });
        let chosen = chosen.count();
        let Some((old, rest)) = segments.split_at_checked(chosen) else { return Ok(false) };
        let Some(first) = rest.first() else { return Ok(false) };
        let mut files = Vec::new();
        let sorted = self.sort(old, first.start, &mut files);
        sorted.inspect_err(|_| self.drop_unlisted(&files))?;
        let settled = read(&self.settled).with(&files);
        self.install(settled, first, &files)?;
        self.leave(old, rest, first.start);
        Ok(true)
    }

    /// Writes what the segments hold, up to the position `to`, into one file for each class.
    fn sort(
        &self,
        segments: &[Segment],
        to: u64,
        files: &mut Vec<SettledFile>,
    ) -> Result<(), LogError> {
        let partitions = read(&self.topics).partitions();
        let compact = self.compact_partitions();
        for class in [Class::Plain, Class::Compact] {
            let mut writer = None;
            let of_class = partitions
                .iter()
                .filter(|it| (class == Class::Compact) == compact.contains(&it.id));
            for partition in of_class {
                let (earliest, stretches) = {
                    let shown = partition.shown();
                    let old = shown.stretches.iter().take_while(|stretch| stretch.position < to);
                    let alive = old.filter(|stretch| stretch.next > shown.earliest);
                    (shown.earliest, alive.copied().collect::<Vec<_>>())
                };
                if stretches.is_empty() {
                    continue;
                }
                let writer = match &mut writer {
                    Some(writer) => writer,
                    none => none.insert(self.begin_settled(class)?),
                };
                self.copy(segments, partition, earliest, &stretches, writer)?;
            }
            if let Some(writer) = writer.filter(|writer| writer.frame_bytes() > 0) {
                files.push(writer.finish()?);
            }
        }
        Ok(())
    }

    /// Begins a settled file after all others of its class.
    fn begin_settled(&self, class: Class) -> Result<SettledWriter, LogError> {
        let settled = Arc::clone(&read(&self.settled));
        let ends = match settled.files(class).last() {
            Some(last) => self.index_of(&settled, last)?.ends().to_vec(),
            None => Vec::new(),
        };
        SettledWriter::create(&self.folder, self.next_settled(), class, self.salt, ends)
    }

    /// The number of a settled file. None is given twice, lest a file be replaced that a state names
    /// which may be on the disk or not.
    pub(crate) fn next_settled(&self) -> u64 {
        self.next_settled.fetch_add(1, Ordering::Relaxed)
    }

    /// The ids of the partitions whose topics are compacted.
    pub(crate) fn compact_partitions(&self) -> std::collections::HashSet<u32> {
        let topics = read(&self.topics);
        let compact = topics.all().filter(|topic| topic.record.config.compact);
        compact.flat_map(|topic| topic.partitions.iter().map(|partition| partition.id)).collect()
    }

    fn copy(
        &self,
        segments: &[Segment],
        partition: &Partition,
        earliest: u64,
        stretches: &[Stretch],
        writer: &mut SettledWriter,
    ) -> Result<(), LogError> {
        let mut rest = stretches;
        let settled = Arc::clone(&read(&self.settled));
        let mut next = self.settled_end(&settled, partition.id)?.max(earliest);
        while let Some(first) = rest.first() {
            let Some(segment) = segment_at(segments, first.position) else { break };
            // No frame tells of them any more, and no compaction has removed them.
            self.push_lost(writer, partition.id, next, first.offset, 0, first.max_timestamp)?;
            let mut end = first.position;
            let together = rest.iter().take_while(|stretch| {
                let follows = stretch.position == end && stretch.position < segment.end();
                let fits = stretch.end() - first.position <= PIECE || end == first.position;
                end = stretch.end();
                follows && fits
            });
            let (together, after) = rest.split_at_checked(together.count()).unwrap_or((rest, &[]));
            rest = after;
            next = together.last().map_or(next, |last| last.next);
            self.copy_run(segment, partition, earliest, together, writer)?;
        }
        Ok(())
    }

    /// Copies stretches that lie one after another in one segment.
    fn copy_run(
        &self,
        segment: &Segment,
        partition: &Partition,
        earliest: u64,
        together: &[Stretch],
        writer: &mut SettledWriter,
    ) -> Result<(), LogError> {
        let (Some(first), Some(last)) = (together.first(), together.last()) else { return Ok(()) };
        let bytes = self.read_journal(segment, first.position, last.end())?;
        let latest = together.iter().map(|stretch| stretch.max_timestamp).max().unwrap_or(0);
        let mut walk = Walk::new(&bytes, self.salt, partition.id, first.offset, last.next);
        while let Some(met) = walk.next() {
            match met {
                Met::Batch { header, frame }
                    if header.base + u64::from(header.count) > earliest =>
                {
                    writer.push(&header, &frame, timestamp_of(&frame, latest))?;
                }
                Met::Batch { .. } => {}
                Met::Lost { from, to, sequence, .. } => {
                    // Its bytes are gone for good when the file is used again.
                    let file = self.folder.path(&file_name(segment.number, "journal"));
                    let position = first.position - segment.start;
                    let length = last.end() - first.position;
                    let what = format!("{}, offsets {from} to below {to}", partition.name);
                    self.note_damage(vec![Damage { file, position, length, what }]);
                    self.push_lost(writer, partition.id, from.max(earliest), to, sequence, latest)?;
                }
            }
        }
        Ok(())
    }

    /// Notes in the settled file that offsets were lost, as they were found damaged.
    pub(crate) fn push_lost(
        &self,
        writer: &mut SettledWriter,
        partition: u32,
        mut from: u64,
        to: u64,
        sequence: u64,
        timestamp: i64,
    ) -> Result<(), LogError> {
        while from < to {
            let count = u32::try_from(to - from).unwrap_or(u32::MAX);
            let header =
                Header { base: from, partition, count, sequence, ..Header::plain(Kind::Lost) };
            let mut frame = BytesMut::new();
            frame::push(&mut frame, header, &[], self.salt);
            writer.push(&header, &frame, timestamp)?;
            from += u64::from(count);
        }
        Ok(())
    }

    /// The bytes of the journal between two positions in one segment; fewer where the file ends.
    pub(crate) fn read_journal(
        &self,
        segment: &Segment,
        from: u64,
        to: u64,
    ) -> Result<Bytes, LogError> {
        let file = self.folder.segment(segment.number)?;
        let mut buffer = self.buffers.take(crate::codec::size(to.saturating_sub(from)));
        let read = read_full(file.as_ref(), buffer.as_mut(), from - segment.start);
        let path = self.folder.path(&file_name(segment.number, "journal"));
        let read = read.map_err(|error| LogError::io("reading", &path, error))?;
        Ok(buffer.freeze(read))
    }

    /// Makes durable that these are the settled files, and that the journal begins at `first`; then
    /// lets readers see it. After an error the `new` ones among them are gone where no state names them;
    /// where one may be on the disk that does, all files of the old state and of the new one stay, and
    /// the next state decides.
    pub(crate) fn install(
        &self,
        settled: Settled,
        first: &Segment,
        new: &[SettledFile],
    ) -> Result<(), LogError> {
        // Whatever has a lower sequence is shown by now.
        let sequence = lock(&self.journal).next_sequence;
        let state = self.state(&settled, first, sequence);
        // The state may tell of what is written and not synced yet.
        let synced = self.sync_journal(&mut lock(&self.journal));
        synced.inspect_err(|_| self.drop_unlisted(new))?;
        // A number is never given to two states, whatever becomes of the first.
        let number = {
            let mut house = lock(&self.house);
            house.state_number += 1;
            house.state_number
        };
        if !Sabotage::JournalUsedTooSoon.is_on() {
            state::store(&self.folder, number, &state).map_err(|not_stored| {
                if !not_stored.may_be_found {
                    self.drop_unlisted(new);
                }
                not_stored.error
            })?;
        }
        *write(&self.settled) = Arc::new(settled);
        state::clean(&self.folder, number, &state);
        Ok(())
    }

    /// Removes settled files that no state names. The error to tell is the one before.
    fn drop_unlisted(&self, files: &[SettledFile]) {
        files.iter().for_each(|file| drop(self.folder.remove(&file.name())));
    }

    /// As [`Shared::install`], where the journal stays as it is.
    pub(crate) fn install_settled(
        &self,
        settled: Settled,
        new: Option<&SettledFile>,
    ) -> Result<(), LogError> {
        let first = read(&self.segments).first().copied();
        first.map_or(Ok(()), |first| self.install(settled, &first, new.map_or(&[], from_ref)))
    }

    /// All that the log knows now.
    fn state(&self, settled: &Settled, first: &Segment, sequence: u64) -> State {
        let topics = read(&self.topics);
        let mut bounds = topics.bounds();
        if Sabotage::EndsForgotten.is_on() {
            bounds.iter_mut().for_each(|(_, earliest, end)| *end = *earliest);
        }
        State {
            salt: self.salt,
            epoch: self.epoch,
            first_segment: first.number,
            first_sequence: first.first_sequence,
            sequence,
            next_partition: topics.next_id(),
            next_settled: self.next_settled.load(Ordering::Relaxed),
            topics: topics.all().map(|topic| topic.record.clone()).collect(),
            bounds,
            positions: read(&self.groups).positions(),
            notes: read(&self.notes).all(),
            producers: match Sabotage::ProducersForgotten.is_on() {
                true => Producers::new(self.options.max_producers),
                false => read(&self.producers).clone(),
            },
            settled: settled.all().map(|held| held.file).collect(),
        }
    }

    /// The journal goes on without its first segments: what lies before `to` is settled.
    fn leave(&self, old: &[Segment], rest: &[Segment], to: u64) {
        for partition in read(&self.topics).partitions() {
            let mut shown = partition.shown();
            while shown.stretches.front().is_some_and(|stretch| stretch.position < to) {
                shown.stretches.pop_front();
            }
            // An idle partition keeps no memory for what it once held.
            let left = shown.stretches.len();
            if shown.stretches.capacity() > 4 * left + 8 {
                shown.stretches.shrink_to(2 * left);
            }
        }
        let mut segments = write(&self.segments);
        // The journal may have gone on meanwhile.
        let from = segments.iter().position(|it| Some(it) == rest.first()).unwrap_or(0);
        *segments = Arc::new(segments.get(from..).unwrap_or_default().to_vec());
        drop(segments);
        lock(&self.house).free.extend(old.iter().map(|segment| (segment.number, segment.length)));
        self.house_changed.notify_all();
    }
}

/// The segment that holds this position of the journal.
pub(crate) fn segment_at(segments: &[Segment], position: u64) -> Option<&Segment> {
    let after = segments.partition_point(|segment| segment.start <= position);
    let segment = segments.get(after.checked_sub(1)?)?;
    (position < segment.end()).then_some(segment)
}

/// The timestamp by which a frame expires: that of its batch, or the latest there may be where the
/// batch has none, or one from the future.
pub(crate) fn timestamp_of(frame: &[u8], latest: i64) -> i64 {
    let at = HEADER + MAX_TIMESTAMP_AT;
    let bytes = frame.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    match bytes.map_or(-1, i64::from_be_bytes) {
        time if time < 0 => latest,
        time => time.min(latest),
    }
}
