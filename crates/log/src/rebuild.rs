//! Makes index files again, where they are missing or damaged, from the segments themselves.

use std::sync::{Arc, Mutex};

use crate::LogError;
use crate::frame::{HEADER, Kind};
use crate::index::{self, IndexCache, SegmentIndex};
use crate::journal::Written;
use crate::recovery::good_headers;
use crate::segment::{self, Folder, Segment, file_name};
use crate::sync::lock;
use crate::topics::Entry;

/// Makes the missing index files of sealed segments; gives how many those were. Whether those that
/// are there are good shows when they are first used.
pub(crate) fn missing(folder: &Folder, salt: u64, sealed: &[Segment]) -> Result<usize, LogError> {
    let names = folder.disk.list(&folder.dir);
    let names = names.map_err(|error| LogError::io("listing", &folder.dir, error))?;
    let mut rebuilt = 0;
    for segment in sealed {
        if names.binary_search(&file_name(segment.number, "index")).is_err() {
            rebuild(folder, salt, segment)?;
            rebuilt += 1;
        }
    }
    Ok(rebuilt)
}

/// The index of a sealed segment, from the cache, its file, or the segment.
pub(crate) fn load_or_rebuild(
    cache: &Mutex<IndexCache>,
    folder: &Folder,
    salt: u64,
    segment: &Segment,
) -> Result<Option<Arc<SegmentIndex>>, LogError> {
    if let Some(found) = lock(cache).get(segment.number) {
        return Ok(Some(found));
    }
    let index = match index::load(folder, segment.number)? {
        Some(index) => index,
        None => rebuild(folder, salt, segment)?,
    };
    let index = Arc::new(index);
    lock(cache).put(segment.number, &index);
    Ok(Some(index))
}

fn rebuild(folder: &Folder, salt: u64, segment: &Segment) -> Result<SegmentIndex, LogError> {
    let file = folder.segment(segment.number)?;
    let bytes = folder.read_all(&file_name(segment.number, "journal"), file.as_ref())?;
    let mut ends = ends_before(folder, salt, segment)?;
    let written = written_in(&bytes, salt, segment);
    for Written { partition, entry } in &written {
        let place = *partition as usize;
        if ends.len() <= place {
            ends.resize(place + 1, 0);
        }
        if let Some(end) = ends.get_mut(place) {
            *end = entry.offset.saturating_add(u64::from(entry.count));
        }
    }
    let index = SegmentIndex::of(segment, &written, ends);
    folder.write_file(&file_name(segment.number, "index"), &index.encode(segment.number))?;
    Ok(index)
}

/// The next offsets at the start of a segment: those at the end of the one before.
fn ends_before(folder: &Folder, salt: u64, segment: &Segment) -> Result<Vec<u64>, LogError> {
    let Some(number) = segment.number.checked_sub(1) else { return Ok(Vec::new()) };
    if let Some(index) = index::load(folder, number)? {
        return Ok(index.ends().to_vec());
    }
    let path = folder.path(&file_name(number, "journal"));
    match folder.disk.open(&path, dhara_world::disk::OpenMode::Existing) {
        Ok(file) => {
            let length = file.len().map_err(|error| LogError::io("measuring", &path, error))?;
            let before = Segment { number, start: 0, length };
            Ok(rebuild(folder, salt, &before)?.ends().to_vec())
        }
        // The first segment that is kept has none before it.
        Err(_) => Ok(Vec::new()),
    }
}

/// The frames with records in a segment's bytes, by their headers alone: a body that is damaged is
/// found when it is read.
fn written_in(bytes: &[u8], salt: u64, segment: &Segment) -> Vec<Written> {
    let mut written = Vec::new();
    let mut last = 0;
    let mut next = 0;
    for (at, header) in good_headers(bytes, segment::HEADER as usize, salt) {
        let fits = at.saturating_add(HEADER).saturating_add(header.length as usize) <= bytes.len();
        // What a failed write left behind has a lower sequence than what came after it.
        if at < next || header.sequence <= last || !fits {
            continue;
        }
        next = at + header.span();
        last = header.sequence;
        if header.kind == Kind::Batch {
            let position = segment.start + at as u64;
            let (count, length) = (header.count, header.length);
            let entry = Entry { offset: header.base, position, count, length };
            written.push(Written { partition: header.partition, entry });
        }
    }
    written
}
