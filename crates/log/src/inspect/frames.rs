//! The frames of the files, as they lie.

use std::path::Path;
use std::sync::Arc;

use dhara_world::Disk;

use super::claim;
use super::window::Window;
use crate::LogError;
use crate::frame::{ALIGN, Header};
use crate::segment::{self, Folder, SegmentHeader, number_of};
use crate::settled;

/// What lies in a file, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// A frame with a good header.
    Frame(FrameInfo),
    /// Bytes that are zero: not written yet, or given back.
    Zeros {
        /// How many.
        bytes: u64,
    },
    /// Bytes that are no frame: damaged, torn, left from an earlier use, or a settled file's index.
    Other {
        /// How many.
        bytes: u64,
    },
}

/// The head of a frame, as `FORMAT.md` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameInfo {
    /// What it holds.
    pub kind: &'static str,
    /// Its sequence.
    pub sequence: u64,
    /// Every frame with a lower sequence was durable when it was written.
    pub synced: u64,
    /// The base offset of a batch.
    pub base: u64,
    /// The partition's id.
    pub partition: u32,
    /// How many offsets it takes.
    pub count: u32,
    /// The epoch that it was written in.
    pub epoch: u32,
    /// How many frames of the same append follow.
    pub rest: u32,
    /// The length of its body.
    pub length: u32,
    /// Whether the body is what was written.
    pub is_good: bool,
    /// Whether it is left from an earlier use of the file.
    pub is_old: bool,
}

/// Gives what lies in the journal's and the settled files, in order: the file's name, the position,
/// what it is; until it is told `false`. The state of the log is not needed for it.
pub fn frames(
    disk: Arc<dyn Disk>,
    dir: impl AsRef<Path>,
    mut give: impl FnMut(&str, u64, Piece) -> bool,
) -> Result<(), LogError> {
    let dir = dir.as_ref();
    let (folder, _lock) = claim(disk, dir)?;
    let names = folder.names()?;
    let Some(salt) = salt_of(&folder, &names)? else {
        return Err(LogError::Unreadable {
            what: format!(
                "{}: no file has a readable header, and without one no frame can be told; restore \
                 the folder from a copy",
                dir.display()
            ),
        });
    };
    for name in &names {
        let number = number_of(name, "journal");
        if number.is_none() && number_of(name, "settled").is_none() {
            continue;
        }
        let mut window = Window::of(&folder, name)?;
        let header = header_of(&mut window, &folder.path(name), number)?;
        let first = header.map_or(0, |header| header.first_sequence);
        let goes_on =
            each(&mut window, salt, first, |position, piece| give(name, position, piece))?;
        if !goes_on {
            break;
        }
    }
    Ok(())
}

/// The header of a segment, where it is one and has one of its own.
fn header_of(
    window: &mut Window,
    path: &Path,
    number: Option<u64>,
) -> Result<Option<SegmentHeader>, LogError> {
    if number.is_none() {
        return Ok(None);
    }
    let bytes = window.get(0, crate::codec::size(segment::HEADER))?;
    let header = SegmentHeader::parse(bytes, path)?;
    Ok(header.filter(|header| Some(header.number) == number))
}

fn salt_of(folder: &Folder, names: &[String]) -> Result<Option<u64>, LogError> {
    for name in names {
        let mut window = Window::of(folder, name)?;
        let bytes = window.get(0, crate::codec::size(segment::HEADER))?;
        let found = if number_of(name, "journal").is_some() {
            SegmentHeader::parse(bytes, &folder.path(name))?.map(|header| header.salt)
        } else if number_of(name, "settled").is_some() {
            settled::salt_in(bytes)
        } else {
            None
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Gives the pieces of one file; `false` when it was told to stop.
fn each(
    window: &mut Window,
    salt: u64,
    first: u64,
    mut give: impl FnMut(u64, Piece) -> bool,
) -> Result<bool, LogError> {
    let end = window.length();
    let mut at = segment::HEADER;
    while at < end {
        if let Some(header) = window.header(at, end, salt)? {
            let is_good = window.body_is_good(&header, at)?;
            let frame = FrameInfo::of(&header, is_good, header.sequence < first);
            if !give(at, Piece::Frame(frame)) {
                return Ok(false);
            }
            at += header.span() as u64;
            continue;
        }
        let from = at;
        while at < end && window.header(at, end, salt)?.is_none() {
            at += ALIGN as u64;
        }
        at = at.min(end);
        let bytes = at - from;
        let is_zero = window.is_zero(from, at)?;
        if !give(from, if is_zero { Piece::Zeros { bytes } } else { Piece::Other { bytes } }) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl FrameInfo {
    fn of(header: &Header, is_good: bool, is_old: bool) -> Self {
        Self {
            kind: header.kind.name(),
            sequence: header.sequence,
            synced: header.synced,
            base: header.base,
            partition: header.partition,
            count: header.count,
            epoch: header.epoch,
            rest: header.rest,
            length: header.length,
            is_good,
            is_old,
        }
    }
}
