//! State files: topics, ends and committed offsets at the end of a sealed segment, so that opening
//! the log reads none of what lies before.

use bytes::BufMut;
use dhara_world::disk::OpenMode;

use crate::LogError;
use crate::codec::Cursor;
use crate::groups::Position;
use crate::housekeep::State;
use crate::index::{open_bytes, seal_bytes};
use crate::segment::{Folder, file_name};
use crate::topics::Creation;

const MAGIC: &[u8; 8] = b"DHARASTA";

pub(crate) fn encode(state: &State, number: u64) -> Vec<u8> {
    let mut rest = Vec::with_capacity(64 + state.ends.len() * 8 + state.positions.len() * 48);
    rest.put_u64_le(number);
    rest.put_u64_le(state.salt);
    rest.put_u64_le(state.next_sequence);
    rest.put_u32_le(state.epoch);
    for length in [state.topics.len(), state.ends.len(), state.positions.len()] {
        rest.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    }
    state.topics.iter().for_each(|topic| topic.encode(&mut rest));
    state.ends.iter().for_each(|end| rest.put_u64_le(*end));
    state.positions.iter().for_each(|position| position.encode(&mut rest));
    seal_bytes(MAGIC, &rest)
}

fn decode(bytes: &[u8], number: u64) -> Option<State> {
    let mut cursor = Cursor::new(bytes);
    if cursor.u64()? != number {
        return None;
    }
    let (salt, next_sequence, epoch) = (cursor.u64()?, cursor.u64()?, cursor.u32()?);
    let (topics, ends, positions) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
    let mut state = State { salt, next_sequence, epoch, ..State::default() };
    for _ in 0..topics {
        state.topics.push(Creation::decode(&mut cursor)?);
    }
    for _ in 0..ends {
        state.ends.push(cursor.u64()?);
    }
    for _ in 0..positions {
        state.positions.push(Position::decode(&mut cursor)?);
    }
    cursor.is_empty().then_some(state)
}

/// The state after segment `number`; `None` where the file is missing or damaged.
pub(crate) fn load(folder: &Folder, number: u64) -> Result<Option<State>, LogError> {
    let name = file_name(number, "state");
    let path = folder.path(&name);
    let file = match folder.disk.open(&path, OpenMode::Existing) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LogError::io("opening", &path, error)),
    };
    let bytes = folder.read_all(&name, file.as_ref())?;
    Ok(open_bytes(MAGIC, &bytes, &path)?.and_then(|rest| decode(rest, number)))
}
