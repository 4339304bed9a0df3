//! The outbox in memory: what the running transaction changes in it, and the newest rows that were
//! committed, so that the relay need not read back what was just written.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{CachedStatement, Connection};
use tokio::sync::Notify;

use super::super::headers;
use super::super::{MOST_OUTBOX_BYTES, OutboxRow, Param};
use super::statement::{self, integer};

/// Eight rows at a time: a statement costs about as much to begin and end as a row to write.
const AT_ONCE: usize = 8;
const ADD_MANY: &str = "INSERT INTO dhara_outbox VALUES
    (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?),
    (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?)";
const ADD_ONE: &str = "INSERT INTO dhara_outbox VALUES (?, ?, ?, ?, ?, ?)";
const COUNT: &str = "INSERT INTO dhara_counters VALUES ('outbox', ?)
    ON CONFLICT DO UPDATE SET value = excluded.value WHERE excluded.value > value";

/// How many rows, and how many bytes of keys and bodies, stay in memory.
const MAX_ROWS: usize = 8192;
const MAX_BYTES: usize = 4 << 20;

/// What the running transaction has done to the outbox.
#[derive(Debug)]
pub(super) struct Changes {
    /// The sequence that the next row gets.
    pub(super) next: u64,
    pub(super) added: Vec<OutboxRow>,
    pub(super) removed: Vec<RangeInclusive<u64>>,
}

/// A moment in a transaction to which it may be rolled back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    next: u64,
    added: usize,
    removed: usize,
}

impl Changes {
    pub(super) fn new(next: u64) -> Self {
        Self { next, added: Vec::new(), removed: Vec::new() }
    }

    /// Adds rows, each under the next sequence. They reach the file in one go before the commit.
    pub(super) fn add(&mut self, rows: Vec<OutboxRow>) {
        for mut row in rows {
            row.sequence = self.next;
            self.next += 1;
            self.added.push(row);
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { next: self.next, added: self.added.len(), removed: self.removed.len() }
    }

    /// Forgets what came after `mark`; its sequences were seen by nobody and are given again.
    pub(super) fn roll_back(&mut self, mark: Mark) {
        self.next = mark.next;
        self.added.truncate(mark.added);
        self.removed.truncate(mark.removed);
    }
}

/// Writes the rows that were added, and the counter where rows were removed; see [`super::schema`].
pub(super) fn write(connection: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    let (many, rest) = changes.added.as_chunks::<AT_ONCE>();
    if !many.is_empty() {
        let mut add = connection.prepare_cached(ADD_MANY)?;
        many.iter().try_for_each(|rows| insert(&mut add, rows))?;
    }
    if !rest.is_empty() {
        let mut add = connection.prepare_cached(ADD_ONE)?;
        rest.iter().try_for_each(|row| insert(&mut add, std::slice::from_ref(row)))?;
    }
    if !changes.removed.is_empty() {
        let mut count = connection.prepare_cached(COUNT)?;
        statement::bind_from(&mut count, 1, &[Param::Int(integer(changes.next - 1))])?;
        statement::drain(&mut count)?;
    }
    Ok(())
}

fn insert(statement: &mut CachedStatement<'_>, rows: &[OutboxRow]) -> rusqlite::Result<()> {
    for (row, first) in rows.iter().zip((1..).step_by(6)) {
        let headers = headers::encode(&row.headers);
        let params = [
            Param::Int(integer(row.sequence)),
            Param::Text(row.topic.as_str()),
            Param::from(row.key.as_deref()),
            Param::Blob(&headers),
            Param::Int(integer(row.timestamp.as_micros())),
            Param::Blob(&row.body),
        ];
        statement::bind_from(statement, first, &params)?;
    }
    statement::drain(statement)
}

/// The newest committed rows.
///
/// It holds every row of the outbox from `floor` on; older ones are only in the file.
#[derive(Debug)]
pub(super) struct Tail {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    rows: VecDeque<OutboxRow>,
    bytes: usize,
    floor: u64,
}

impl Tail {
    /// Nothing in memory yet; `next` is the sequence of the first row that will be.
    pub(super) fn new(next: u64) -> Self {
        let state = State { rows: VecDeque::new(), bytes: 0, floor: next };
        let tail = Self { state: Mutex::new(state), changed: Notify::new() };
        // What an earlier process left is there to be shown.
        tail.changed.notify_one();
        tail
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what was just committed.
    pub(super) fn commit(&self, changes: &mut Changes) {
        let added = !changes.added.is_empty();
        if !added && changes.removed.is_empty() {
            return;
        }
        let mut state = self.state();
        for row in changes.added.drain(..) {
            state.bytes += size_of(&row);
            state.rows.push_back(row);
        }
        for range in changes.removed.drain(..) {
            state.remove(&range);
        }
        state.shrink();
        drop(state);
        if added {
            self.changed.notify_one();
        }
    }

    /// The oldest `limit` rows after `after`, where all of them are in memory.
    pub(super) fn after(&self, after: u64, limit: usize) -> Option<Vec<OutboxRow>> {
        let state = self.state();
        if after.saturating_add(1) < state.floor {
            return None;
        }
        let start = state.rows.partition_point(|row| row.sequence <= after);
        let mut bytes = 0;
        let fits = |row: &&OutboxRow| {
            let is_first = bytes == 0;
            bytes += size_of(row);
            is_first || bytes <= MOST_OUTBOX_BYTES
        };
        Some(state.rows.range(start..).take(limit).take_while(fits).cloned().collect())
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl State {
    fn remove(&mut self, range: &RangeInclusive<u64>) {
        let start = self.rows.partition_point(|row| row.sequence < *range.start());
        let end = self.rows.partition_point(|row| row.sequence <= *range.end());
        if start < end {
            self.bytes -= self.rows.drain(start..end).map(|row| size_of(&row)).sum::<usize>();
        }
    }

    /// The oldest rows give way: a relay that is behind reads them from the file in long runs.
    fn shrink(&mut self) {
        while self.rows.len() > MAX_ROWS || self.bytes > MAX_BYTES {
            let Some(row) = self.rows.pop_front() else { break };
            self.bytes -= size_of(&row);
            self.floor = row.sequence + 1;
        }
        if self.rows.is_empty() && self.rows.capacity() > MAX_ROWS {
            self.rows.shrink_to(64);
        }
    }
}

fn size_of(row: &OutboxRow) -> usize {
    let headers: usize = row.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    row.body.len() + row.key.as_ref().map_or(0, bytes::Bytes::len) + headers
}
