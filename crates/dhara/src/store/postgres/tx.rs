//! The running transaction, as one unit sees it.

use std::any::Any;
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::ToSql;

use super::super::{
    DeadLetter, InboxRow, OutboxRow, Param, PositionRow, Row, StoreError, Tx, TxBackend, headers,
};
use super::changes::{Entry, entry};
use super::guard;
use super::session::Session;
use super::statement::{integer_of, storable};
use crate::answer::Answer;

const INBOX_ADD: &str = "INSERT INTO dhara_inbox (handler, event) VALUES ($1, $2)
    ON CONFLICT DO NOTHING";
const INBOX_HAS: &str = "SELECT 1 FROM dhara_inbox WHERE handler = $1 AND event = $2";
const DEAD_LETTER: &str = "INSERT INTO dhara_dead_letters (topic, \"partition\", \"offset\", key,
        headers, event_id, handler, error, attempts, at, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// The writer's session.
pub(super) type Shared = Mutex<Session>;

/// A unit's way to the session, for as long as its turn lasts.
pub(super) struct PostgresTx {
    pub(super) guarded: bool,
    pub(super) connection: Connection,
}

/// The running transaction's own connection, for whoever wants PostgreSQL's full power: its types,
/// arrays, `COPY`.
///
/// What is sent here is in the transaction as everything else is. Only the framework commits or
/// rolls back: a statement that would is refused.
#[derive(Clone)]
pub struct Connection {
    session: Arc<Shared>,
    turn: u64,
}

impl Connection {
    pub(super) fn new(session: Arc<Shared>, turn: u64) -> Self {
        Self { session, turn }
    }

    /// The connection of a transaction; `None` where it is not one of PostgreSQL.
    pub fn of(tx: &Tx) -> Option<&Self> {
        tx.backend().connection()?.downcast_ref()
    }

    /// Runs a query; gives its rows as the client library does.
    ///
    /// # Errors
    ///
    /// As [`Tx::query`].
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        guard::of_transaction(sql)?;
        let mut session = self.session().await?;
        let work = |link: Arc<super::link::Link>| async move {
            let statement = link.prepare(sql).await?;
            link.client.query(&statement, params).await
        };
        session.with_link(sql, work).await
    }

    /// Runs a statement; gives the number of rows it changed.
    ///
    /// # Errors
    ///
    /// As [`Tx::execute`].
    pub async fn execute(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, StoreError> {
        guard::of_transaction(sql)?;
        let mut session = self.session().await?;
        let work = |link: Arc<super::link::Link>| async move {
            let statement = link.prepare(sql).await?;
            link.client.execute(&statement, params).await
        };
        session.with_link(sql, work).await
    }

    /// Runs `COPY ... FROM STDIN` with `data` as its input; gives the number of rows.
    ///
    /// # Errors
    ///
    /// As [`Tx::execute`]; [`StoreError::Statement`] where `sql` is no such statement.
    pub async fn copy_in(&self, sql: &str, data: bytes::Bytes) -> Result<u64, StoreError> {
        guard::of_copy(sql)?;
        let mut session = self.session().await?;
        let work = |link: Arc<super::link::Link>| async move {
            let sink = link.client.copy_in::<_, bytes::Bytes>(sql).await?;
            let mut sink = std::pin::pin!(sink);
            futures_util::SinkExt::send(&mut sink, data).await?;
            sink.finish().await
        };
        session.with_link(sql, work).await
    }

    async fn session(&self) -> Result<MutexGuard<'_, Session>, StoreError> {
        let session = self.session.lock().await;
        if session.is_turn(self.turn) { Ok(session) } else { Err(StoreError::Ended) }
    }

    /// The session, where nobody else has it at the moment.
    fn try_session(&self) -> Option<Result<MutexGuard<'_, Session>, StoreError>> {
        let session = self.session.try_lock().ok()?;
        Some(if session.is_turn(self.turn) { Ok(session) } else { Err(StoreError::Ended) })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection(turn {})", self.turn)
    }
}

impl PostgresTx {
    /// Does what needs no answer of the server: at once where the session is free.
    fn here<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut Session) -> Result<T, StoreError> + Send + 'a,
    ) -> Answer<'a, Result<T, StoreError>> {
        match self.connection.try_session() {
            Some(Ok(mut session)) => Answer::now(work(&mut session)),
            Some(Err(error)) => Answer::now(Err(error)),
            None => Answer::later(async move { work(&mut *self.connection.session().await?) }),
        }
    }

    async fn enter(&self, entry: Entry) -> Result<bool, StoreError> {
        let mut session = self.connection.session().await?;
        match session.enter_inbox(&entry, self.guarded)? {
            Some(new) => Ok(new),
            None => {
                let params = [Param::Text(&entry.0), Param::Blob(&entry.1)];
                Ok(session.execute(INBOX_ADD, &params).await? == 1)
            }
        }
    }

    async fn has_entered(&self, entry: Entry) -> Result<bool, StoreError> {
        let mut session = self.connection.session().await?;
        if session.has_entered(&entry) {
            return Ok(true);
        }
        let params = [Param::Text(&entry.0), Param::Blob(&entry.1)];
        Ok(!session.query(INBOX_HAS, &params).await?.is_empty())
    }

    async fn bury(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let headers = headers::encode(&letter.headers);
        let topic = storable(letter.partition.topic.as_str());
        let event_id = letter.event_id.as_deref().map(storable);
        let (handler, error) = (storable(&letter.handler), storable(&letter.error));
        let params = [
            Param::Text(&topic),
            Param::from(letter.partition.partition),
            Param::Int(integer_of(letter.offset)),
            Param::from(letter.key.as_deref()),
            Param::Blob(&headers),
            Param::from(event_id.as_deref()),
            Param::Text(&handler),
            Param::Text(&error),
            Param::from(letter.attempts),
            Param::Int(integer_of(letter.at.as_micros())),
            Param::Blob(&letter.body),
        ];
        self.connection.session().await?.execute(DEAD_LETTER, &params).await.map(drop)
    }
}

impl TxBackend for PostgresTx {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<u64, StoreError>> {
        Answer::later(async move { self.connection.session().await?.execute(sql, params).await })
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<Vec<Row>, StoreError>> {
        Answer::later(async move { self.connection.session().await?.query(sql, params).await })
    }

    fn savepoint(&self) -> Answer<'_, Result<(), StoreError>> {
        self.here(Session::savepoint)
    }

    fn release(&self) -> Answer<'_, Result<(), StoreError>> {
        self.here(|session| session.end_own_savepoint(true, self.guarded))
    }

    fn rollback(&self) -> Answer<'_, Result<(), StoreError>> {
        self.here(|session| session.end_own_savepoint(false, self.guarded))
    }

    fn inbox_add(&self, row: InboxRow<'_>) -> Answer<'_, Result<bool, StoreError>> {
        let entry = entry(row);
        if let Some(session) = self.connection.try_session() {
            let known = session.and_then(|mut it| it.enter_inbox(&entry, self.guarded));
            match known {
                Ok(Some(new)) => return Answer::now(Ok(new)),
                Ok(None) => (),
                Err(error) => return Answer::now(Err(error)),
            }
        }
        Answer::later(self.enter(entry))
    }

    fn inbox_has(&self, row: InboxRow<'_>) -> Answer<'_, Result<bool, StoreError>> {
        Answer::later(self.has_entered(entry(row)))
    }

    fn outbox_add(&self, rows: Vec<OutboxRow>) -> Answer<'_, Result<(), StoreError>> {
        self.here(move |session| session.add_to_outbox(rows))
    }

    fn outbox_remove(&self, sequences: &[u64]) -> Answer<'_, Result<(), StoreError>> {
        let sequences = sequences.to_vec();
        self.here(move |session| session.remove_from_outbox(&sequences))
    }

    fn set_positions(&self, rows: &[PositionRow]) -> Answer<'_, Result<(), StoreError>> {
        let rows = rows.to_vec();
        self.here(move |session| session.set_positions(&rows))
    }

    fn dead_letter(&self, letter: &DeadLetter) -> Answer<'_, Result<(), StoreError>> {
        let letter = letter.clone();
        Answer::later(async move { self.bury(&letter).await })
    }

    fn connection(&self) -> Option<&dyn Any> {
        Some(&self.connection)
    }
}
