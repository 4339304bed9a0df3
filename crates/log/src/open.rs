//! Opens a folder as a log.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use dhara_world::disk::Lock;
use dhara_world::{Disk, Random};

use crate::buffers::Buffers;
use crate::codec::size;
use crate::frame::{self, Header, Kind};
use crate::house::House;
use crate::journal::Journal;
use crate::look::{Found, header_of, look, take_lock};
use crate::recovery::Recovered;
use crate::segment::{self, Folder, Segment, SegmentHeader, file_name};
use crate::settled::{Class, IndexCache};
use crate::shared::{Queue, Shared};
use crate::state;
use crate::sync::atomic::{AtomicBool, AtomicU64};
use crate::sync::{Condvar, Mutex, RwLock, lock, read};
use crate::tail::Tail;
use crate::{LogError, Options};

pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: Options,
) -> Result<Arc<Shared>, LogError> {
    let made = disk.create_dir_all(dir);
    made.map_err(|error| LogError::io("making the folder", dir, error))?;
    let lock = take_lock(disk.as_ref(), dir)?;
    let folder = Folder::new(disk, dir.to_owned());
    let found = match look(&folder, &options)? {
        Some(found) => Some(found),
        None => {
            make_first(&folder, &options)?;
            look(&folder, &options)?
        }
    };
    let Some(mut found) = found else { return Err(no_log(dir)) };
    for name in &found.leftovers {
        folder.remove(name)?;
    }
    for torn in &found.recovered.torn {
        let cut = torn.cut(&folder)?;
        found.recovered.report.cut.push(cut);
    }
    keep_losses(&folder, &mut found)?;
    let journal = begin(&folder, &found.recovered, &found.segments)?;
    let shared = assemble(folder, found, journal, Some(lock), options)?;
    shared.begin_epoch()?;
    Ok(shared)
}

/// The log that was found in a folder, and goes on as `journal` says.
pub(crate) fn assemble(
    folder: Folder,
    found: Found,
    journal: Journal,
    lock: Option<Box<dyn Lock>>,
    options: Options,
) -> Result<Arc<Shared>, LogError> {
    let Found { next_settled, segments, spare, free, settled, state_number, recovered, .. } = found;
    let Recovered { topics, groups, notes, producers, salt, report, .. } = recovered;
    let measured = |segment: Segment| (segment.number, segment.length);
    let syncs = Arc::clone(&journal.syncs);
    let house = House {
        spare: spare.map(measured),
        wanted: None,
        current: journal.segment.number,
        free: free.into_iter().map(measured).collect(),
        state_number,
        deleted: Vec::new(),
        unswept: settled.all().map(|held| held.file.number).collect(),
        is_called: false,
        is_closed: false,
    };
    let shared = Arc::new_cyclic(|me| Shared {
        me: me.clone(),
        report,
        salt,
        epoch: journal.epoch,
        settling: Mutex::default(),
        journal: Mutex::new(journal),
        is_marked: AtomicBool::new(true),
        queue: Mutex::new(Queue::new(me.clone())),
        queue_changed: Condvar::new(),
        has_committer: AtomicBool::new(false),
        tail: RwLock::new(Tail::new(options.tail_bytes)),
        topics: RwLock::new(topics),
        groups: RwLock::new(groups),
        notes: RwLock::new(notes),
        producers: RwLock::new(producers),
        segments: RwLock::new(Arc::new(segments)),
        settled: RwLock::new(Arc::new(settled)),
        next_settled: AtomicU64::new(next_settled),
        indexes: Mutex::new(IndexCache::new(options.index_cache_bytes)),
        buffers: Buffers::default(),
        knows_holes: AtomicBool::new(true),
        syncs,
        damage: Mutex::default(),
        making: Mutex::new(()),
        house: Mutex::new(house),
        house_changed: Condvar::new(),
        watches: Mutex::default(),
        topic_changes: AtomicU64::new(0),
        topic_watchers: Mutex::default(),
        failure: OnceLock::new(),
        lock: Mutex::new(lock),
        options,
        folder,
    });
    shared.mark_compacted()?;
    Ok(shared)
}

impl Shared {
    /// Begins the epoch in the next segment where there was no room for it in the last. On a disk
    /// that is full the next append does it.
    fn begin_epoch(&self) -> Result<(), LogError> {
        let mut journal = lock(&self.journal);
        if journal.jump_from.is_none() {
            return Ok(());
        }
        match self.rotate(&mut journal, 0) {
            Ok(()) => self.put_open(&mut journal),
            Err(LogError::Full { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn put_open(&self, journal: &mut Journal) -> Result<(), LogError> {
        let base = journal.next_sequence;
        let mut frames = journal.frames(Kind::Open);
        if frames.len() == 0 {
            frames.push(Header { base, ..Header::plain(Kind::Open) }, &[]);
        }
        match journal.write(frames, true) {
            Ok(_) => Ok(()),
            Err(error) => match self.write_failed(journal, error) {
                LogError::Full { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    /// A topic may be compacted no more and still have the gaps: whoever has records in files that
    /// are compacted is told by the ends in the last of them.
    fn mark_compacted(&self) -> Result<(), LogError> {
        let settled = Arc::clone(&read(&self.settled));
        let Some(last) = settled.files(Class::Compact).last() else { return Ok(()) };
        let topics = read(&self.topics);
        for (partition, _) in self.index_of(&settled, last)?.ends() {
            topics.by_id(*partition).into_iter().for_each(|it| it.set_compacted());
        }
        Ok(())
    }
}

/// The first segment of a new log.
fn make_first(folder: &Folder, options: &Options) -> Result<(), LogError> {
    let least = Segment::length_for(4 * frame::HEADER);
    let salt = options.salt.unwrap_or_else(|| Random::from_entropy().next_u64());
    let length = options.first_segment_bytes.max(least);
    let header = SegmentHeader { number: 1, salt, first_sequence: 0, epoch: 0, length };
    folder.create_segment(1, length, &header.encode())
}

/// A folder in which the log that was just made is not to be found.
fn no_log(dir: &Path) -> LogError {
    LogError::Unreadable { what: format!("{}: the files of the log are gone", dir.display()) }
}

/// Where frames were lost, makes durable from which offsets the partitions go on, before anything is
/// written that would hide the loss.
fn keep_losses(folder: &Folder, found: &mut Found) -> Result<(), LogError> {
    if !found.recovered.has_losses {
        return Ok(());
    }
    found.state_number += 1;
    let state = found.state();
    state::store(folder, found.state_number, &state)?;
    state::clean(folder, found.state_number, &state);
    for broken in &found.recovered.broken {
        folder.set_aside(&file_name(*broken, "journal"), &format!("{broken:020}-{:012}.cut", 0))?;
    }
    Ok(())
}

/// Begins a new epoch at the journal's end, durably.
fn begin(
    folder: &Folder,
    recovered: &Recovered,
    segments: &[Segment],
) -> Result<Journal, LogError> {
    let Some(segment) = segments.last().copied() else {
        return Err(LogError::Unreadable { what: format!("{}: no journal", folder.dir.display()) });
    };
    let path = folder.path(&file_name(segment.number, "journal"));
    let failed = |error| LogError::io("beginning a new epoch in", &path, error);
    let file = folder.segment(segment.number)?;
    let at = recovered.end.at as u64;
    let mut journal = Journal {
        segment,
        file: Arc::clone(&file),
        at,
        // Numbers of frames that may have been written after the end are never given again.
        next_sequence: (recovered.expected.max(recovered.highest + 1) | 0xffff_ffff) + 1,
        durable: recovered.expected,
        is_dirty: false,
        jump_from: Some(recovered.expected),
        epoch: recovered.epoch + 1,
        salt: recovered.salt,
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
    rewrite_unproven(recovered, segment, file.as_ref(), at).map_err(failed)?;
    // The next frame tells that all before it is durable.
    file.sync_data().map_err(failed)?;
    if !journal.has_room(0) {
        // The epoch begins in the next segment.
        return Ok(journal);
    }
    let frames = journal.frames(Kind::Open);
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
    recovered: &Recovered,
    segment: Segment,
    file: &dyn dhara_world::disk::File,
    end: u64,
) -> io::Result<()> {
    let Some((number, from)) = recovered.unproven else { return Ok(()) };
    let from = if number == segment.number { from as u64 } else { segment::HEADER };
    let mut bytes = vec![0; size(end.saturating_sub(from))];
    let read = segment::read_full(file, &mut bytes, from)?;
    bytes.truncate(read);
    file.write_all_at(&bytes, from)
}
