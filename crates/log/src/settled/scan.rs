//! Reads the frames of a settled file one by one, whatever its index says.

use std::path::PathBuf;
use std::sync::Arc;

use dhara_world::disk::File;

use super::index::IndexBuilder;
use super::{HEADER, SettledFile, SettledIndex, Stretch};
use crate::LogError;
use crate::batch::MAX_TIMESTAMP_AT;
use crate::codec::size;
use crate::frame::{self, ALIGN, Kind};
use crate::recovery::Damage;
use crate::segment::{Folder, read_full};

const WINDOW: u64 = 1 << 20;
/// The timestamp of a frame without one, or whose body is damaged.
pub(crate) const NO_TIMESTAMP: i64 = i64::MIN;

/// What lies next in a settled file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame with a good header.
    Frame {
        header: frame::Header,
        position: u64,
        /// The timestamp of the batch; the least there is where the body has none or is damaged.
        max_timestamp: i64,
        /// Whether the body is what was written.
        is_good: bool,
    },
    /// Bytes that are no frame.
    Gap {
        position: u64,
        bytes: u64,
        /// Whether all of them are zero, as those are that were given back.
        is_empty: bool,
    },
}

/// The frames of a settled file, in its order. Those that come are always in the order of their
/// partitions and offsets: whatever is not, is a gap.
#[derive(Debug)]
pub(crate) struct Frames {
    file: Arc<dyn File>,
    path: PathBuf,
    salt: u64,
    at: u64,
    /// Where the frames end: earlier than they should in a file that was cut off.
    end: u64,
    /// Partition and end of the last frame.
    last: Option<(u32, u64)>,
    window: Vec<u8>,
    window_at: u64,
}

impl Frames {
    pub(crate) fn of(folder: &Folder, file: &SettledFile, salt: u64) -> Result<Self, LogError> {
        let path = folder.path(&file.name());
        let handle = folder.settled(file.number)?;
        let there = handle.len().map_err(|error| LogError::io("measuring", &path, error))?;
        Ok(Self {
            file: handle,
            path,
            salt,
            at: HEADER,
            end: file.frames_end().min(there),
            last: None,
            window: Vec::new(),
            window_at: 0,
        })
    }

    /// The next frame or gap; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, LogError> {
        let position = self.at;
        if position >= self.end {
            return Ok(None);
        }
        if let Some(header) = self.header_at(position)? {
            self.at = position.saturating_add(header.span() as u64);
            self.last = Some((header.partition, header.base + u64::from(header.count)));
            let (is_good, max_timestamp) = self.check_body(&header, position)?;
            return Ok(Some(Found::Frame { header, position, max_timestamp, is_good }));
        }
        let mut is_empty = true;
        while self.at < self.end {
            is_empty &= self.bytes(self.at, ALIGN)?.iter().all(|byte| *byte == 0);
            self.at += ALIGN as u64;
            if self.header_at(self.at)?.is_some() {
                break;
            }
        }
        self.at = self.at.min(self.end);
        Ok(Some(Found::Gap { position, bytes: self.at - position, is_empty }))
    }

    /// All bytes of the frame at `position`.
    pub(super) fn whole(
        &mut self,
        header: &frame::Header,
        position: u64,
    ) -> Result<&[u8], LogError> {
        self.bytes(position, header.span())
    }

    /// The good header at `position` of a frame that lies in the file and may come next.
    fn header_at(&mut self, position: u64) -> Result<Option<frame::Header>, LogError> {
        let salt = self.salt;
        let Some(header) = frame::Header::parse(self.bytes(position, frame::HEADER)?, salt) else {
            return Ok(None);
        };
        let fits = position.saturating_add(header.span() as u64) <= self.end;
        let has_records =
            header.count > 0 && header.base.checked_add(header.count.into()).is_some();
        let comes_after = self.last.is_none_or(|(partition, end)| {
            partition < header.partition || (partition == header.partition && end <= header.base)
        });
        Ok((fits && has_records && comes_after).then_some(header))
    }

    /// Whether the body is good, and the timestamp that a good one has.
    fn check_body(&mut self, header: &frame::Header, at: u64) -> Result<(bool, i64), LogError> {
        let mut position = at.saturating_add(frame::HEADER as u64);
        let mut left = u64::from(header.length);
        let timestamp = self
            .bytes(position, (MAX_TIMESTAMP_AT + 8).min(size(left)))?
            .get(MAX_TIMESTAMP_AT..)
            .and_then(|bytes| bytes.try_into().ok())
            .filter(|_| header.kind == Kind::Batch)
            .map_or(NO_TIMESTAMP, i64::from_be_bytes);
        let mut crc = 0;
        while left > 0 {
            let part = self.bytes(position, size(left.min(WINDOW)))?;
            if part.is_empty() {
                break;
            }
            crc = crc32c::crc32c_append(crc, part);
            position += part.len() as u64;
            left -= part.len() as u64;
        }
        let is_good = left == 0 && crc == header.body_crc;
        Ok((is_good, if is_good { timestamp } else { NO_TIMESTAMP }))
    }

    /// The `length` bytes at `position`, which are fewer where the frames end before.
    fn bytes(&mut self, position: u64, length: usize) -> Result<&[u8], LogError> {
        let wanted = (length as u64).min(self.end.saturating_sub(position));
        let has = self.window_at.saturating_add(self.window.len() as u64);
        if position < self.window_at || position.saturating_add(wanted) > has {
            let most = wanted.max(WINDOW).min(self.end.saturating_sub(position));
            self.window.resize(size(most), 0);
            let read = read_full(self.file.as_ref(), &mut self.window, position);
            let read = read.map_err(|error| LogError::io("reading", &self.path, error))?;
            self.window.truncate(read);
            self.window_at = position;
        }
        let from = size(position - self.window_at).min(self.window.len());
        let to = from.saturating_add(size(wanted)).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or_default())
    }
}

/// The index of `file` by the headers of its frames. A frame whose body is damaged is in it: that
/// shows when it is read. Gaps that were not given back are added to `damage`.
pub(super) fn rebuild(
    folder: &Folder,
    file: &SettledFile,
    salt: u64,
    ends_before: Vec<(u32, u64)>,
    damage: &mut Vec<Damage>,
) -> Result<SettledIndex, LogError> {
    let path = folder.path(&file.name());
    let mut frames = Frames::of(folder, file, salt)?;
    let mut index = IndexBuilder::default();
    let lost = |position, length, last: Option<(u32, u64)>| {
        let place = last.map_or("before the first good frame".to_owned(), |(partition, end)| {
            format!("after offset {end} of partition id {partition}")
        });
        let what = format!("frames of a settled file, {place}");
        Damage { file: path.clone(), position, length, what }
    };
    while let Some(found) = frames.next()? {
        match found {
            Found::Frame { header, position, max_timestamp, .. } => {
                let offset = header.base;
                let next = offset.saturating_add(u64::from(header.count));
                let bytes = u32::try_from(header.span()).unwrap_or(u32::MAX);
                let frame = Stretch { offset, next, position, bytes, max_timestamp };
                index.push(header.partition, frame);
            }
            Found::Gap { position, bytes, is_empty: false } => {
                damage.push(lost(position, bytes, index.last()));
            }
            Found::Gap { .. } => {}
        }
    }
    if let Some(missing) = file.frames_end().checked_sub(frames.end).filter(|bytes| *bytes > 0) {
        damage.push(lost(frames.end, missing, index.last()));
    }
    Ok(index.finish(ends_before))
}
