//! What producers will have appended once the commit that is being gathered is durable.

use std::collections::BTreeMap;

use super::known::Known;
use super::{Key, ProducerError, Producers, Sequenced, Verdict};

/// Lies over [`Producers`] while one commit is gathered: later batches of the commit are checked
/// against the earlier ones, and nobody else sees them.
///
/// When the commit is durable its [`Notes`] are applied; when it fails they are dropped. As long as
/// no idempotent producer comes it takes no memory. For the length of a commit it may know a pair
/// that [`Producers`] is about to forget, which only recognises more.
#[derive(Debug)]
pub(crate) struct Pending<'a> {
    durable: &'a Producers,
    known: BTreeMap<Key, Known>,
    notes: Vec<Note>,
    /// For each note of the running append, what was known in `known` before.
    undo: Vec<(Key, Option<Known>)>,
}

/// What one commit has to remember of its batches, in their order.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) partition: u32,
    pub(super) batch: Sequenced,
    pub(super) base: u64,
    pub(super) next: u64,
    pub(super) now_ms: u64,
}

impl<'a> Pending<'a> {
    pub(crate) fn over(durable: &'a Producers) -> Self {
        Self { durable, known: BTreeMap::new(), notes: Vec::new(), undo: Vec::new() }
    }

    /// Begins an append. What is noted from here on is what [`Pending::roll_back`] takes back.
    pub(crate) fn begin(&mut self) {
        self.undo.clear();
    }

    /// As [`Producers::check`], with what this commit holds already. The original of a repeat may
    /// be in this very commit, so a repeat as well is acked only when the commit is durable.
    pub(crate) fn check(
        &self,
        partition: u32,
        batch: &Sequenced,
    ) -> Result<Verdict, ProducerError> {
        match self.known.get(&(partition, batch.producer)) {
            Some(known) => known.check(batch),
            None => self.durable.check(partition, batch),
        }
    }

    /// As [`Producers::note`], for this commit only.
    pub(crate) fn note(
        &mut self,
        partition: u32,
        batch: &Sequenced,
        base: u64,
        next: u64,
        now_ms: u64,
    ) {
        let key = (partition, batch.producer);
        let pending = self.known.get(&key).copied();
        let known = match pending.or_else(|| self.durable.known(&key).copied()) {
            Some(mut known) => {
                known.note(batch, base, next);
                known
            }
            None => Known::begin(batch, base, next),
        };
        self.known.insert(key, known);
        self.undo.push((key, pending));
        self.notes.push(Note { partition, batch: *batch, base, next, now_ms });
    }

    /// Takes back what was noted since [`Pending::begin`], as its append is refused.
    pub(crate) fn roll_back(&mut self) {
        self.notes.truncate(self.notes.len().saturating_sub(self.undo.len()));
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(known) => self.known.insert(key, known),
                None => self.known.remove(&key),
            };
        }
    }

    /// What is to be applied when the commit is durable.
    pub(crate) fn into_notes(self) -> Notes {
        Notes(self.notes)
    }
}

impl Notes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Note> {
        self.0.into_iter()
    }
}
