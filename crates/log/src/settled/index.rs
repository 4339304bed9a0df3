//! The index of a settled file: where each partition lies in it, and how far each one goes.

use bytes::BufMut;

use super::{HEADER, SettledFile, Stretch};
use crate::LogError;
use crate::codec::{Cursor, size};
use crate::frame::ALIGN;
use crate::segment::{Folder, read_full};

/// A block of the index is as many frames of one partition as make this many bytes, or what is left.
pub(crate) const BLOCK: u32 = 32 << 10;

const COUNTS: usize = 16;
const RUN: usize = 8;
const BLOCK_BYTES: usize = 28;
const END: usize = 12;

/// All frames of one partition in a settled file: they lie one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) partition: u32,
    /// The offset of the first record.
    pub(crate) base: u64,
    /// The offset after the last record.
    pub(crate) end: u64,
    pub(crate) position: u64,
    pub(crate) bytes: u64,
    /// The greatest timestamp of the batches, in milliseconds.
    pub(crate) max_timestamp: i64,
}

/// Where each partition lies in a settled file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SettledIndex {
    /// Sorted by partition, each with the place of its first block.
    runs: Vec<(u32, u32)>,
    /// In the order of the file.
    blocks: Vec<Stretch>,
    /// Sorted by partition.
    ends: Vec<(u32, u64)>,
}

impl SettledIndex {
    /// The offset after the partition's last record in this file or an earlier one of its class; 0
    /// where there was none.
    pub(crate) fn end_of(&self, partition: u32) -> u64 {
        let found = self.ends.binary_search_by_key(&partition, |(id, _)| *id);
        found.ok().and_then(|at| self.ends.get(at)).map_or(0, |(_, end)| *end)
    }

    /// The ends of all partitions, sorted by partition.
    pub(crate) fn ends(&self) -> &[(u32, u64)] {
        &self.ends
    }

    /// All frames of a partition, where it has some.
    pub(crate) fn run(&self, partition: u32) -> Option<Run> {
        run_of(partition, self.blocks_of(partition))
    }

    /// All runs, sorted by partition, which is the order of the file.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        (0..self.runs.len()).filter_map(|at| {
            let (partition, _) = self.runs.get(at)?;
            run_of(*partition, self.blocks_at(at))
        })
    }

    /// The blocks of a partition, in order.
    pub(crate) fn blocks(&self, partition: u32) -> impl Iterator<Item = Stretch> + '_ {
        self.blocks_of(partition).iter().copied()
    }

    /// The block that holds `offset`, or the first after it, and what follows: about `max_bytes`, but
    /// one block at least where there is one.
    pub(crate) fn locate(&self, partition: u32, offset: u64, max_bytes: usize) -> Vec<Stretch> {
        let blocks = self.blocks_of(partition);
        let from = blocks.partition_point(|block| block.next <= offset);
        let mut bytes = 0_usize;
        let fits = |block: &&Stretch| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(block.bytes as usize);
            is_first || bytes <= max_bytes
        };
        blocks.iter().skip(from).take_while(fits).copied().collect()
    }

    #[cfg(test)]
    /// The first block of a partition with a timestamp of at least `timestamp`.
    pub(crate) fn first_after(&self, partition: u32, timestamp: i64) -> Option<Stretch> {
        self.blocks(partition).find(|block| block.max_timestamp >= timestamp)
    }

    /// The memory that it takes.
    pub(crate) fn byte_len(&self) -> usize {
        size_of_val(self.runs.as_slice())
            + size_of_val(self.blocks.as_slice())
            + size_of_val(self.ends.as_slice())
            + size_of::<Self>()
    }

    fn blocks_of(&self, partition: u32) -> &[Stretch] {
        let found = self.runs.binary_search_by_key(&partition, |(id, _)| *id);
        found.map(|at| self.blocks_at(at)).unwrap_or_default()
    }

    fn blocks_at(&self, run: usize) -> &[Stretch] {
        let first = |at: usize| self.runs.get(at).map(|(_, first)| *first as usize);
        let Some(from) = first(run) else { return &[] };
        let to = first(run + 1).unwrap_or(self.blocks.len());
        self.blocks.get(from..to).unwrap_or_default()
    }

    pub(super) fn partitions(&self) -> u32 {
        u32::try_from(self.runs.len()).unwrap_or(u32::MAX)
    }

    /// Positions are not written: frames follow one another from the header on.
    pub(super) fn encode(&self) -> Vec<u8> {
        let lengths = [self.runs.len(), self.blocks.len(), self.ends.len()];
        let bytes = COUNTS + lengths[0] * RUN + lengths[1] * BLOCK_BYTES + lengths[2] * END;
        let mut out = Vec::with_capacity(bytes);
        for length in lengths {
            out.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        }
        out.put_u32_le(0);
        for (at, (partition, _)) in self.runs.iter().enumerate() {
            out.put_u32_le(*partition);
            out.put_u32_le(u32::try_from(self.blocks_at(at).len()).unwrap_or(u32::MAX));
        }
        for block in &self.blocks {
            out.put_u64_le(block.offset);
            out.put_u64_le(block.next);
            out.put_u32_le(block.bytes);
            out.put_i64_le(block.max_timestamp);
        }
        for (partition, end) in &self.ends {
            out.put_u32_le(*partition);
            out.put_u64_le(*end);
        }
        out
    }

    /// `None` where the bytes contradict themselves, or the length of the frames.
    pub(super) fn decode(bytes: &[u8], frame_bytes: u64) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let (runs, blocks, ends) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        cursor.take(4)?;
        let mut index = Self {
            runs: Vec::with_capacity(cursor.room_for(RUN).min(runs as usize)),
            blocks: Vec::with_capacity(cursor.room_for(BLOCK_BYTES).min(blocks as usize)),
            ends: Vec::with_capacity(cursor.room_for(END).min(ends as usize)),
        };
        let mut first = 0_u32;
        for _ in 0..runs {
            let (partition, count) = (cursor.u32()?, cursor.u32()?);
            if count == 0 || index.runs.last().is_some_and(|(last, _)| *last >= partition) {
                return None;
            }
            index.runs.push((partition, first));
            first = first.checked_add(count)?;
        }
        index.decode_blocks(&mut cursor, blocks)?;
        for _ in 0..ends {
            let (partition, end) = (cursor.u32()?, cursor.u64()?);
            if index.ends.last().is_some_and(|(last, _)| *last >= partition) {
                return None;
            }
            index.ends.push((partition, end));
        }
        let frames_end = index.blocks.last().map_or(HEADER, Stretch::end);
        let is_whole = cursor.is_empty() && first == blocks && frames_end == HEADER + frame_bytes;
        (is_whole && index.runs_ascend()).then_some(index)
    }

    fn decode_blocks(&mut self, cursor: &mut Cursor<'_>, count: u32) -> Option<()> {
        let mut position = HEADER;
        for _ in 0..count {
            let (offset, next) = (cursor.u64()?, cursor.u64()?);
            let (bytes, max_timestamp) = (cursor.u32()?, cursor.i64()?);
            if next <= offset || bytes == 0 || !(bytes as usize).is_multiple_of(ALIGN) {
                return None;
            }
            self.blocks.push(Stretch { offset, next, position, bytes, max_timestamp });
            position = position.checked_add(u64::from(bytes))?;
        }
        Some(())
    }

    fn runs_ascend(&self) -> bool {
        (0..self.runs.len())
            .all(|at| self.blocks_at(at).is_sorted_by(|before, after| before.next <= after.offset))
    }
}

fn run_of(partition: u32, blocks: &[Stretch]) -> Option<Run> {
    let (first, last) = (blocks.first()?, blocks.last()?);
    Some(Run {
        partition,
        base: first.offset,
        end: last.next,
        position: first.position,
        bytes: last.end().saturating_sub(first.position),
        max_timestamp: blocks.iter().map(|block| block.max_timestamp).max()?,
    })
}

/// The checksum of an index: it begins with what no index of another file shares.
pub(crate) fn index_crc(bytes: &[u8], number: u64, salt: u64) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), &number.to_le_bytes());
    crc32c::crc32c_append(crc, bytes)
}

/// The index of `file` as it stands there; `Ok(None)` where it is damaged or cut off.
pub(super) fn read(
    folder: &Folder,
    file: &SettledFile,
    salt: u64,
) -> Result<Option<SettledIndex>, LogError> {
    let handle = folder.settled(file.number)?;
    let path = folder.path(&file.name());
    let there = handle.len().map_err(|error| LogError::io("measuring", &path, error))?;
    if there < file.length {
        return Ok(None);
    }
    let mut bytes = vec![0; size(file.index_bytes())];
    // Sectors that cannot be read hold no more than a damaged index does: the frames tell it again.
    let got = read_full(handle.as_ref(), &mut bytes, file.frames_end()).unwrap_or(0);
    if got < bytes.len() || index_crc(&bytes, file.number, salt) != file.index_crc {
        return Ok(None);
    }
    Ok(SettledIndex::decode(&bytes, file.frame_bytes))
}

/// The index of frames that come one by one, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct IndexBuilder {
    index: SettledIndex,
    is_full: bool,
}

impl IndexBuilder {
    /// The partition and the offset after its last record of the frame that came last.
    pub(super) fn last(&self) -> Option<(u32, u64)> {
        Some((self.index.runs.last()?.0, self.index.blocks.last()?.next))
    }

    /// Takes up the frame of `partition` that `frame` is.
    ///
    /// Bytes between it and the last frame of the same partition come with it: they were frames of
    /// the partition before they were damaged, and whoever reads them has to find that out.
    pub(super) fn push(&mut self, partition: u32, mut frame: Stretch) {
        let is_same = self.index.runs.last().is_some_and(|(last, _)| *last == partition);
        if !is_same {
            let first = u32::try_from(self.index.blocks.len()).unwrap_or(u32::MAX);
            self.index.runs.push((partition, first));
        } else if let Some(last) = self.index.blocks.last_mut() {
            let grown = u32::try_from(frame.end().saturating_sub(last.position));
            if let (false, Ok(bytes)) = (self.is_full, grown) {
                last.bytes = bytes;
                last.next = frame.next;
                last.max_timestamp = last.max_timestamp.max(frame.max_timestamp);
                self.is_full = bytes >= BLOCK;
                return;
            }
            let longer = u32::try_from(frame.end().saturating_sub(last.end()));
            if let (Ok(bytes), true) = (longer, frame.position > last.end()) {
                frame = Stretch { offset: last.next, position: last.end(), bytes, ..frame };
            }
        }
        self.is_full = frame.bytes >= BLOCK;
        self.index.blocks.push(frame);
    }

    /// Completes the index with the ends that were known before this file.
    pub(super) fn finish(mut self, mut ends_before: Vec<(u32, u64)>) -> SettledIndex {
        ends_before.extend(self.index.runs().map(|run| (run.partition, run.end)));
        ends_before.sort_unstable();
        // Of two ends of a partition the greater comes last.
        let mut ends: Vec<(u32, u64)> = Vec::with_capacity(ends_before.len());
        for (partition, end) in ends_before {
            match ends.last_mut().filter(|(last, _)| *last == partition) {
                Some(last) => last.1 = end,
                None => ends.push((partition, end)),
            }
        }
        self.index.ends = ends;
        self.index.runs.shrink_to_fit();
        self.index.blocks.shrink_to_fit();
        self.index
    }
}
