//! Notes: small durable state that others keep in the log, by name.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::LogError;
use crate::codec::{Cursor, put_block, put_text};

/// The longest name, and the longest value.
const MAX_NAME: usize = 4096;
const MAX_VALUE: usize = 1 << 20;

/// A note as it is from now on. All notes are held in memory: they are for what a group or a
/// transaction has to remember, not for data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its name.
    pub name: Arc<str>,
    /// What it says; `None` removes it.
    pub value: Option<Bytes>,
}

impl Note {
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let value = self.value.as_ref().map_or(0, Bytes::len);
        if self.name.is_empty() || self.name.len() > MAX_NAME || value > MAX_VALUE {
            return Err(LogError::invalid(format!(
                "note {:?} of {value} bytes: a name has 1 to {MAX_NAME} bytes, a value at most \
                 {MAX_VALUE}",
                self.name.chars().take(64).collect::<String>()
            )));
        }
        Ok(())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, &self.name);
        out.push(u8::from(self.value.is_some()));
        if let Some(value) = &self.value {
            put_block(out, value);
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let name = Arc::from(cursor.text()?);
        let value = match cursor.u8()? {
            0 => None,
            1 => Some(Bytes::copy_from_slice(cursor.block()?)),
            _ => return None,
        };
        Some(Self { name, value })
    }

    pub(crate) fn decode_all(bytes: &[u8]) -> Option<Vec<Self>> {
        let mut cursor = Cursor::new(bytes);
        let mut all = Vec::new();
        while !cursor.is_empty() {
            all.push(Self::decode(&mut cursor)?);
        }
        Some(all)
    }
}

/// All notes, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    by_name: BTreeMap<Arc<str>, Bytes>,
}

impl Notes {
    pub(crate) fn set(&mut self, note: Note) {
        match note.value {
            Some(value) => drop(self.by_name.insert(note.name, value)),
            None => drop(self.by_name.remove(&note.name)),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Bytes> {
        self.by_name.get(name)
    }

    /// The notes whose names begin with `prefix`, by name.
    pub(crate) fn of<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Bytes)> {
        let from = self.by_name.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(name, _)| name.starts_with(prefix))
    }

    pub(crate) fn all(&self) -> Vec<Note> {
        let note = |(name, value): (&Arc<str>, &Bytes)| Note {
            name: Arc::clone(name),
            value: Some(value.clone()),
        };
        self.by_name.iter().map(note).collect()
    }
}
