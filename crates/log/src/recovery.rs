//! Recovery: what the journal holds is taken up, damage and a torn tail are found. Nothing is written.

use std::path::PathBuf;

use crate::batch::MAX_TIMESTAMP_AT;
use crate::codec::Cursor;
use crate::commit::MOST_STRETCH;
use crate::frame::{ALIGN, HEADER, Header, Kind};
use crate::groups::{Groups, Position};
use crate::journal::SENTINEL;
use crate::notes::Notes;
use crate::partition::Stretch;
use crate::producers::{Producers, Sequenced};
use crate::sabotage::Sabotage;
use crate::segment::{self, Folder, Segment, SegmentHeader, file_name};
use crate::state::State;
use crate::topics::{MAX_PARTITIONS, TopicRecord, Topics};
use crate::torn::{self, Torn};
use crate::{Cut, LogError, Note, RecordBatch};

/// So many records may hide in a byte of a batch, whatever compresses it: a block of Zstandard makes
/// 128 KiB of four bytes, and a record has seven at least.
const RECORDS_A_BYTE: u64 = (128 << 10) / 4 / 7 + 1;

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The tail that was cut: it was written, but never acked.
    pub cut: Vec<Cut>,
    /// What is damaged although it was durable once.
    pub damage: Vec<Damage>,
}

/// Bytes that were durable once and are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub position: u64,
    /// How many bytes.
    pub length: u64,
    /// What they held, as far as it is known.
    pub what: String,
}

/// The journal as it was found, up to its end.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    folder: &'a Folder,
    salt: u64,
    topics: Topics,
    groups: Groups,
    notes: Notes,
    producers: Producers,
    report: OpenReport,
    epoch: u32,
    /// Partitions with lower ids, where they are not there, were deleted.
    known_ids: u32,
    /// What frames of a lower sequence say was known when the state was written.
    known: u64,
    /// The first segment and the sequence of its first frame, as the state has them.
    first: (u64, u64),
    /// The sequence that the next frame should have.
    expected: u64,
    /// The highest sequence that was seen anywhere.
    highest: u64,
    /// Everything below this sequence was durable before the log was opened.
    synced: u64,
    /// Where the first frame lies that no later one proves to be durable.
    unproven: Option<(u64, usize)>,
    /// The frames of an append whose last frame has not come yet.
    group: Vec<(Header, usize, bool)>,
    /// Headers that could not be read: where in the journal, and how many bytes.
    lost: Vec<(u64, u64)>,
    /// What is to be cut before the journal goes on.
    torn: Vec<Torn>,
    /// Files after the journal's end that were cut off, and may have held frames.
    broken: Vec<u64>,
    was_closed: bool,
    /// The length of the longest segment.
    longest: u64,
    /// The time now, in milliseconds.
    now: i64,
}

/// What was found in the journal, up to its end.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) salt: u64,
    pub(crate) topics: Topics,
    pub(crate) groups: Groups,
    pub(crate) notes: Notes,
    pub(crate) producers: Producers,
    pub(crate) report: OpenReport,
    pub(crate) epoch: u32,
    /// The sequence that the next frame would have.
    pub(crate) expected: u64,
    /// The highest sequence that was seen anywhere.
    pub(crate) highest: u64,
    /// Where the first frame lies that no later one proves to be durable.
    pub(crate) unproven: Option<(u64, usize)>,
    /// What is to be cut before the journal goes on.
    pub(crate) torn: Vec<Torn>,
    /// Files after the journal's end that were cut off, and may have held frames.
    pub(crate) broken: Vec<u64>,
    /// Whether offsets may have been lost that the state does not tell of.
    pub(crate) has_losses: bool,
    /// The first segment and the sequence of its first frame, as the state has them.
    pub(crate) first: (u64, u64),
    pub(crate) end: End,
}

/// Where the journal goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// The place of the last segment in the list.
    pub(crate) segment: usize,
    /// The first free byte in its file.
    pub(crate) at: usize,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(folder: &'a Folder, state: State, report: OpenReport, now: i64) -> Self {
        let mut topics = Topics::new(state.salt, state.next_partition);
        state.topics.into_iter().for_each(|record| drop(topics.put(record)));
        for (id, earliest, end) in state.bounds {
            topics.by_id(id).into_iter().for_each(|partition| partition.recover(earliest, end));
        }
        let mut groups = Groups::default();
        state.positions.into_iter().for_each(|position| groups.set(position));
        let mut notes = Notes::default();
        state.notes.into_iter().for_each(|note| notes.set(note));
        Self {
            folder,
            salt: state.salt,
            topics,
            groups,
            notes,
            producers: state.producers,
            report,
            epoch: state.epoch,
            known_ids: state.next_partition,
            known: state.sequence,
            first: (state.first_segment, state.first_sequence),
            expected: state.first_sequence,
            highest: state.first_sequence,
            synced: state.first_sequence,
            unproven: None,
            group: Vec::new(),
            lost: Vec::new(),
            torn: Vec::new(),
            broken: Vec::new(),
            was_closed: false,
            longest: 0,
            now,
        }
    }

    /// Takes up the frames of `segments`, from the first on, until the journal ends.
    pub(crate) fn run(mut self, segments: &mut [Segment]) -> Result<Recovered, LogError> {
        let mut end = End { segment: 0, at: segment::HEADER as usize };
        self.longest = segments.iter().map(|segment| segment.length).max().unwrap_or(0);
        let (mut bytes, mut next) = (Vec::new(), Vec::new());
        self.read_into(segments.first(), &mut bytes)?;
        for place in 0..segments.len() {
            self.read_into(segments.get(place + 1), &mut next)?;
            let Some(segment) = segments.get_mut(place) else { break };
            segment.first_sequence = self.expected;
            let segment = *segment;
            self.check_segment_header(&segment, &bytes)?;
            let at = self.scan_segment(&segment, &bytes, &next);
            end = End { segment: place, at };
            let goes_on = self.goes_on(&next) || self.is_proven_by(segments, place + 2)?;
            self.check_end(&segment, &bytes, at, goes_on.then_some(&next))?;
            if !goes_on {
                self.drop_group(&mut end);
                self.note_torn(&segment, &bytes, end.at);
                for later in segments.iter().skip(place + 1) {
                    self.read_into(Some(later), &mut next)?;
                    self.note_torn_later(later, &next)?;
                }
                break;
            }
            std::mem::swap(&mut bytes, &mut next);
        }
        self.skip_lost();
        // A newer state does not know the topics any more that older frames commit offsets for.
        let topics = &self.topics;
        self.groups.keep_partitions(|id| topics.by_id(id).is_some());
        Ok(self.finish(end))
    }

    fn finish(self, end: End) -> Recovered {
        let Self { salt, topics, groups, notes, producers, report, epoch, .. } = self;
        let Self { expected, highest, unproven, torn, broken, lost, first, .. } = self;
        Recovered {
            salt,
            topics,
            groups,
            notes,
            producers,
            report,
            epoch,
            expected,
            highest,
            unproven,
            torn,
            broken,
            has_losses: !lost.is_empty(),
            first,
            end,
        }
    }

    fn read_into(&self, segment: Option<&Segment>, bytes: &mut Vec<u8>) -> Result<(), LogError> {
        let Some(segment) = segment else {
            bytes.clear();
            return Ok(());
        };
        let file = self.folder.segment(segment.number)?;
        bytes.resize(crate::codec::size(segment.length), 0);
        let read = segment::read_full(file.as_ref(), bytes, 0);
        let read = read.map_err(|error| LogError::io("reading", &self.path_of(segment), error))?;
        bytes.truncate(read);
        Ok(())
    }

    fn path_of(&self, segment: &Segment) -> PathBuf {
        self.folder.path(&file_name(segment.number, "journal"))
    }

    fn check_segment_header(&mut self, segment: &Segment, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.path_of(segment);
        let found = SegmentHeader::parse(bytes, &path)?;
        let is_good =
            found.is_some_and(|header| header.number == segment.number && header.salt == self.salt);
        let mut headers = good_headers(bytes, segment::HEADER as usize, self.salt);
        // The header was durable when a frame tells that one before it in the segment was.
        let first = headers.next().map(|(_, header)| header.sequence);
        let is_proven = first.is_some_and(|first| headers.any(|(_, header)| header.synced > first));
        if !is_good && is_proven {
            let what = "the segment's header; the frames after it are read nevertheless".to_owned();
            self.report.damage.push(Damage {
                file: path,
                position: 0,
                length: segment::HEADER,
                what,
            });
        }
        Ok(())
    }

    /// Takes up the frames of one segment; gives where they end.
    fn scan_segment(&mut self, segment: &Segment, bytes: &[u8], next: &[u8]) -> usize {
        let mut at = segment::HEADER as usize;
        loop {
            let header = bytes.get(at..).and_then(|rest| Header::parse(rest, self.salt));
            let fits = |header: &Header| at.saturating_add(header.span()) <= bytes.len();
            match header.filter(fits) {
                Some(header) if header.follows(self.expected) => {
                    let body = bytes.get(at + HEADER..at + HEADER + header.length as usize);
                    let is_good = body.is_some_and(|body| header.matches(body))
                        || Sabotage::BodiesUnchecked.is_on();
                    if !is_good && !self.is_proven(bytes, at + ALIGN, next) {
                        return at;
                    }
                    self.take(segment, bytes, header, at, is_good);
                    at += header.span();
                }
                _ if self.was_closed && self.is_clean(bytes, at) => return at,
                _ => {
                    if !self.is_proven(bytes, at, next) {
                        return at;
                    }
                    let Some(resume) = self.first_good(bytes, at) else { return at };
                    let header =
                        bytes.get(resume..).and_then(|rest| Header::parse(rest, self.salt));
                    let sequence = header.map_or(self.expected, |header| header.sequence);
                    self.skip_damage(segment, bytes, at, resume, sequence);
                    at = resume;
                }
            }
        }
    }

    /// Whether a frame at `from` or after it tells that the expected frame was durable.
    fn is_proven(&mut self, bytes: &[u8], from: usize, next: &[u8]) -> bool {
        let salt = self.salt;
        let expected = self.expected;
        let headers = good_headers(bytes, from, salt)
            .chain(good_headers(next, segment::HEADER as usize, salt).take(1))
            .map(|(_, header)| header);
        let mut proven = false;
        if Sabotage::DamageIsTail.is_on() {
            return false;
        }
        for header in headers {
            self.highest = self.highest.max(header.sequence);
            proven |= header.synced > expected && header.sequence > expected;
        }
        proven
    }

    /// The first good frame from `from` on that is later than the expected.
    fn first_good(&self, bytes: &[u8], from: usize) -> Option<usize> {
        good_headers(bytes, from, self.salt)
            .find(|(_, header)| header.sequence > self.expected)
            .map(|(at, _)| at)
    }

    /// Whether the journal goes on in the segment with these bytes.
    fn goes_on(&self, next: &[u8]) -> bool {
        good_headers(next, segment::HEADER as usize, self.salt).any(|(at, header)| {
            let is_first = at == segment::HEADER as usize && header.follows(self.expected);
            let body = next.get(at + HEADER..at + HEADER + header.length as usize);
            (is_first && body.is_some_and(|body| header.matches(body)))
                || (header.sequence > self.expected && header.synced > self.expected)
        })
    }

    /// Reports what is missing at the end of a segment: the file was cut off there, or what lies there
    /// is no frame though `next` goes on with a later one.
    fn check_end(
        &mut self,
        segment: &Segment,
        bytes: &[u8],
        at: usize,
        next: Option<&Vec<u8>>,
    ) -> Result<(), LogError> {
        let header = SegmentHeader::parse(bytes, &self.path_of(segment))?;
        let header = header.filter(|header| header.number == segment.number);
        let whole = header.map_or(segment::HEADER, |header| header.length);
        let whole = crate::codec::size(whole).max(at);
        let is_short = whole > bytes.len();
        let is_clean = self.is_clean(bytes, at);
        let resumed = next.and_then(|next| {
            let (_, first) = good_headers(next, segment::HEADER as usize, self.salt)
                .find(|(_, header)| header.sequence >= self.expected)?;
            (!first.follows(self.expected)).then_some(first.sequence)
        });
        let ends_there = bytes.len().saturating_sub(at) < SENTINEL;
        match resumed {
            Some(sequence) if is_short || !is_clean => {
                self.skip_damage(segment, bytes, at, whole.max(bytes.len()), sequence);
            }
            None if next.is_none()
                && is_short
                && (!is_clean || ends_there)
                && self.expected >= self.known =>
            {
                // What comes next has a higher sequence than all that there was.
                self.skip_damage(segment, bytes, at, whole, self.expected);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether nothing was begun after the frame that ends at `at`.
    fn is_clean(&self, bytes: &[u8], at: usize) -> bool {
        torn::is_untouched(bytes.get(at..).unwrap_or_default(), self.salt, self.expected)
    }

    /// Whether a segment from this place on tells that the expected frame was durable. One or more
    /// before it may have nothing left that is good.
    fn is_proven_by(&self, segments: &[Segment], from: usize) -> Result<bool, LogError> {
        let mut bytes = Vec::new();
        for segment in segments.iter().skip(from) {
            self.read_into(Some(segment), &mut bytes)?;
            let mut headers = good_headers(&bytes, segment::HEADER as usize, self.salt);
            if headers.any(|(_, it)| it.sequence > self.expected && it.synced > self.expected) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reports that frames are missing from `at` to `resume`, and goes on with this sequence.
    fn skip_damage(
        &mut self,
        segment: &Segment,
        bytes: &[u8],
        at: usize,
        resume: usize,
        sequence: u64,
    ) {
        self.take_group(segment, bytes);
        let length = (resume - at) as u64;
        // A file that was cut off may end before.
        let position = at.min(bytes.len());
        self.report.damage.push(Damage {
            file: self.path_of(segment),
            position: position as u64,
            length: (resume - position) as u64,
            what: match sequence > self.expected {
                true => format!("the frames of sequence {} to below {sequence}", self.expected),
                false => format!("the frames from sequence {} on", self.expected),
            },
        });
        // Where nothing lies between, a file was lost, which is taken to be as long as the longest.
        let bound = if length == 0 { self.longest } else { length };
        if self.expected >= self.known {
            self.lost.push((segment.start + at as u64, bound));
        }
        self.expected = sequence;
    }

    /// Takes up one frame, or keeps it until the last of its append has come.
    fn take(&mut self, segment: &Segment, bytes: &[u8], header: Header, at: usize, good: bool) {
        self.was_closed = header.kind == Kind::Close;
        self.highest = self.highest.max(header.sequence);
        self.epoch = self.epoch.max(header.epoch);
        if header.synced > self.synced || self.unproven.is_none() {
            self.synced = self.synced.max(header.synced);
            self.unproven = Some((segment.number, at));
        }
        self.expected = header.sequence + 1;
        self.group.push((header, at, good));
        if header.rest == 0 {
            self.take_group(segment, bytes);
        }
    }

    fn take_group(&mut self, segment: &Segment, bytes: &[u8]) {
        for (header, at, good) in std::mem::take(&mut self.group) {
            let body = bytes.get(at + HEADER..at + HEADER + header.length as usize);
            let applied = self.apply(segment, &header, body.unwrap_or_default(), at, good);
            if !good || applied.is_none() {
                let what = self.describe(&header);
                let (position, length) = (at as u64, header.span() as u64);
                let file = self.path_of(segment);
                self.report.damage.push(Damage { file, position, length, what });
            }
        }
    }

    /// `None` where the frame makes no sense.
    fn apply(
        &mut self,
        segment: &Segment,
        header: &Header,
        body: &[u8],
        at: usize,
        good: bool,
    ) -> Option<()> {
        match header.kind {
            Kind::Batch => return self.apply_batch(segment, header, body, at, good),
            _ if header.sequence < self.known => {}
            Kind::Offsets if good => {
                let positions = Position::decode_all(body)?;
                positions.into_iter().for_each(|position| self.groups.set(position));
            }
            Kind::Notes if good => {
                Note::decode_all(body)?.into_iter().for_each(|note| self.notes.set(note));
            }
            Kind::Created if good => {
                self.put_topic(TopicRecord::decode_v1(&mut Cursor::new(body))?)?;
            }
            Kind::Topic if good => {
                self.put_topic(TopicRecord::decode(&mut Cursor::new(body))?)?;
            }
            Kind::Deleted if good => {
                let gone = self.topics.remove(Cursor::new(body).text()?);
                let ids: Vec<_> = gone.iter().map(|partition| partition.id).collect();
                self.groups.forget_partitions(&ids);
                ids.iter().for_each(|id| self.producers.forget_partition(*id));
            }
            Kind::Trim => {
                let partition = self.topics.by_id(header.partition);
                partition.into_iter().for_each(|it| it.recover(header.base, header.base));
            }
            Kind::Offsets
            | Kind::Notes
            | Kind::Created
            | Kind::Topic
            | Kind::Deleted
            | Kind::Mark
            | Kind::Open
            | Kind::Close
            | Kind::Lost => {}
        }
        Some(())
    }

    /// `None` where the log would have more partitions than it may.
    fn put_topic(&mut self, record: TopicRecord) -> Option<()> {
        let more = record.count() as usize;
        let all = self.topics.count().checked_add(more)?;
        let had = self.topics.topic(&record.name).map_or(0, |topic| topic.partitions.len());
        (all.saturating_sub(had) <= MAX_PARTITIONS as usize).then_some(())?;
        self.topics.put(record);
        Some(())
    }

    fn apply_batch(
        &mut self,
        segment: &Segment,
        header: &Header,
        body: &[u8],
        at: usize,
        good: bool,
    ) -> Option<()> {
        // Both tell how many offsets it takes, and one writer has written them.
        if good && RecordBatch::header_of(body)?.offset_count() != header.count {
            return None;
        }
        let next = header.base.checked_add(u64::from(header.count))?;
        let Some(partition) = self.topics.by_id(header.partition) else {
            self.topics.skip_id(header.partition);
            // A topic that was deleted leaves batches behind.
            return (header.partition < self.known_ids).then_some(());
        };
        let mut shown = partition.shown();
        let before = shown.stretches.back().map_or(self.now, |last| last.max_timestamp);
        let max_timestamp = if good { newest_of(body, self.now) } else { before };
        let end = shown.end;
        let stretch = Stretch {
            offset: header.base,
            next,
            position: segment.start + at as u64,
            bytes: u32::try_from(header.span()).unwrap_or(u32::MAX),
            max_timestamp,
        };
        shown.push(stretch, MOST_STRETCH);
        // The state may know of a later end.
        shown.end = end.max(next);
        let end = shown.end;
        drop(shown);
        partition.set_next(end);
        if good
            && header.sequence >= self.known
            && let Some(sequenced) = sequenced_of(body)
        {
            let now = u64::try_from(max_timestamp).unwrap_or(0);
            self.producers.note(header.partition, &sequenced, header.base, next, now);
        }
        Some(())
    }

    fn describe(&self, header: &Header) -> String {
        let sequence = header.sequence;
        match (header.kind, self.topics.by_id(header.partition)) {
            (Kind::Batch, Some(partition)) => format!(
                "{}, offsets {} to below {} (sequence {sequence})",
                partition.name,
                header.base,
                header.base.saturating_add(u64::from(header.count))
            ),
            (Kind::Batch, None) => format!(
                "offsets {} to below {} of partition id {}, whose topic is not known (sequence \
                 {sequence})",
                header.base,
                header.base.saturating_add(u64::from(header.count)),
                header.partition
            ),
            (Kind::Offsets, _) => format!("committed offsets of groups (sequence {sequence})"),
            (Kind::Topic | Kind::Created, _) => format!("a topic (sequence {sequence})"),
            (kind, _) => format!("a frame of kind {kind:?} (sequence {sequence})"),
        }
    }

    /// An append whose last frames never came is none.
    fn drop_group(&mut self, end: &mut End) {
        if let Some((first, at, _)) = self.group.first() {
            end.at = *at;
            self.expected = first.sequence;
        }
        self.group.clear();
    }

    /// Notes what was begun after the journal's end, which is to be cut. What lies there from an
    /// earlier use of the file stays.
    fn note_torn(&mut self, segment: &Segment, bytes: &[u8], at: usize) {
        let newest = self.newest_after(bytes, at);
        let rest = bytes.get(at..).unwrap_or_default();
        let is_clean = torn::is_untouched(rest, self.salt, self.expected);
        let torn = if is_clean { at } else { at + torn::torn_bytes(rest, self.salt) };
        self.torn.extend(Torn::of(segment, bytes, at, newest.max(torn)));
    }

    /// As [`Scan::note_torn`] for a segment that the journal never came to.
    fn note_torn_later(&mut self, segment: &Segment, bytes: &[u8]) -> Result<(), LogError> {
        let from = segment::HEADER as usize;
        let header = SegmentHeader::parse(bytes, &self.path_of(segment))?;
        // A file that was never used has no header, or that of an earlier use.
        let used = header.filter(|header| header.number == segment.number);
        let is_short = used.is_some_and(|header| header.length > bytes.len() as u64);
        if is_short || bytes.len() < segment::FIELDS {
            let whole = used.map_or(segment::HEADER, |header| header.length);
            self.skip_damage(segment, bytes, from, crate::codec::size(whole), self.expected);
            self.broken.push(segment.number);
            return Ok(());
        }
        let to = self.newest_after(bytes, from);
        self.torn.extend(Torn::of(segment, bytes, from, to));
        Ok(())
    }

    /// Where the last frame ends that was begun after the journal's end.
    fn newest_after(&mut self, bytes: &[u8], from: usize) -> usize {
        let mut end = from;
        for (at, header) in good_headers(bytes, from.next_multiple_of(ALIGN), self.salt) {
            if header.sequence >= self.expected {
                self.highest = self.highest.max(header.sequence);
                end = end.max(at.saturating_add(header.span()).min(bytes.len()));
            }
        }
        end
    }

    /// Offsets that may have been lost with unreadable headers are never given again: a partition
    /// without a later frame goes on after as many as the lost bytes can have held.
    fn skip_lost(&mut self) {
        for (position, length) in &self.lost {
            for partition in self.topics.partitions() {
                let last = partition.shown().stretches.back().map(|last| last.position);
                if last.is_none_or(|last| last < *position) {
                    let lost = length.saturating_mul(RECORDS_A_BYTE);
                    partition.recover(0, partition.next().saturating_add(lost));
                }
            }
        }
    }
}

/// The frames with good headers from `from` on, wherever they lie.
pub(crate) fn good_headers(
    bytes: &[u8],
    from: usize,
    salt: u64,
) -> impl Iterator<Item = (usize, Header)> + '_ {
    let words = bytes.get(from..).unwrap_or_default().chunks_exact(ALIGN);
    words
        .enumerate()
        // A header's first bytes are its checksum and its body's; zeros are what was never written.
        .filter(|(_, word)| **word != [0; ALIGN])
        .filter_map(move |(index, _)| {
            let at = from + index * ALIGN;
            Some((at, Header::parse(bytes.get(at..)?, salt)?))
        })
}

/// The time by which a batch expires.
fn newest_of(body: &[u8], now: i64) -> i64 {
    let bytes = body.get(MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8).and_then(|b| b.try_into().ok());
    match bytes.map_or(-1, i64::from_be_bytes) {
        time if time < 0 => now,
        time => time.min(now),
    }
}

/// What the header of a batch says of its idempotent producer.
fn sequenced_of(body: &[u8]) -> Option<Sequenced> {
    let batch = RecordBatch::header_of(body)?;
    Sequenced::of(&batch).ok().flatten()
}
