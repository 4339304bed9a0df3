//! State files: all that the log knows beside its records, so that opening it reads only the files
//! of the journal that are not settled yet.
//!
//! A state may be newer than the point of the journal from which it is replayed. It tells up to which
//! sequence it surely knows all; every later frame comes to the same when it is taken up over it.

use bytes::BufMut;

use crate::LogError;
use crate::codec::{Cursor, open_bytes, put_list, seal_bytes};
use crate::frame::{MOST, MOST_EPOCH};
use crate::groups::Position;
use crate::notes::Note;
use crate::producers::Producers;
use crate::segment::{Folder, file_name, number_of};
use crate::settled::SettledFile;
use crate::topics::{MAX_PARTITIONS, TopicRecord};

const MAGIC: &[u8; 8] = b"DHARASTA";
/// A state is written twice, into two files: without it no topic has a name.
pub(crate) const KINDS: [&str; 2] = ["state", "state-copy"];

/// What the log knows beside its records.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) salt: u64,
    pub(crate) epoch: u32,
    /// The first segment of the journal that is not settled.
    pub(crate) first_segment: u64,
    /// The sequence of its first frame.
    pub(crate) first_sequence: u64,
    /// What frames of a lower sequence say is in this state already, but for where batches lie.
    pub(crate) sequence: u64,
    /// The ids of partitions from here on were never given.
    pub(crate) next_partition: u32,
    /// The number that the next settled file gets.
    pub(crate) next_settled: u64,
    pub(crate) topics: Vec<TopicRecord>,
    /// Id, earliest offset and end of each partition.
    pub(crate) bounds: Vec<(u32, u64, u64)>,
    pub(crate) positions: Vec<Position>,
    pub(crate) notes: Vec<Note>,
    pub(crate) producers: Producers,
    /// The settled files of both classes, each in order.
    pub(crate) settled: Vec<SettledFile>,
}

impl State {
    /// The state of a log in which nothing has happened yet.
    pub(crate) fn new(salt: u64, first_segment: u64, most_producers: usize) -> Self {
        Self {
            salt,
            epoch: 0,
            first_segment,
            first_sequence: 0,
            sequence: 0,
            next_partition: 0,
            next_settled: 1,
            topics: Vec::new(),
            bounds: Vec::new(),
            positions: Vec::new(),
            notes: Vec::new(),
            producers: Producers::new(most_producers),
            settled: Vec::new(),
        }
    }

    fn encode(&self, number: u64) -> Vec<u8> {
        let mut rest = Vec::with_capacity(256 + self.bounds.len() * 20);
        rest.put_u64_le(number);
        rest.put_u64_le(self.salt);
        rest.put_u32_le(self.epoch);
        rest.put_u64_le(self.first_segment);
        rest.put_u64_le(self.first_sequence);
        rest.put_u32_le(self.next_partition);
        rest.put_u64_le(self.next_settled);
        put_list(&mut rest, self.topics.iter(), |out, topic| topic.encode(out));
        put_list(&mut rest, self.bounds.iter(), |out, (id, earliest, end)| {
            out.put_u32_le(*id);
            out.put_u64_le(*earliest);
            out.put_u64_le(*end);
        });
        put_list(&mut rest, self.positions.iter(), |out, position| position.encode(out));
        put_list(&mut rest, self.notes.iter(), |out, note| note.encode(out));
        put_list(&mut rest, self.settled.iter(), |out, file| file.encode(out));
        self.producers.encode(&mut rest);
        rest.put_u64_le(self.sequence);
        seal_bytes(MAGIC, &rest)
    }

    fn decode(bytes: &[u8], number: u64, most_producers: usize) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u64()? != number {
            return None;
        }
        let (salt, epoch) = (cursor.u64()?, cursor.u32()?);
        let (first_segment, first_sequence) = (cursor.u64()?, cursor.u64()?);
        let (next_partition, next_settled) = (cursor.u32()?, cursor.u64()?);
        let topics = cursor.list(TopicRecord::decode)?;
        let bounds = cursor.list(|cursor| Some((cursor.u32()?, cursor.u64()?, cursor.u64()?)))?;
        let positions = cursor.list(Position::decode)?;
        let notes = cursor.list(Note::decode)?;
        let settled = cursor.list(SettledFile::decode)?;
        let producers = Producers::decode(&mut cursor, most_producers)?;
        // The first states of this version end here.
        let sequence = if cursor.is_empty() { 0 } else { cursor.u64()? };
        let state = Self {
            salt,
            epoch,
            first_segment,
            first_sequence,
            sequence,
            next_partition,
            next_settled,
            topics,
            bounds,
            positions,
            notes,
            producers,
            settled,
        };
        (cursor.is_empty() && state.can_be()).then_some(state)
    }

    /// Whether its numbers are such as a log can come to: nothing that counts on from them overflows,
    /// and there are no more partitions than memory is to be taken for.
    fn can_be(&self) -> bool {
        let numbers = [self.first_segment, self.first_sequence, self.next_settled];
        let ends = self.bounds.iter().map(|(_, _, end)| *end);
        let partitions = self.topics.iter().map(|topic| u64::from(topic.count())).sum::<u64>();
        numbers.into_iter().chain(ends).all(|number| number < MOST)
            && self.bounds.iter().all(|(_, earliest, end)| earliest <= end)
            && self.epoch < MOST_EPOCH
            && partitions <= u64::from(MAX_PARTITIONS)
    }
}

/// Why a state was not stored.
#[derive(Debug)]
pub(crate) struct NotStored {
    pub(crate) error: LogError,
    /// Whether an opening may find it nevertheless: then the files that it names have to stay.
    pub(crate) may_be_found: bool,
}

impl From<LogError> for NotStored {
    fn from(error: LogError) -> Self {
        Self { error, may_be_found: false }
    }
}

impl From<NotStored> for LogError {
    fn from(not_stored: NotStored) -> Self {
        not_stored.error
    }
}

fn is_readable(bytes: &[u8], number: u64) -> bool {
    let rest = bytes.get(16..).unwrap_or_default();
    State::decode(rest, number, usize::MAX).is_some()
}

/// Writes the state under a number higher than all before, durably. Those before stay.
pub(crate) fn store(folder: &Folder, number: u64, state: &State) -> Result<(), NotStored> {
    let bytes = state.encode(number);
    // Whatever it is made of, the only state that there is must not be one that nobody can read.
    if !is_readable(&bytes, number) {
        return Err(NotStored::from(LogError::Unreadable {
            what: format!(
                "the state of the log in {} could not be read back, so the old one stays; look at \
                 what was damaged when the log was opened, and report this",
                folder.dir.display()
            ),
        }));
    }
    let names = KINDS.map(|kind| file_name(number, kind));
    let written = names.iter().try_for_each(|name| folder.write_temporary(name, &bytes));
    written.inspect_err(|_| names.iter().for_each(|name| folder.drop_temporary(name)))?;
    let named = names.iter().try_for_each(|name| folder.name_temporary(name));
    named.and_then(|()| folder.sync_dir()).map_err(|error| {
        names.iter().for_each(|name| folder.drop_temporary(name));
        let removed = names.iter().try_for_each(|name| folder.remove(name));
        let is_gone = removed.and_then(|()| folder.sync_dir()).is_ok();
        NotStored { error, may_be_found: !is_gone }
    })
}

/// Removes the states before `number`, what version 1 has in their stead, and the settled files that
/// are in none: those of an earlier attempt. What cannot be removed now is the next time.
pub(crate) fn clean(folder: &Folder, number: u64, state: &State) {
    for name in folder.names().unwrap_or_default() {
        let is_old = |kind: &str| number_of(&name, kind).is_some_and(|other| other < number);
        let is_unlisted = number_of(&name, "settled").is_some_and(|number| {
            number < state.next_settled && !state.settled.iter().any(|file| file.number == number)
        });
        if KINDS.into_iter().any(is_old) || number_of(&name, "index").is_some() || is_unlisted {
            drop(folder.remove(&name));
        }
    }
}

/// What was found of the states in a folder.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The newest good one.
    pub(crate) state: Option<State>,
    /// The highest number that any has.
    pub(crate) highest: u64,
    /// The names of files that are damaged.
    pub(crate) damaged: Vec<String>,
}

/// The newest state. That of version 1 is no state of ours: such a log is read from its journal,
/// of which nothing was ever removed.
pub(crate) fn load(folder: &Folder, most_producers: usize) -> Result<Loaded, LogError> {
    let mut found: Vec<(u64, String)> = Vec::new();
    for name in folder.names()? {
        let number = KINDS.iter().find_map(|kind| number_of(&name, kind));
        found.extend(number.map(|number| (number, name)));
    }
    found.sort_unstable();
    let mut loaded = Loaded::default();
    let mut foreign = None;
    for (number, name) in found.into_iter().rev() {
        loaded.highest = loaded.highest.max(number);
        match read_one(folder, number, &name, most_producers) {
            Ok(Read::Good(state)) => {
                loaded.state.get_or_insert(*state);
            }
            Ok(Read::Damaged) => loaded.damaged.push(name),
            Ok(Read::Version1) => {}
            // The version may be what is damaged: the other copy tells.
            Err(error @ LogError::Unreadable { .. }) => {
                loaded.damaged.push(name);
                foreign.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match foreign {
        Some(error) if loaded.state.is_none() => Err(error),
        _ => Ok(loaded),
    }
}

/// Whether a state file is one of version 1, which nobody needs.
pub(crate) fn is_version_1(folder: &Folder, name: &str) -> bool {
    let read = || {
        let file = folder.existing(name).ok()?;
        let bytes = folder.read_all(name, file.as_ref()).ok()?;
        let (version, _) = open_bytes(MAGIC, &bytes, &folder.path(name)).ok()??;
        Some(version == 1)
    };
    read().unwrap_or(false)
}

enum Read {
    Good(Box<State>),
    Damaged,
    Version1,
}

fn read_one(folder: &Folder, number: u64, name: &str, most: usize) -> Result<Read, LogError> {
    let path = folder.path(name);
    let file = folder.existing(name)?;
    let bytes = folder.read_all(name, file.as_ref())?;
    let Some((version, rest)) = open_bytes(MAGIC, &bytes, &path)? else { return Ok(Read::Damaged) };
    if version == 1 {
        return Ok(Read::Version1);
    }
    let state = State::decode(rest, number, most);
    Ok(state.map_or(Read::Damaged, |state| Read::Good(Box::new(state))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dhara_world::disk::SimDisk;

    use super::*;

    #[test]
    fn a_state_that_could_not_be_read_back_is_not_stored() {
        let disk = SimDisk::new();
        let folder = Folder::new(Arc::new(disk.clone()), "/log".into());
        let mut state = State::new(7, 1, 10);
        store(&folder, 1, &state).unwrap();
        let before = disk.contents();
        // A partition that begins behind its end.
        state.bounds.push((0, 5, 3));
        let refused = store(&folder, 2, &state).unwrap_err();
        assert!(!refused.may_be_found);
        assert!(refused.error.to_string().contains("could not be read back"), "{}", refused.error);
        assert_eq!(disk.contents(), before);
    }
}
