//! The running transaction, as one unit sees it.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::headers;
use super::super::{
    DeadLetter, InboxRow, OutboxRow, Param, PositionRow, Row, StoreError, TxBackend,
};
use super::session::Session;
use super::statement::integer;
use crate::answer::Answer;

const INBOX_ADD: &str = "INSERT INTO dhara_inbox VALUES (?1, ?2) ON CONFLICT DO NOTHING";
const INBOX_HAS: &str = "SELECT 1 FROM dhara_inbox WHERE handler = ?1 AND event = ?2";
const OUTBOX_REMOVE: &str = "DELETE FROM dhara_outbox WHERE sequence BETWEEN ?1 AND ?2";
const POSITION: &str = "INSERT INTO dhara_positions VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET next = excluded.next WHERE excluded.next > next";
const DEAD_LETTER: &str = "INSERT INTO dhara_dead_letters (topic, \"partition\", \"offset\", key,
        headers, event_id, handler, error, attempts, at, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// The writer's session; `None` when the place is closed.
pub(super) type Shared = Mutex<Option<Session>>;

/// A unit's way to the session, for as long as its turn lasts.
///
/// Statements run where they are called: most cost a few microseconds, less than the way to
/// another thread and back.
pub(super) struct SqliteTx {
    pub(super) session: Arc<Shared>,
    pub(super) turn: u64,
    pub(super) guarded: bool,
}

impl SqliteTx {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, StoreError>,
    ) -> Answer<'static, Result<T, StoreError>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        Answer::now(match session.as_mut() {
            Some(session) if session.is_turn(self.turn) => work(session),
            _ => Err(StoreError::Ended),
        })
    }
}

impl TxBackend for SqliteTx {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<u64, StoreError>> {
        self.with(|session| session.execute(sql, params))
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<Vec<Row>, StoreError>> {
        self.with(|session| session.query(sql, params))
    }

    fn savepoint(&self) -> Answer<'_, Result<(), StoreError>> {
        self.with(Session::savepoint)
    }

    fn release(&self) -> Answer<'_, Result<(), StoreError>> {
        self.with(|session| session.end_own_savepoint(true, self.guarded))
    }

    fn rollback(&self) -> Answer<'_, Result<(), StoreError>> {
        self.with(|session| session.end_own_savepoint(false, self.guarded))
    }

    fn inbox_add(&self, row: InboxRow<'_>) -> Answer<'_, Result<bool, StoreError>> {
        let params = [Param::Text(row.handler), Param::Blob(row.event)];
        self.with(|session| Ok(session.framework(INBOX_ADD, &params)? == 1))
    }

    fn inbox_has(&self, row: InboxRow<'_>) -> Answer<'_, Result<bool, StoreError>> {
        let params = [Param::Text(row.handler), Param::Blob(row.event)];
        self.with(|session| session.finds(INBOX_HAS, &params))
    }

    fn outbox_add(&self, rows: Vec<OutboxRow>) -> Answer<'_, Result<(), StoreError>> {
        self.with(|session| session.add_to_outbox(rows))
    }

    fn outbox_remove(&self, sequences: &[u64]) -> Answer<'_, Result<(), StoreError>> {
        self.with(|session| remove(session, sequences))
    }

    fn set_positions(&self, rows: &[PositionRow]) -> Answer<'_, Result<(), StoreError>> {
        self.with(|session| {
            rows.iter().try_for_each(|row| {
                let params = [
                    Param::Text(&row.broker),
                    Param::Text(row.partition.topic.as_str()),
                    Param::from(row.partition.partition),
                    Param::Int(integer(row.next)),
                ];
                session.framework(POSITION, &params).map(drop)
            })
        })
    }

    fn dead_letter(&self, letter: &DeadLetter) -> Answer<'_, Result<(), StoreError>> {
        let headers = headers::encode(&letter.headers);
        let params = [
            Param::Text(letter.partition.topic.as_str()),
            Param::from(letter.partition.partition),
            Param::Int(integer(letter.offset)),
            Param::from(letter.key.as_deref()),
            Param::Blob(&headers),
            Param::from(letter.event_id.as_deref()),
            Param::Text(&letter.handler),
            Param::Text(&letter.error),
            Param::from(letter.attempts),
            Param::Int(integer(letter.at.as_micros())),
            Param::Blob(&letter.body),
        ];
        self.with(|session| session.framework(DEAD_LETTER, &params).map(drop))
    }
}

/// Removes rows by runs of consecutive sequences, one statement a run.
fn remove(session: &mut Session, sequences: &[u64]) -> Result<(), StoreError> {
    let sorted;
    let sequences = if sequences.is_sorted() {
        sequences
    } else {
        let mut copy = sequences.to_vec();
        copy.sort_unstable();
        sorted = copy;
        &sorted
    };
    for run in sequences.chunk_by(|a, b| *b <= a.saturating_add(1)) {
        let (Some(&first), Some(&last)) = (run.first(), run.last()) else { continue };
        let params = [Param::Int(integer(first)), Param::Int(integer(last))];
        session.framework(OUTBOX_REMOVE, &params)?;
        session.outbox.removed.push(first..=last);
    }
    Ok(())
}
