//! The running transaction, as a handler sees it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::{DeadLetter, InboxRow, OutboxRow, Param, PositionRow, Row, StoreError};
use crate::answer::Answer;

/// The transaction that a handler's writes, its inbox row and its outgoing events commit in.
///
/// Statements are plain SQL that SQLite and PostgreSQL both understand, with parameters `$1`, `$2`
/// ... Only the framework commits or rolls back. A `Tx` that is kept longer than its handler runs
/// answers [`StoreError::Ended`].
///
/// What both understand:
///
/// - columns of type `BIGINT`, `DOUBLE PRECISION`, `TEXT` and `BYTEA` take and give the values of
///   [`Param`] as they are; `INTEGER` is 32 bits wide on PostgreSQL. A boolean is the integer 0 or
///   1, a sum of integers is an integer.
/// - `INSERT ... ON CONFLICT (column) DO UPDATE SET n = t.n + excluded.n`, with the table's name
///   before its own columns; `CREATE TABLE IF NOT EXISTS`; common table expressions; windows.
/// - rows are numbered by `(SELECT coalesce(max(n), 0) + 1 FROM t)`: neither's own way to number
///   rows is understood by the other.
/// - after a statement that failed the unit ends with its error. Only SQLite would take more.
#[derive(Clone)]
pub struct Tx {
    backend: Arc<dyn TxBackend>,
}

impl Tx {
    /// The handle to a transaction; a back end makes one for each unit it runs.
    pub fn new(backend: Arc<dyn TxBackend>) -> Self {
        Self { backend }
    }

    /// Runs a statement; gives the number of rows it changed.
    pub async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.backend.execute(sql, params).await
    }

    /// Runs a query; gives its rows.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.backend.query(sql, params).await
    }

    /// Runs a query of which one row is wanted: the first, or `None`.
    pub async fn query_one(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// What the framework itself asks of the transaction.
    pub fn backend(&self) -> &dyn TxBackend {
        self.backend.as_ref()
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tx")
    }
}

/// What a store does inside a transaction, for [`Tx`] and for the framework.
pub trait TxBackend: Send + Sync {
    /// Runs a statement; gives the number of rows it changed.
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<u64, StoreError>>;

    /// Runs a query; gives its rows.
    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<Vec<Row>, StoreError>>;

    /// Begins a savepoint inside the unit's own.
    fn savepoint(&self) -> Answer<'_, Result<(), StoreError>>;

    /// Keeps what was written since the last savepoint began, and ends it.
    fn release(&self) -> Answer<'_, Result<(), StoreError>>;

    /// Undoes what was written since the last savepoint began, and ends it.
    fn rollback(&self) -> Answer<'_, Result<(), StoreError>>;

    /// Remembers in the inbox that the handler has finished with the event; `false` when that stood
    /// there already, and nothing was written.
    fn inbox_add(&self, row: InboxRow<'_>) -> Answer<'_, Result<bool, StoreError>>;

    /// Whether the inbox holds this row.
    fn inbox_has(&self, row: InboxRow<'_>) -> Answer<'_, Result<bool, StoreError>>;

    /// Adds rows to the outbox, in this order.
    fn outbox_add(&self, rows: Vec<OutboxRow>) -> Answer<'_, Result<(), StoreError>>;

    /// Removes published rows from the outbox.
    fn outbox_remove(&self, sequences: &[u64]) -> Answer<'_, Result<(), StoreError>>;

    /// Sets how far the service has come; never moves a position back.
    fn set_positions(&self, rows: &[PositionRow]) -> Answer<'_, Result<(), StoreError>>;

    /// Keeps an event that could not be handled.
    fn dead_letter(&self, letter: &DeadLetter) -> Answer<'_, Result<(), StoreError>>;

    /// The transaction's own connection, for whoever wants the database's full power. The back
    /// end's module says of which type it is; nobody can commit through it.
    fn connection(&self) -> Option<&dyn Any> {
        None
    }
}
