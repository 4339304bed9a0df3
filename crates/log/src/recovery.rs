//! Opening: what the files hold is taken up, a torn tail is cut, damage is reported.

use std::path::PathBuf;

use crate::LogError;
use crate::codec::Cursor;
use crate::frame::{ALIGN, HEADER, Header, Kind};
use crate::groups::{Groups, Position};
use crate::housekeep::{SealJob, State};
use crate::journal::Written;
use crate::segment::{self, Folder, Segment, SegmentHeader, file_name};
use crate::topics::{Creation, Entry, Topics};

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The tail that was cut: it was written, but never acked.
    pub cut: Vec<Cut>,
    /// What is damaged although it was durable once.
    pub damage: Vec<Damage>,
    /// How many index files were missing or damaged, and were made again.
    pub rebuilt: usize,
}

/// Bytes at the journal's end that were not a whole commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub position: u64,
    /// How many bytes.
    pub length: u64,
    /// The file that keeps them.
    pub kept: PathBuf,
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
    pub(crate) salt: u64,
    pub(crate) topics: Topics,
    pub(crate) groups: Groups,
    pub(crate) report: OpenReport,
    pub(crate) epoch: u32,
    /// The sequence that the next frame should have.
    pub(crate) expected: u64,
    /// The highest sequence that was seen anywhere.
    pub(crate) highest: u64,
    /// Everything below this sequence was durable before the log was opened.
    pub(crate) synced: u64,
    /// Where the first frame lies that no later one proves to be durable.
    pub(crate) unproven: Option<(u64, usize)>,
    /// The frames of an append whose last frame has not come yet.
    group: Vec<(Header, usize, bool)>,
    /// Frames with records in the segment at hand.
    pub(crate) written: Vec<Written>,
    pub(crate) seals: Vec<SealJob>,
    /// Headers that could not be read: where in the journal, and how many bytes.
    lost: Vec<(u64, u64)>,
    was_closed: bool,
}

/// Where the journal goes on.
#[derive(Debug)]
pub(crate) struct End {
    /// The place of the last segment in the list.
    pub(crate) segment: usize,
    /// The first free byte in its file.
    pub(crate) at: usize,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(folder: &'a Folder, state: State, report: OpenReport) -> Self {
        let mut topics = Topics::default();
        for creation in &state.topics {
            // A state file's checksum was good, so that its topics are in order.
            let _ = topics.insert(creation);
        }
        for (partition, end) in topics.partitions().iter().zip(&state.ends) {
            partition.recover_end(*end);
        }
        let mut groups = Groups::default();
        state.positions.into_iter().for_each(|position| groups.set(position));
        Self {
            folder,
            salt: state.salt,
            topics,
            groups,
            report,
            epoch: state.epoch,
            expected: state.next_sequence,
            highest: state.next_sequence,
            synced: state.next_sequence,
            unproven: None,
            group: Vec::new(),
            written: Vec::new(),
            seals: Vec::new(),
            lost: Vec::new(),
            was_closed: false,
        }
    }

    /// Takes up the frames of `segments`, from the first on, until the journal ends.
    pub(crate) fn run(&mut self, segments: &[Segment]) -> Result<End, LogError> {
        let mut end = End { segment: 0, at: segment::HEADER as usize };
        let mut bytes = self.bytes_of(segments.first())?;
        for (place, segment) in segments.iter().enumerate() {
            self.check_segment_header(segment, &bytes)?;
            let next = self.bytes_of(segments.get(place + 1))?;
            let at = self.scan_segment(segment, &bytes, &next);
            end = End { segment: place, at };
            if !self.goes_on(&next) {
                self.drop_group(&mut end);
                self.cut(segment, &bytes, end.at)?;
                for spare in segments.iter().skip(place + 1) {
                    let spare_bytes = self.bytes_of(Some(spare))?;
                    self.cut(spare, &spare_bytes, 0)?;
                }
                break;
            }
            self.leave(segment);
            bytes = next;
        }
        self.skip_lost();
        Ok(end)
    }

    fn bytes_of(&self, segment: Option<&Segment>) -> Result<Vec<u8>, LogError> {
        let Some(segment) = segment else { return Ok(Vec::new()) };
        let file = self.folder.segment(segment.number)?;
        self.folder.read_all(&file_name(segment.number, "journal"), file.as_ref())
    }

    fn path_of(&self, segment: &Segment) -> PathBuf {
        self.folder.path(&file_name(segment.number, "journal"))
    }

    fn check_segment_header(&mut self, segment: &Segment, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.path_of(segment);
        let found = SegmentHeader::parse(bytes, &path)?;
        let is_good =
            found.is_some_and(|header| header.number == segment.number && header.salt == self.salt);
        let first = bytes.get(segment::HEADER as usize..).unwrap_or_default();
        if !is_good && Header::parse(first, self.salt).is_some_and(|h| h.sequence >= self.expected)
        {
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
                    let is_good = body.is_some_and(|body| header.matches(body));
                    if !is_good && !self.is_proven(bytes, at + ALIGN, next) {
                        return at;
                    }
                    self.take(segment, bytes, header, at, is_good);
                    at += header.span();
                }
                _ if self.was_closed && header.is_none() => return at,
                _ => {
                    if !self.is_proven(bytes, at, next) {
                        return at;
                    }
                    let Some(resume) = self.first_good(bytes, at) else { return at };
                    self.skip_damage(segment, bytes, at, resume);
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

    /// Reports that frames are missing from `at` to `resume`, and goes on there.
    fn skip_damage(&mut self, segment: &Segment, bytes: &[u8], at: usize, resume: usize) {
        self.take_group(segment, bytes);
        let header = bytes.get(resume..).and_then(|rest| Header::parse(rest, self.salt));
        let sequence = header.map_or(self.expected, |header| header.sequence);
        let length = (resume - at) as u64;
        self.report.damage.push(Damage {
            file: self.path_of(segment),
            position: at as u64,
            length,
            what: format!("the frames of sequence {} to below {sequence}", self.expected),
        });
        self.lost.push((segment.start + at as u64, length));
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
            Kind::Batch => {
                let partition = self.topics.by_id(header.partition)?;
                let entry = Entry {
                    offset: header.base,
                    position: segment.start + at as u64,
                    count: header.count,
                    length: header.length,
                };
                partition.recover_end(header.base.checked_add(u64::from(header.count))?);
                partition.shown().entries.push_back(entry);
                self.written.push(Written { partition: header.partition, entry });
            }
            Kind::Offsets if good => {
                let positions = Position::decode_all(body)?;
                positions.into_iter().for_each(|position| self.groups.set(position));
            }
            Kind::Topic if good => {
                let creation = Creation::decode(&mut Cursor::new(body))?;
                self.topics.insert(&creation)?;
            }
            Kind::Offsets | Kind::Topic | Kind::Mark | Kind::Open | Kind::Close => {}
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
            (Kind::Topic, _) => format!("the creation of a topic (sequence {sequence})"),
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

    /// Keeps what lies after the journal's end in a file of its own, then makes it zeros.
    fn cut(&mut self, segment: &Segment, bytes: &[u8], at: usize) -> Result<(), LogError> {
        let rest = bytes.get(at..).unwrap_or_default();
        let used = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let Some(tail) = rest.get(..used).filter(|tail| !tail.is_empty()) else { return Ok(()) };
        for (_, header) in good_headers(bytes, at.next_multiple_of(ALIGN), self.salt) {
            self.highest = self.highest.max(header.sequence);
        }
        let kept = format!("{:020}-{at:012}.cut", segment.number);
        self.folder.write_file(&kept, tail)?;
        let file = self.folder.segment(segment.number)?;
        let path = self.path_of(segment);
        let failed = |error| LogError::io("cutting the torn tail of", &path, error);
        file.write_all_at(&vec![0; used], at as u64).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        self.report.cut.push(Cut {
            file: path.clone(),
            position: at as u64,
            length: used as u64,
            kept: self.folder.path(&kept),
        });
        Ok(())
    }

    /// Leaves a segment that the journal went on after.
    fn leave(&mut self, segment: &Segment) {
        let state = State {
            salt: self.salt,
            next_sequence: self.expected,
            epoch: self.epoch,
            topics: self.topics.creations(),
            ends: self.topics.partitions().iter().map(|partition| partition.next()).collect(),
            positions: self.groups.positions(),
        };
        let written = std::mem::take(&mut self.written);
        self.seals.push(SealJob { segment: *segment, written, state });
    }

    /// Offsets that may have been lost with unreadable headers are never given again: a partition
    /// without a later frame goes on after as many as the lost bytes can have held.
    fn skip_lost(&mut self) {
        for (position, length) in &self.lost {
            for partition in self.topics.partitions() {
                let last = partition.shown().entries.back().map(|entry| entry.position);
                if last.is_none_or(|last| last < *position) {
                    partition.recover_end(partition.next().saturating_add(*length));
                }
            }
        }
    }
}

/// The frames with good headers from `from` on, wherever they lie.
fn good_headers(
    bytes: &[u8],
    from: usize,
    salt: u64,
) -> impl Iterator<Item = (usize, Header)> + '_ {
    let words = bytes.get(from..).unwrap_or_default().chunks_exact(ALIGN);
    words
        .enumerate()
        // A header's first bytes are its checksum and its body's; zeros are what was never written.
        .filter(|(_, word)| *word != [0; ALIGN])
        .filter_map(move |(index, _)| {
            let at = from + index * ALIGN;
            Some((at, Header::parse(bytes.get(at..)?, salt)?))
        })
}
