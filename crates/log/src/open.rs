//! Opens a folder as a log.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use dhara_world::disk::Lock;
use dhara_world::{Disk, Random};

use crate::buffers::Buffers;
use crate::codec::size;
use crate::frame::{self, Kind};
use crate::house::House;
use crate::journal::Journal;
use crate::recovery::{End, OpenReport, Scan};
use crate::segment::{self, Folder, Segment, SegmentHeader, file_name, number_of};
use crate::settled::{Held, IndexCache, Settled};
use crate::shared::{Queue, Shared};
use crate::state::{self, State};
use crate::sync::atomic::AtomicBool;
use crate::sync::{Condvar, Mutex, RwLock};
use crate::tail::Tail;
use crate::{Damage, LogError, Options};

pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<Shared, LogError> {
    let made = disk.create_dir_all(dir);
    made.map_err(|error| LogError::io("making the folder", dir, error))?;
    let lock = take_lock(disk.as_ref(), dir)?;
    let folder = Folder::new(disk, dir.to_owned());
    let mut numbers = segment_numbers(&folder)?;
    let state::Loaded { state, highest, damaged } = state::load(&folder, options.max_producers)?;
    if numbers.is_empty() && state.is_none() && damaged.is_empty() {
        make_first(&folder, &options)?;
        numbers.push(1);
    }
    let damage = damaged.iter().map(|name| damaged_state(&folder, name)).collect();
    let mut report = OpenReport { damage, ..OpenReport::default() };
    let state = match state {
        Some(state) => state,
        None => begin_state(&folder, &numbers, &damaged, options.max_producers)?,
    };
    let free = numbers.iter().copied().filter(|number| *number < state.first_segment);
    let free = lay_out(&folder, &free.collect::<Vec<_>>())?;
    numbers.retain(|number| *number >= state.first_segment);
    let now = i64::try_from(options.clock.now().as_millis()).unwrap_or(i64::MAX);
    let settled = open_settled(&folder, &state, now, &mut report)?;
    let mut segments = lay_out(&folder, &numbers)?;
    if segments.is_empty() {
        return Err(no_journal(&folder, state.first_segment));
    }
    let mut scan = Scan::new(&folder, state, report, now);
    let end = scan.run(&mut segments)?;
    let spare = segments.get(end.segment + 1).filter(|it| !scan.broken.contains(&it.number));
    let spare = spare.map(|segment| (segment.number, segment.length));
    segments.truncate(end.segment + 1);
    let highest = keep_losses(&folder, &scan, &settled, highest)?;
    let journal = begin(&folder, &mut scan, &segments, &end)?;
    let syncs = Arc::clone(&journal.syncs);
    let house = House {
        spare,
        wanted: None,
        current: journal.segment.number,
        free: free.iter().map(|segment| (segment.number, segment.length)).collect(),
        state_number: highest,
        deleted: Vec::new(),
        unswept: settled.all().map(|held| held.file.number).collect(),
        is_called: false,
        is_closed: false,
    };
    let Scan { topics, groups, notes, producers, salt, report, .. } = scan;
    Ok(Shared {
        report,
        salt,
        epoch: journal.epoch,
        settling: Mutex::default(),
        journal: Mutex::new(journal),
        is_marked: AtomicBool::new(true),
        queue: Mutex::new(Queue::default()),
        queue_changed: Condvar::new(),
        tail: RwLock::new(Tail::new(options.tail_bytes)),
        topics: RwLock::new(topics),
        groups: RwLock::new(groups),
        notes: RwLock::new(notes),
        producers: RwLock::new(producers),
        segments: RwLock::new(Arc::new(segments)),
        settled: RwLock::new(Arc::new(settled)),
        indexes: Mutex::new(IndexCache::new(options.index_cache_bytes)),
        buffers: Buffers::default(),
        knows_holes: AtomicBool::new(true),
        syncs,
        damage: Mutex::default(),
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

/// The first segment of a new log.
fn make_first(folder: &Folder, options: &Options) -> Result<(), LogError> {
    let least = Segment::length_for(4 * frame::HEADER);
    let salt = options.salt.unwrap_or_else(|| Random::from_entropy().next_u64());
    let length = options.first_segment_bytes.max(least);
    let header = SegmentHeader { number: 1, salt, first_sequence: 0, epoch: 0, length };
    folder.create_segment(1, length, &header.encode())
}

fn damaged_state(folder: &Folder, name: &str) -> Damage {
    let what = "a state file; another copy of it was used".to_owned();
    Damage { file: folder.path(name), position: 0, length: 0, what }
}

/// Where no state was ever written, the journal is all there, from its first segment on.
fn begin_state(
    folder: &Folder,
    numbers: &[u64],
    damaged: &[String],
    most: usize,
) -> Result<State, LogError> {
    let has_settled = folder.names()?.iter().any(|name| number_of(name, "settled").is_some());
    if numbers.first() != Some(&1) || (has_settled && !damaged.is_empty()) {
        return Err(LogError::Unreadable {
            what: format!(
                "no state file in {} is readable, and not all that was written is in the journal: \
                 the names of the topics are not known; restore the folder from a copy",
                folder.dir.display()
            ),
        });
    }
    let segments = lay_out(folder, numbers)?;
    Ok(State::new(salt_of(folder, &segments)?, 1, most))
}

fn no_journal(folder: &Folder, first: u64) -> LogError {
    LogError::Unreadable {
        what: format!(
            "{}: the journal's file {} is missing; restore the folder from a copy",
            folder.dir.display(),
            file_name(first, "journal")
        ),
    }
}

/// The settled files that the state names. Others were never finished, or are merged by now. One that
/// is missing is damage; the rest stays readable.
fn open_settled(
    folder: &Folder,
    state: &State,
    now: i64,
    report: &mut OpenReport,
) -> Result<Settled, LogError> {
    const HOUR: i64 = 60 * 60 * 1000;
    let names = folder.names()?;
    for name in &names {
        let number = number_of(name, "settled");
        if number.is_some_and(|number| !state.settled.iter().any(|file| file.number == number)) {
            folder.remove(name)?;
        }
    }
    let mut found = Vec::with_capacity(state.settled.len());
    for file in &state.settled {
        if names.binary_search(&file.name()).is_err() {
            let (path, length) = (folder.path(&file.name()), file.length);
            let what = "a settled file is missing".to_owned();
            report.damage.push(Damage { file: path, position: 0, length, what });
            continue;
        }
        let held = Held::new(*file);
        // Whether tombstones are due in it is looked at in a while.
        held.set_again_at(now.saturating_add(HOUR));
        found.push(held);
    }
    Ok(Settled::new(found, state.next_settled))
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
        segments.push(Segment { number: *number, start, length, first_sequence: 0 });
        start += length;
    }
    Ok(segments)
}

/// The log's salt, which each segment's header has. The first one has had it from the moment that it
/// got its name.
fn salt_of(folder: &Folder, segments: &[Segment]) -> Result<u64, LogError> {
    for segment in segments {
        if let Some(header) = header_of(folder, segment)? {
            return Ok(header.salt);
        }
    }
    Err(LogError::Unreadable {
        what: format!(
            "no journal file in {} has a readable header; restore the folder from a copy",
            folder.dir.display()
        ),
    })
}

fn header_of(folder: &Folder, segment: &Segment) -> Result<Option<SegmentHeader>, LogError> {
    let path = folder.path(&file_name(segment.number, "journal"));
    let file = folder.segment(segment.number)?;
    let mut bytes = vec![0; size(segment::HEADER)];
    let read = segment::read_full(file.as_ref(), &mut bytes, 0);
    bytes.truncate(read.map_err(|error| LogError::io("reading", &path, error))?);
    SegmentHeader::parse(&bytes, &path)
}

/// Where frames were lost, makes durable from which offsets the partitions go on, before anything is
/// written that would hide the loss. Gives the number of the latest state file.
fn keep_losses(
    folder: &Folder,
    scan: &Scan<'_>,
    settled: &Settled,
    highest: u64,
) -> Result<u64, LogError> {
    if !scan.has_losses() {
        return Ok(highest);
    }
    let number = highest + 1;
    let state = scan.state(settled);
    state::store(folder, number, &state)?;
    state::clean(folder, number, &state);
    for broken in &scan.broken {
        folder.set_aside(&file_name(*broken, "journal"), &format!("{broken:020}-{:012}.cut", 0))?;
    }
    Ok(number)
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
        durable: scan.expected,
        is_dirty: false,
        jump_from: Some(scan.expected),
        epoch: scan.epoch + 1,
        salt: scan.salt,
        pool: Vec::new(),
        syncs: Arc::default(),
    };
    if header_of(folder, &segment)?.is_none_or(|header| header.number != segment.number) {
        let first = journal.next_sequence;
        let (number, salt, epoch) = (segment.number, journal.salt, journal.epoch);
        let length = segment.length;
        let header = SegmentHeader { number, salt, first_sequence: first, epoch, length };
        file.write_all_at(&header.encode(), 0).map_err(failed)?;
    }
    rewrite_unproven(scan, segment, file.as_ref(), at).map_err(failed)?;
    // The next frame tells that all before it is durable.
    file.sync_data().map_err(failed)?;
    if !journal.has_room(0) {
        // The next commit leaves this segment, and jumps there.
        return Ok(journal);
    }
    let frames = journal.frames(2 * frame::HEADER, Kind::Open);
    journal.write(frames, true).map_err(|error| match error {
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
