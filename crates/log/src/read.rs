//! Reading: which frames hold what was asked for, and their bytes, checked.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::frame::HEADER;
use crate::partition::{Partition, Shown, Stretch};
use crate::segment::{Segment, file_name, read_full};
use crate::settle::segment_at;
use crate::settled::{self, Class, Held, Settled, SettledFile, SettledIndex};
use crate::shared::Shared;
use crate::sync::{lock, read};
use crate::walk::{Met, Walk};
use crate::{Damage, LogError, RecordBatch, TopicPartition};

/// One read of a file brings no more than this.
const MOST_AT_ONCE: u64 = 4 << 20;

/// What a read gave.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whole batches, in order; the first holds the offset that was asked for, or is the first after
    /// it that a compaction left. Empty at the end.
    pub batches: Vec<RecordBatch>,
    /// The offset to go on from.
    pub next: u64,
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

/// Where frames lie.
#[derive(Clone, Debug)]
enum Source {
    /// In memory: pieces of whole frames.
    Memory(Vec<Bytes>),
    Journal,
    Settled(SettledFile),
}

/// What is to be read.
#[derive(Debug)]
struct Plan {
    stretches: Vec<(Stretch, Source)>,
    end: u64,
}

/// The files at one moment. What was planned with them may be gone when it is read; then they are
/// others by now.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    segments: Arc<Vec<Segment>>,
    pub(crate) settled: Arc<Settled>,
}

impl Fetched {
    /// Whether records from `offset` on are not in it, as a compaction removed them or nobody knows.
    fn skips(&self, offset: u64) -> bool {
        let first = self.batches.first().map_or(self.next, RecordBatch::base_offset);
        first > offset
    }
}

impl Files {
    pub(crate) fn are_those_of(&self, shared: &Shared) -> bool {
        Arc::ptr_eq(&self.segments, &read(&shared.segments))
            && Arc::ptr_eq(&self.settled, &read(&shared.settled))
    }
}

impl Shared {
    pub(crate) fn bounds(&self, name: &TopicPartition) -> Result<Bounds, LogError> {
        let _visible = read(&self.tail);
        let partition = Arc::clone(read(&self.topics).find(name)?);
        let shown = partition.shown();
        Ok(Bounds { earliest: shown.earliest, end: shown.end })
    }

    pub(crate) fn read(
        &self,
        name: &TopicPartition,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Fetched, LogError> {
        let partition = Arc::clone(read(&self.topics).find(name)?);
        self.read_partition(&partition, offset, max_bytes)
    }

    pub(crate) fn read_partition(
        &self,
        partition: &Partition,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Fetched, LogError> {
        loop {
            let files = self.files();
            let result = self.plan(&files, partition, offset, max_bytes).and_then(|plan| {
                let batches = self.load(&files, partition, offset, max_bytes, &plan)?;
                let next = match batches.last() {
                    Some(last) => last.next_offset(),
                    // A compaction removed all that there was.
                    None => plan.stretches.last().map_or(plan.end, |(stretch, _)| stretch.next),
                };
                Ok(Fetched { batches, next, end: plan.end })
            });
            let is_doubtful = match &result {
                Ok(fetched) => fetched.skips(offset),
                Err(LogError::Damaged { .. } | LogError::Io { .. }) => {
                    check_still_there(partition, offset)?;
                    true
                }
                Err(_) => false,
            };
            // What was settled meanwhile is missed in the files that there were before.
            if !is_doubtful || files.are_those_of(self) {
                return result;
            }
        }
    }

    pub(crate) fn files(&self) -> Files {
        let segments = Arc::clone(&read(&self.segments));
        let settled = Arc::clone(&read(&self.settled));
        Files { segments, settled }
    }

    fn plan(
        &self,
        files: &Files,
        partition: &Partition,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Plan, LogError> {
        let (end, first_in_journal) = {
            let tail = read(&self.tail);
            let shown = partition.shown();
            check_range(partition, &shown, offset)?;
            let end = shown.end;
            let first = shown.stretches.front().map_or(end, |first| first.offset);
            if offset >= first {
                let found = newest(&shown, offset, max_bytes);
                let next = found.first().map_or(end, |first| first.offset);
                // No compaction removes anything from the journal.
                if next > offset {
                    return Err(missing(partition, offset, next));
                }
                let place = |stretch: Stretch| {
                    let pieces = tail.get(stretch.position, stretch.end());
                    (stretch, pieces.map_or(Source::Journal, Source::Memory))
                };
                return Ok(Plan { stretches: found.into_iter().map(place).collect(), end });
            }
            (end, first)
        };
        let mut stretches = self.plan_settled(&files.settled, partition, offset, max_bytes)?;
        let has_gaps = || self.may_have_gaps(&files.settled, partition);
        if stretches.is_empty() && has_gaps()? {
            // Everything that was settled from here on is gone.
            let settled_end = self.settled_end(&files.settled, partition.id)?.max(offset);
            if settled_end < first_in_journal {
                return Err(missing(partition, settled_end, first_in_journal));
            }
            let shown = partition.shown();
            let found = newest(&shown, first_in_journal, max_bytes);
            stretches.extend(found.into_iter().map(|stretch| (stretch, Source::Journal)));
        }
        let missing_to = stretches.first().map_or(first_in_journal, |(first, _)| first.offset);
        if missing_to > offset && !has_gaps()? {
            return Err(missing(partition, offset, missing_to));
        }
        Ok(Plan { stretches, end })
    }

    /// Whether offsets may be missing without damage: the topic is compacted, or was when some of its
    /// records were settled.
    fn may_have_gaps(&self, settled: &Settled, partition: &Partition) -> Result<bool, LogError> {
        if !partition.is_compacted()
            && let Some(last) = settled.files(Class::Compact).last()
            && self.index_of(settled, last)?.end_of(partition.id) > 0
        {
            partition.set_compacted();
        }
        Ok(partition.is_compacted())
    }

    /// The blocks that hold `offset` and what follows, or the first after it, in settled files.
    fn plan_settled(
        &self,
        settled: &Settled,
        partition: &Partition,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Vec<(Stretch, Source)>, LogError> {
        let mut best: Vec<(Stretch, Source)> = Vec::new();
        for class in [Class::Plain, Class::Compact] {
            let Some((held, found)) =
                self.blocks_from(settled, class, partition.id, offset, max_bytes)?
            else {
                continue;
            };
            let is_earlier = match (found.first(), best.first()) {
                (Some(found), Some((best, _))) => found.offset < best.offset,
                (found, _) => found.is_some(),
            };
            if is_earlier {
                let source = Source::Settled(held.file);
                best = found.into_iter().map(|stretch| (stretch, source.clone())).collect();
            }
        }
        Ok(best)
    }

    /// The offset after the last of a partition that was ever settled.
    pub(crate) fn settled_end(&self, settled: &Settled, partition: u32) -> Result<u64, LogError> {
        let mut end = 0;
        for class in [Class::Plain, Class::Compact] {
            if let Some(last) = settled.files(class).last() {
                end = end.max(self.index_of(settled, last)?.end_of(partition));
            }
        }
        Ok(end)
    }

    /// The blocks that hold `offset` and what follows in the first file of a class that has some. A
    /// file of which a compaction removed all records of the partition still tells their end.
    pub(crate) fn blocks_from<'a>(
        &self,
        settled: &'a Settled,
        class: Class,
        partition: u32,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<(&'a Held, Vec<Stretch>)>, LogError> {
        let mut from = offset;
        while let Some((held, index)) = self.file_of(settled, class, partition, from)? {
            let found = index.locate(partition, offset, max_bytes);
            if !found.is_empty() {
                return Ok(Some((held, found)));
            }
            from = index.end_of(partition);
        }
        Ok(None)
    }

    /// The first file of a class with records of a partition from `offset` on. The ends only rise from
    /// file to file, so that it is found by halving.
    pub(crate) fn file_of<'a>(
        &self,
        settled: &'a Settled,
        class: Class,
        partition: u32,
        offset: u64,
    ) -> Result<Option<(&'a Held, Arc<SettledIndex>)>, LogError> {
        let files = settled.files(class);
        let (mut low, mut high) = (0, files.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let Some(held) = files.get(middle) else { break };
            if self.index_of(settled, held)?.end_of(partition) > offset {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let Some(held) = files.get(low) else { return Ok(None) };
        let index = self.index_of(settled, held)?;
        Ok((index.end_of(partition) > offset).then_some((held, index)))
    }

    /// The index of a settled file, from the cache or the file.
    pub(crate) fn index_of(
        &self,
        settled: &Settled,
        held: &Held,
    ) -> Result<Arc<SettledIndex>, LogError> {
        let number = held.file.number;
        if let Some(found) = lock(&self.indexes).get(number) {
            return Ok(found);
        }
        let ends_before = || match settled.before(&held.file) {
            Some(before) => Ok(self.index_of(settled, before)?.ends().to_vec()),
            None => Ok(Vec::new()),
        };
        let loaded = settled::load(&self.folder, &held.file, self.salt, ends_before)?;
        self.note_damage(loaded.damage);
        let index = Arc::new(loaded.index);
        lock(&self.indexes).put(number, &index);
        Ok(index)
    }

    /// The batches of these frames, up to the first that is damaged; an error where that is the
    /// first of all.
    fn load(
        &self,
        files: &Files,
        partition: &Partition,
        offset: u64,
        max_bytes: usize,
        plan: &Plan,
    ) -> Result<Vec<RecordBatch>, LogError> {
        let mut batches =
            Batches { offset, left: max_bytes, found: Vec::new(), is_known_loss: false };
        let mut rest = plan.stretches.as_slice();
        while let Some((first, source)) = rest.first() {
            if batches.left == 0 && !batches.found.is_empty() {
                break;
            }
            let (count, loaded) = match source {
                Source::Memory(pieces) => {
                    let walked = pieces.iter().try_for_each(|piece| {
                        let walk = Walk::new(piece, self.salt, partition.id, 0, first.next);
                        batches.take(partition, walk.with_gaps(true).trusting())
                    });
                    (1, walked)
                }
                Source::Journal | Source::Settled(_) => {
                    let count = together(rest);
                    let run = rest.get(..count).unwrap_or_default();
                    (count, self.load_run(files, partition, run, source, &mut batches))
                }
            };
            rest = rest.get(count..).unwrap_or_default();
            match loaded {
                Err(_) if !batches.found.is_empty() => break,
                loaded => loaded?,
            }
        }
        apart(batches.found)
    }

    /// Reads stretches that lie one after another in one file.
    fn load_run(
        &self,
        files: &Files,
        partition: &Partition,
        run: &[(Stretch, Source)],
        source: &Source,
        batches: &mut Batches,
    ) -> Result<(), LogError> {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { return Ok(()) };
        let bytes = match source {
            Source::Settled(file) => self.read_settled(file, first.position, last.end())?,
            _ => match segment_at(&files.segments, first.position) {
                Some(segment) => self.read_journal(segment, first.position, last.end())?,
                None => Bytes::new(),
            },
        };
        let is_compact = matches!(source, Source::Settled(file) if file.class == Class::Compact);
        let walk = Walk::new(&bytes, self.salt, partition.id, first.offset, last.next);
        let is_whole = bytes.len() as u64 == last.end() - first.position;
        let taken = batches.take(partition, walk.with_gaps(is_compact && is_whole));
        taken.map_err(|error| {
            let (error, found) = self.placed(files, source, (first, last), error);
            let is_new = !batches.is_known_loss && files.are_those_of(self);
            if is_new && check_still_there(partition, batches.offset).is_ok() {
                self.note_damage(found.into_iter().collect());
            }
            error
        })
    }

    /// Says of damage where it lies. It may be only that others have settled or removed meanwhile what
    /// lay there.
    fn placed(
        &self,
        files: &Files,
        source: &Source,
        (first, last): (&Stretch, &Stretch),
        error: LogError,
    ) -> (LogError, Option<Damage>) {
        let LogError::Damaged { partition, offset, next, what } = error else {
            return (error, None);
        };
        let (file, start) = match (source, segment_at(&files.segments, first.position)) {
            (Source::Settled(file), _) => (file.name(), 0),
            (_, Some(segment)) => (file_name(segment.number, "journal"), segment.start),
            (_, None) => return (LogError::Damaged { partition, offset, next, what }, None),
        };
        let file = self.folder.path(&file);
        let position = first.position.saturating_sub(start);
        let length = last.end().saturating_sub(first.position);
        let end = position.saturating_add(length);
        let placed = format!("{}, bytes {position} to {end}: {what}", file.display());
        let what = format!("{partition}, offsets {offset} to below {next}");
        let damage = Damage { file, position, length, what };
        (LogError::Damaged { partition, offset, next, what: placed }, Some(damage))
    }

    pub(crate) fn read_settled(
        &self,
        file: &SettledFile,
        from: u64,
        to: u64,
    ) -> Result<Bytes, LogError> {
        let path = self.folder.path(&file.name());
        let handle = self.folder.settled(file.number)?;
        let mut buffer = self.buffers.take(crate::codec::size(to.saturating_sub(from)));
        let read = read_full(handle.as_ref(), buffer.as_mut(), from);
        let read = read.map_err(|error| LogError::io("reading", &path, error))?;
        Ok(buffer.freeze(read))
    }
}

/// The batches that are found from an offset on.
struct Batches {
    offset: u64,
    /// How many bytes more are wanted.
    left: usize,
    found: Vec<RecordBatch>,
    /// Whether a good frame says of what could not be read that it is lost.
    is_known_loss: bool,
}

impl Batches {
    /// Takes what the walk meets, until there is enough; an error at the first damage.
    fn take(&mut self, partition: &Partition, mut walk: Walk<'_>) -> Result<(), LogError> {
        while let Some(met) = walk.next() {
            match met {
                Met::Batch { header, frame } => {
                    if header.base + u64::from(header.count) <= self.offset {
                        continue;
                    }
                    let length = header.length as usize;
                    if length > self.left && !self.found.is_empty() {
                        self.left = 0;
                        return Ok(());
                    }
                    self.left = self.left.saturating_sub(length);
                    let batch = RecordBatch::parse_trusted(frame.slice(HEADER..HEADER + length))?;
                    if batch.base_offset() != header.base || batch.next_offset() != header.next() {
                        let (partition, next) = (partition.name.clone(), header.next());
                        let what = "a batch tells other offsets than its frame".to_owned();
                        let offset = header.base.max(self.offset);
                        return Err(LogError::Damaged { partition, offset, next, what });
                    }
                    self.found.push(batch);
                }
                Met::Lost { to, .. } if to <= self.offset => {}
                Met::Lost { from, to, is_known, .. } => {
                    self.is_known_loss = is_known;
                    let offset = from.max(self.offset);
                    let partition = partition.name.clone();
                    let what = "bytes on the disk are not what was written".to_owned();
                    return Err(LogError::Damaged { partition, offset, next: to, what });
                }
            }
        }
        Ok(())
    }
}

/// Few bytes are copied: a slow reader that holds them would hold the memory of much more.
fn apart(batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, LogError> {
    const FEW: usize = 64 << 10;
    let total = batches.iter().map(|batch| batch.bytes().len()).sum::<usize>();
    if total > FEW {
        return Ok(batches);
    }
    let mut copied = BytesMut::with_capacity(total);
    batches.iter().for_each(|batch| copied.extend_from_slice(batch.bytes()));
    let mut copied = copied.freeze();
    let part =
        |batch: &RecordBatch| RecordBatch::parse_trusted(copied.split_to(batch.bytes().len()));
    batches.iter().map(part).collect()
}

fn missing(partition: &Partition, offset: u64, next: u64) -> LogError {
    let what = "its frames are missing from the log".to_owned();
    LogError::Damaged { partition: partition.name.clone(), offset, next, what }
}

/// What was deleted or has expired meanwhile is not damaged.
fn check_still_there(partition: &Partition, offset: u64) -> Result<(), LogError> {
    if partition.is_deleted() {
        return Err(LogError::Unknown { partition: partition.name.clone() });
    }
    check_range(partition, &partition.shown(), offset)
}

fn check_range(partition: &Partition, shown: &Shown, offset: u64) -> Result<(), LogError> {
    let (earliest, end) = (shown.earliest, shown.end);
    if offset < earliest || offset > end {
        let partition = partition.name.clone();
        return Err(LogError::OutOfRange { partition, offset, earliest, end });
    }
    Ok(())
}

/// The stretches of the journal that hold `offset` and what follows.
fn newest(shown: &Shown, offset: u64, max_bytes: usize) -> Vec<Stretch> {
    let from = shown.stretches.partition_point(|stretch| stretch.next <= offset);
    let mut bytes = 0_usize;
    let mut found: Vec<Stretch> = Vec::new();
    for stretch in shown.stretches.range(from..) {
        let is_hole = found.last().is_some_and(|last| last.next != stretch.offset);
        if !found.is_empty() && (bytes >= max_bytes || is_hole) {
            break;
        }
        bytes = bytes.saturating_add(stretch.bytes as usize);
        found.push(*stretch);
    }
    found
}

/// How many of the first stretches lie one after another in one file.
fn together(rest: &[(Stretch, Source)]) -> usize {
    let Some((first, source)) = rest.first() else { return 0 };
    let mut end = first.position;
    let follows = |(stretch, other): &&(Stretch, Source)| {
        let is_same = std::mem::discriminant(source) == std::mem::discriminant(other);
        let is_next = stretch.position == end;
        end = stretch.end();
        is_same
            && is_next
            && (end - first.position <= MOST_AT_ONCE || stretch.position == first.position)
    };
    rest.iter().take_while(follows).count()
}
