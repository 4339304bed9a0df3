//! Opens a folder as a log.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, OnceLock, RwLock};

use dhara_world::disk::Lock;
use dhara_world::{Disk, Random};

use crate::codec::size;
use crate::frame::{self, Kind};
use crate::housekeep::State;
use crate::index::{self, IndexCache};
use crate::journal::Journal;
use crate::recovery::{End, OpenReport, Scan};
use crate::segment::{self, Folder, Segment, SegmentHeader, file_name, number_of};
use crate::shared::{House, Queue, Shared};
use crate::tail::Tail;
use crate::{LogError, Options, state};

pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<Shared, LogError> {
    let made = disk.create_dir_all(dir);
    made.map_err(|error| LogError::io("making the folder", dir, error))?;
    let lock = take_lock(disk.as_ref(), dir)?;
    let folder = Folder::new(disk, dir.to_owned());
    let mut numbers = segment_numbers(&folder)?;
    if numbers.is_empty() {
        let least = Segment::length_for(4 * frame::HEADER);
        folder.create_segment(1, options.first_segment_bytes.max(least))?;
        numbers.push(1);
    }
    let segments = lay_out(&folder, &numbers)?;
    let (sealed, state) = last_state(&folder, &segments)?;
    let state = match state {
        Some(state) => state,
        None => State { salt: salt_of(&folder, &segments, &options)?, ..State::default() },
    };
    let mut scan = Scan::new(&folder, state, OpenReport::default());
    let unsealed = segments.get(sealed..).unwrap_or_default();
    let end = scan.run(unsealed)?;
    let report = std::mem::take(&mut scan.report);
    let in_use = sealed + end.segment + 1;
    let spare = segments.get(in_use).map(|segment| (segment.number, segment.length));
    let segments = segments.get(..in_use).unwrap_or_default().to_vec();
    let journal = begin(&folder, &mut scan, &segments, &end)?;
    let house = House {
        spare,
        current: journal.segment.number,
        seals: std::mem::take(&mut scan.seals),
        ..House::default()
    };
    let Scan { topics, groups, salt, .. } = scan;
    Ok(Shared {
        report,
        salt,
        journal: Mutex::new(journal),
        is_marked: AtomicBool::new(true),
        queue: Mutex::new(Queue::default()),
        queue_changed: Condvar::new(),
        tail: RwLock::new(Tail::new(options.tail_bytes)),
        topics: RwLock::new(topics),
        groups: RwLock::new(groups),
        segments: RwLock::new(segments),
        indexes: Mutex::new(IndexCache::new(options.index_cache_bytes)),
        making: Mutex::new(()),
        house: Mutex::new(house),
        house_changed: Condvar::new(),
        watches: Mutex::default(),
        failure: OnceLock::new(),
        lock: Mutex::new(Some(lock)),
        options,
        folder,
    })
}

fn take_lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Lock>, LogError> {
    let path = dir.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => LogError::Locked { dir: dir.to_owned() },
        _ => LogError::io("locking", &path, error),
    })
}

/// The numbers of the segments in the folder, in order. Unfinished files of an earlier run go.
fn segment_numbers(folder: &Folder) -> Result<Vec<u64>, LogError> {
    let names = folder.disk.list(&folder.dir);
    let names = names.map_err(|error| LogError::io("listing", &folder.dir, error))?;
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        let path = folder.path(name);
        let removed = folder.disk.remove(&path);
        removed.map_err(|error| LogError::io("removing", &path, error))?;
    }
    let mut numbers: Vec<_> = names.iter().filter_map(|name| number_of(name, "journal")).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn lay_out(folder: &Folder, numbers: &[u64]) -> Result<Vec<Segment>, LogError> {
    let mut start = 0;
    let mut segments = Vec::with_capacity(numbers.len());
    for number in numbers {
        let name = file_name(*number, "journal");
        let file = folder.segment(*number)?;
        let length = file.len();
        let length =
            length.map_err(|error| LogError::io("measuring", &folder.path(&name), error))?;
        // Positions stay multiples of eight across files, whatever became of their lengths.
        let length = length - length % 8;
        segments.push(Segment { number: *number, start, length });
        start += length;
    }
    Ok(segments)
}

/// The latest segment whose state and index are good: how many segments that state covers, and it.
fn last_state(folder: &Folder, segments: &[Segment]) -> Result<(usize, Option<State>), LogError> {
    for (place, segment) in segments.iter().enumerate().rev() {
        if let Some(state) = state::load(folder, segment.number)?
            && index::load(folder, segment.number)?.is_some()
        {
            return Ok((place + 1, Some(state)));
        }
    }
    Ok((0, None))
}

/// The log's salt, which each segment's header has; a log without any frame gets one.
fn salt_of(folder: &Folder, segments: &[Segment], options: &Options) -> Result<u64, LogError> {
    let mut is_used = false;
    for segment in segments {
        let name = file_name(segment.number, "journal");
        let path = folder.path(&name);
        let file = folder.segment(segment.number)?;
        let mut bytes = vec![0; size(segment.length.min(4096))];
        let read = segment::read_full(file.as_ref(), &mut bytes, 0);
        read.map_err(|error| LogError::io("reading", &path, error))?;
        if let Some(header) = SegmentHeader::parse(&bytes, &path)? {
            return Ok(header.salt);
        }
        is_used |= bytes.get(segment::HEADER as usize..).is_some_and(|b| b.iter().any(|b| *b != 0));
    }
    if is_used && segments.len() > 1 {
        return Err(LogError::Unreadable {
            what: format!(
                "no journal file in {} has a readable header; restore the folder from a copy",
                folder.dir.display()
            ),
        });
    }
    Ok(options.salt.unwrap_or_else(|| Random::from_entropy().next_u64()))
}

/// Begins a new epoch at the journal's end, durably.
fn begin(
    folder: &Folder,
    scan: &mut Scan<'_>,
    segments: &[Segment],
    end: &End,
) -> Result<Journal, LogError> {
    let Some(segment) = segments.last().copied() else {
        return Err(LogError::Unreadable { what: format!("{}: no journal", folder.dir.display()) });
    };
    let path = folder.path(&file_name(segment.number, "journal"));
    let failed = |error| LogError::io("beginning a new epoch in", &path, error);
    let file = folder.segment(segment.number)?;
    let at = end.at as u64;
    let mut journal = Journal {
        segment,
        file: Arc::clone(&file),
        at,
        // Numbers of frames that may have been written after the end are never given again.
        next_sequence: (scan.expected.max(scan.highest + 1) | 0xffff_ffff) + 1,
        jump_from: Some(scan.expected),
        epoch: scan.epoch + 1,
        salt: scan.salt,
        written: std::mem::take(&mut scan.written),
    };
    if at == segment::HEADER {
        let first = journal.next_sequence;
        let (number, salt, epoch) = (segment.number, journal.salt, journal.epoch);
        let header = SegmentHeader { number, salt, first_sequence: first, epoch };
        file.write_all_at(&header.encode(), 0).map_err(failed)?;
    }
    rewrite_unproven(scan, segment, file.as_ref(), at).map_err(failed)?;
    if !journal.has_room(0) {
        // The next commit leaves this segment, and jumps there; what is in it is durable now.
        file.sync_data().map_err(failed)?;
        return Ok(journal);
    }
    let frames = journal.frames(2 * frame::HEADER, Kind::Open);
    journal.write(frames).map_err(|error| match error {
        crate::journal::WriteError::Write(error) | crate::journal::WriteError::Sync(error) => {
            failed(error)
        }
    })?;
    Ok(journal)
}

/// Frames that nothing proves to be durable are written once more: after a sync that failed the
/// system may hold them in memory only, and believe that they are on the disk.
fn rewrite_unproven(
    scan: &Scan<'_>,
    segment: Segment,
    file: &dyn dhara_world::disk::File,
    end: u64,
) -> io::Result<()> {
    let Some((number, from)) = scan.unproven else { return Ok(()) };
    let from = if number == segment.number { from as u64 } else { segment::HEADER };
    let mut bytes = vec![0; size(end.saturating_sub(from))];
    let read = segment::read_full(file, &mut bytes, from)?;
    bytes.truncate(read);
    file.write_all_at(&bytes, from)
}
