//! Makes a settled file whole again whose index is damaged.

use bytes::BytesMut;

use super::index::index_crc;
use super::scan::{Found, Frames, NO_TIMESTAMP, rebuild};
use super::{Class, SettledFile, SettledIndex, SettledWriter};
use crate::LogError;
use crate::frame::{self, Header, Kind};
use crate::segment::Folder;

/// The index of `file`, made again from its frames: how the file is listed with it, and its bytes.
/// `None` where it cannot stand in the file: an index knows no positions, so that what lies between
/// two partitions, as holes do, has no place in it.
pub(crate) fn reindexed(
    folder: &Folder,
    file: &SettledFile,
    salt: u64,
    ends_before: Vec<(u32, u64)>,
) -> Result<Option<(SettledFile, Vec<u8>)>, LogError> {
    let index = rebuild(folder, file, salt, ends_before, &mut Vec::new())?;
    let bytes = index.encode();
    if SettledIndex::decode(&bytes, file.frame_bytes).is_none() {
        return Ok(None);
    }
    let made = SettledFile {
        partitions: index.partitions(),
        length: file.frames_end().saturating_add(bytes.len() as u64),
        index_crc: index_crc(&bytes, file.number, salt),
        ..*file
    };
    Ok(Some((made, bytes)))
}

/// Writes the frames of `file` that have a good header into a new one with the number `number`. What
/// is missing between two frames of a partition, and was not compacted away, is marked as lost.
pub(crate) fn rewritten(
    folder: &Folder,
    file: &SettledFile,
    number: u64,
    salt: u64,
    ends_before: Vec<(u32, u64)>,
) -> Result<SettledFile, LogError> {
    let mut writer = SettledWriter::create(folder, number, file.class, salt, ends_before)?;
    let mut frames = Frames::of(folder, file, salt)?;
    // The last frame's partition and end, and whether bytes follow it that are no frame.
    let (mut last, mut has_gap) = (None, false);
    while let Some(found) = frames.next()? {
        match found {
            Found::Gap { is_empty, .. } => has_gap = !is_empty,
            Found::Frame { header, position, max_timestamp, .. } => {
                if let Some((partition, end)) = last
                    && partition == header.partition
                    && (has_gap || file.class == Class::Plain)
                {
                    push_lost(&mut writer, &header, end, salt)?;
                }
                writer.push(&header, frames.whole(&header, position)?, max_timestamp)?;
                (last, has_gap) = (Some((header.partition, header.next())), false);
            }
        }
    }
    writer.finish()
}

/// Marks the offsets from `from` up to a frame as lost.
fn push_lost(
    writer: &mut SettledWriter,
    before: &Header,
    mut from: u64,
    salt: u64,
) -> Result<(), LogError> {
    while from < before.base {
        let count = u32::try_from(before.base - from).unwrap_or(u32::MAX);
        let (partition, sequence) = (before.partition, before.sequence);
        let header = Header { base: from, partition, count, sequence, ..Header::plain(Kind::Lost) };
        let mut bytes = BytesMut::new();
        frame::push(&mut bytes, header, &[], salt);
        writer.push(&header, &bytes, NO_TIMESTAMP)?;
        from += u64::from(count);
    }
    Ok(())
}
