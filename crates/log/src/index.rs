//! Index files: where in a sealed segment the records of each partition lie.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::BufMut;
use dhara_world::disk::OpenMode;

use crate::LogError;
use crate::codec::Cursor;
use crate::housekeep::SealJob;
use crate::segment::{Folder, VERSION, file_name};
use crate::state;
use crate::sync::lock;
use crate::topics::Entry;

const MAGIC: &[u8; 8] = b"DHARAIDX";

/// The frames with records of one sealed segment, by partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SegmentIndex {
    /// Sorted by partition.
    partitions: Vec<Run>,
    /// Offsets and positions are relative to the run's base and the segment's start.
    entries: Vec<Packed>,
    /// The next offset of each partition at the segment's end, by id.
    ends: Vec<u64>,
}

/// The entries of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    partition: u32,
    first: u32,
    count: u32,
    base: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed {
    delta: u32,
    /// In units of eight bytes from the start of the segment.
    position: u32,
    count: u32,
    length: u32,
}

impl SegmentIndex {
    pub(crate) fn of(job: &SealJob) -> Self {
        let mut sorted: Vec<_> = job.written.iter().collect();
        sorted.sort_by_key(|written| (written.partition, written.entry.position));
        let mut partitions: Vec<Run> = Vec::new();
        let mut entries = Vec::with_capacity(sorted.len());
        for written in sorted {
            let at = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            let entry = &written.entry;
            let base = match partitions.last_mut().filter(|run| run.partition == written.partition)
            {
                Some(run) => {
                    run.count += 1;
                    run.base
                }
                None => {
                    let (partition, base) = (written.partition, entry.offset);
                    partitions.push(Run { partition, first: at, count: 1, base });
                    base
                }
            };
            entries.push(Packed {
                delta: u32::try_from(entry.offset.saturating_sub(base)).unwrap_or(u32::MAX),
                position: u32::try_from((entry.position - job.segment.start) / 8)
                    .unwrap_or(u32::MAX),
                count: entry.count,
                length: entry.length,
            });
        }
        Self { partitions, entries, ends: job.state.ends.clone() }
    }

    /// The offset after the partition's last record in this segment or before it.
    pub(crate) fn end_of(&self, partition: u32) -> u64 {
        self.ends.get(partition as usize).copied().unwrap_or(0)
    }

    pub(crate) fn ends(&self) -> &[u64] {
        &self.ends
    }

    /// The frames that hold `offset` and what comes after it, for at most about `max_bytes`, but one
    /// at least. `start` is where the segment lies in the journal.
    pub(crate) fn from(
        &self,
        partition: u32,
        offset: u64,
        max_bytes: usize,
        start: u64,
    ) -> Vec<Entry> {
        let Ok(at) = self.partitions.binary_search_by_key(&partition, |run| run.partition) else {
            return Vec::new();
        };
        let Some(run) = self.partitions.get(at) else { return Vec::new() };
        let (from, to) = (run.first as usize, run.first as usize + run.count as usize);
        let packed = self.entries.get(from..to).unwrap_or_default();
        let next = |entry: &Packed| run.base + u64::from(entry.delta) + u64::from(entry.count);
        let skipped = packed.partition_point(|entry| next(entry) <= offset);
        let mut bytes = 0_usize;
        let fits = move |entry: &&Packed| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(entry.length as usize);
            is_first || bytes <= max_bytes
        };
        let unpack = |entry: &Packed| Entry {
            offset: run.base + u64::from(entry.delta),
            position: start + u64::from(entry.position) * 8,
            count: entry.count,
            length: entry.length,
        };
        packed.iter().skip(skipped).take_while(fits).map(unpack).collect()
    }

    fn byte_len(&self) -> usize {
        self.partitions.len() * 24 + self.entries.len() * 16 + self.ends.len() * 8
    }

    pub(crate) fn encode(&self, number: u64) -> Vec<u8> {
        let mut rest = Vec::with_capacity(self.byte_len() + 32);
        rest.put_u64_le(number);
        for length in [self.partitions.len(), self.entries.len(), self.ends.len()] {
            rest.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
        }
        for run in &self.partitions {
            rest.put_u32_le(run.partition);
            rest.put_u32_le(run.count);
            rest.put_u64_le(run.base);
        }
        for entry in &self.entries {
            rest.put_u32_le(entry.delta);
            rest.put_u32_le(entry.position);
            rest.put_u32_le(entry.count);
            rest.put_u32_le(entry.length);
        }
        self.ends.iter().for_each(|end| rest.put_u64_le(*end));
        seal_bytes(MAGIC, &rest)
    }

    pub(crate) fn decode(bytes: &[u8], number: u64, path: &Path) -> Result<Option<Self>, LogError> {
        let Some(rest) = open_bytes(MAGIC, bytes, path)? else { return Ok(None) };
        Ok(Self::decode_checked(&mut Cursor::new(rest), number))
    }

    fn decode_checked(cursor: &mut Cursor<'_>, number: u64) -> Option<Self> {
        if cursor.u64()? != number {
            return None;
        }
        let (runs, entries, ends) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        let mut partitions = Vec::with_capacity(cursor.room_for(16).min(runs as usize));
        let mut first = 0_u32;
        for _ in 0..runs {
            let (partition, count, base) = (cursor.u32()?, cursor.u32()?, cursor.u64()?);
            partitions.push(Run { partition, first, count, base });
            first = first.checked_add(count)?;
        }
        if first != entries {
            return None;
        }
        let mut packed = Vec::with_capacity(cursor.room_for(16).min(entries as usize));
        for _ in 0..entries {
            let (delta, position) = (cursor.u32()?, cursor.u32()?);
            let (count, length) = (cursor.u32()?, cursor.u32()?);
            packed.push(Packed { delta, position, count, length });
        }
        let mut all = Vec::with_capacity(cursor.room_for(8).min(ends as usize));
        for _ in 0..ends {
            all.push(cursor.u64()?);
        }
        cursor.is_empty().then_some(Self { partitions, entries: packed, ends: all })
    }
}

/// A file of one piece: magic, version, checksum of the rest, the rest.
pub(crate) fn seal_bytes(magic: &[u8; 8], rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + rest.len());
    out.extend_from_slice(magic);
    out.put_u32_le(VERSION);
    out.put_u32_le(crc32c::crc32c(rest));
    out.extend_from_slice(rest);
    out
}

/// What [`seal_bytes`] was given; `Ok(None)` where the bytes are damaged.
pub(crate) fn open_bytes<'a>(
    magic: &[u8; 8],
    bytes: &'a [u8],
    path: &Path,
) -> Result<Option<&'a [u8]>, LogError> {
    let mut cursor = Cursor::new(bytes);
    let is_ours = cursor.take(8) == Some(magic.as_slice());
    let (Some(version), Some(crc)) = (cursor.u32(), cursor.u32()) else { return Ok(None) };
    let rest = bytes.get(16..).unwrap_or_default();
    if !is_ours || crc32c::crc32c(rest) != crc {
        return Ok(None);
    }
    if version != VERSION {
        return Err(LogError::Unreadable {
            what: format!(
                "{}: its format is version {version}, this program knows version {VERSION}; open it \
                 with the program that wrote it, or a later one",
                path.display()
            ),
        });
    }
    Ok(Some(rest))
}

/// Writes the index of a sealed segment, and then the state after it.
pub(crate) fn write_files(folder: &Folder, job: &SealJob) -> Result<(), LogError> {
    let number = job.segment.number;
    let index = SegmentIndex::of(job).encode(number);
    folder.write_file(&file_name(number, "index"), &index)?;
    folder.write_file(&file_name(number, "state"), &state::encode(&job.state, number))?;
    // The state before the last one stays, in case that the last one is found damaged.
    if let Some(old) = number.checked_sub(2) {
        let old = folder.path(&file_name(old, "state"));
        match folder.disk.remove(&old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(LogError::io("removing", &old, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The indexes that were read lately, bounded in bytes.
#[derive(Debug)]
pub(crate) struct IndexCache {
    /// Most lately used last.
    kept: Vec<(u64, Arc<SegmentIndex>)>,
    bytes: usize,
    most: usize,
}

impl IndexCache {
    pub(crate) fn new(most: usize) -> Self {
        Self { kept: Vec::new(), bytes: 0, most }
    }

    fn get(&mut self, number: u64) -> Option<Arc<SegmentIndex>> {
        let at = self.kept.iter().position(|(kept, _)| *kept == number)?;
        let found = self.kept.remove(at);
        let index = Arc::clone(&found.1);
        self.kept.push(found);
        Some(index)
    }

    fn put(&mut self, number: u64, index: &Arc<SegmentIndex>) {
        if self.kept.iter().any(|(kept, _)| *kept == number) {
            return;
        }
        self.bytes += index.byte_len();
        self.kept.push((number, Arc::clone(index)));
        while self.bytes > self.most && self.kept.len() > 1 {
            let (_, oldest) = self.kept.remove(0);
            self.bytes -= oldest.byte_len();
        }
    }
}

/// The index of a sealed segment as its file has it; `None` where the file is missing or damaged.
pub(crate) fn load(folder: &Folder, number: u64) -> Result<Option<SegmentIndex>, LogError> {
    let name = file_name(number, "index");
    let path = folder.path(&name);
    let file = match folder.disk.open(&path, OpenMode::Existing) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("opening", &path, error)),
    };
    let bytes = folder.read_all(&name, file.as_ref())?;
    SegmentIndex::decode(&bytes, number, &path)
}

/// As [`load`], through the cache.
pub(crate) fn cached(
    cache: &Mutex<IndexCache>,
    folder: &Folder,
    number: u64,
) -> Result<Option<Arc<SegmentIndex>>, LogError> {
    if let Some(found) = lock(cache).get(number) {
        return Ok(Some(found));
    }
    let Some(index) = load(folder, number)?.map(Arc::new) else { return Ok(None) };
    lock(cache).put(number, &index);
    Ok(Some(index))
}
