//! What a folder holds: found without writing anything.

use std::io;
use std::path::Path;

use dhara_world::Disk;
use dhara_world::disk::Lock;

use crate::codec::size;
use crate::recovery::{OpenReport, Recovered, Scan};
use crate::segment::{self, Folder, Segment, SegmentHeader, file_name, number_of};
use crate::settled::{Held, Settled};
use crate::state::{self, State};
use crate::{Damage, LogError, Options};

/// A log as it lies in its folder.
#[derive(Debug)]
pub(crate) struct Found {
    /// The segments of the journal, up to the one in which it ends.
    pub(crate) segments: Vec<Segment>,
    /// The segment after them, where there is one.
    pub(crate) spare: Option<Segment>,
    /// Segments that are settled, and wait to be used again.
    pub(crate) free: Vec<Segment>,
    pub(crate) settled: Settled,
    /// The number that the next settled file gets.
    pub(crate) next_settled: u64,
    /// The highest number that a state file has.
    pub(crate) state_number: u64,
    /// The names of files that were never finished, or are merged by now.
    pub(crate) leftovers: Vec<String>,
    pub(crate) recovered: Recovered,
}

impl Found {
    /// All that is known after the last frame that was found.
    pub(crate) fn state(&self) -> State {
        let found = &self.recovered;
        let (first_segment, first_sequence) = found.first;
        State {
            salt: found.salt,
            epoch: found.epoch,
            first_segment,
            first_sequence,
            // The next frame jumps over the one that was expected.
            sequence: found.expected + 1,
            next_partition: found.topics.next_id(),
            next_settled: self.next_settled,
            topics: found.topics.all().map(|topic| topic.record.clone()).collect(),
            bounds: found.topics.bounds(),
            positions: found.groups.positions(),
            notes: found.notes.all(),
            producers: found.producers.clone(),
            settled: self.settled.all().map(|held| held.file).collect(),
        }
    }
}

/// Looks at the log in a folder; `None` where there is none.
pub(crate) fn look(folder: &Folder, options: &Options) -> Result<Option<Found>, LogError> {
    let names = folder.names()?;
    let numbers = segment_numbers(&names);
    let loaded = state::load(folder, options.max_producers)?;
    if numbers.is_empty() && loaded.state.is_none() && loaded.damaged.is_empty() {
        return match names.iter().find(|name| number_of(name, "settled").is_some()) {
            Some(left) => Err(nothing_but(folder, left)),
            None => Ok(None),
        };
    }
    let damage = loaded.damaged.iter().map(|name| damaged_state(folder, name)).collect();
    let mut report = OpenReport { damage, ..OpenReport::default() };
    let state = match loaded.state {
        Some(state) => state,
        None => {
            let is_all_there = loaded.damaged.is_empty()
                || !names.iter().any(|name| number_of(name, "settled").is_some());
            begin_state(folder, &numbers, is_all_there, options.max_producers)?
        }
    };
    let is_free = |number: &&u64| **number < state.first_segment;
    let free: Vec<_> = numbers.iter().filter(is_free).copied().collect();
    let used: Vec<_> = numbers.iter().filter(|number| !is_free(number)).copied().collect();
    let now = i64::try_from(options.clock.now().as_millis()).unwrap_or(i64::MAX);
    let settled = settled_of(folder, &names, &state, now, &mut report);
    let (next_settled, leftovers) = (state.next_settled, leftovers_of(&names, &state));
    let free = lay_out(folder, &free)?;
    let mut segments = lay_out(folder, &used)?;
    if segments.is_empty() {
        return Err(no_journal(folder, state.first_segment));
    }
    let recovered = Scan::new(folder, state, report, now).run(&mut segments)?;
    let spare = segments.get(recovered.end.segment + 1);
    let spare = spare.filter(|spare| !recovered.broken.contains(&spare.number)).copied();
    segments.truncate(recovered.end.segment + 1);
    let state_number = loaded.highest;
    Ok(Some(Found {
        segments,
        spare,
        free,
        settled,
        next_settled,
        state_number,
        leftovers,
        recovered,
    }))
}

/// Files that a run before has not finished, and settled files that no state names.
fn leftovers_of(names: &[String], state: &State) -> Vec<String> {
    let is_known = |number: u64| state.settled.iter().any(|file| file.number == number);
    let is_left = |name: &&String| {
        name.ends_with(".tmp") || number_of(name, "settled").is_some_and(|number| !is_known(number))
    };
    names.iter().filter(is_left).cloned().collect()
}

/// The numbers of the segments among these files, in order.
fn segment_numbers(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<_> = names.iter().filter_map(|name| number_of(name, "journal")).collect();
    numbers.sort_unstable();
    numbers
}

fn damaged_state(folder: &Folder, name: &str) -> Damage {
    let what = "a state file; another copy of it was used".to_owned();
    Damage { file: folder.path(name), position: 0, length: 0, what }
}

/// Where no state was ever written, the journal is all there, from its first segment on.
fn begin_state(
    folder: &Folder,
    numbers: &[u64],
    is_all_there: bool,
    most: usize,
) -> Result<State, LogError> {
    if numbers.first() != Some(&1) || !is_all_there {
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

/// Settled files without a journal or a state are what is left of a log, and no leftovers.
fn nothing_but(folder: &Folder, left: &str) -> LogError {
    LogError::Unreadable {
        what: format!(
            "{}: there are settled files, {left} among them, but no journal and no state: the names of \
             the topics are not known; restore the folder from a copy, or use another",
            folder.dir.display()
        ),
    }
}

/// The settled files that the state names. One that is missing is damage; the rest stays readable.
fn settled_of(
    folder: &Folder,
    names: &[String],
    state: &State,
    now: i64,
    report: &mut OpenReport,
) -> Settled {
    const HOUR: i64 = 60 * 60 * 1000;
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
    Settled::new(found)
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

pub(crate) fn header_of(
    folder: &Folder,
    segment: &Segment,
) -> Result<Option<SegmentHeader>, LogError> {
    let path = folder.path(&file_name(segment.number, "journal"));
    let file = folder.segment(segment.number)?;
    let mut bytes = vec![0; size(segment::HEADER)];
    let read = segment::read_full(file.as_ref(), &mut bytes, 0);
    bytes.truncate(read.map_err(|error| LogError::io("reading", &path, error))?);
    SegmentHeader::parse(&bytes, &path)
}

pub(crate) fn take_lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Lock>, LogError> {
    let path = dir.join("lock");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => LogError::Locked { dir: dir.to_owned() },
        _ => LogError::io("locking", &path, error),
    })
}
