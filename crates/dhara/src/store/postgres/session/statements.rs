//! What a unit asks of the transaction: its own statements, and the framework's tables.

use std::future::Future;
use std::sync::Arc;

use tokio_postgres::{Error, Statement};

use super::super::super::error::shown;
use super::super::super::{OutboxRow, Param, PositionRow, Row, StoreError};
use super::super::changes::Entry;
use super::super::error::{self, Meaning};
use super::super::link::Link;
use super::super::schema::LOCKS;
use super::super::{guard, statement};
use super::Session;

/// Statements.
impl Session {
    /// Runs a handler's statement; gives how many rows it changed.
    pub(in super::super) async fn execute(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<u64, StoreError> {
        let Some(statement) = self.prepare(sql, params.is_empty()).await? else {
            let link = Arc::clone(&self.link);
            let done = self.along(link.client.batch_execute(sql)).await;
            return done.map(|()| 0).map_err(|cause| self.note(sql, cause));
        };
        let bound = statement::bind(&statement, sql, params)?;
        let link = Arc::clone(&self.link);
        let done = self.along(link.client.execute_raw(&statement, &bound)).await;
        done.map_err(|cause| self.note(sql, cause))
    }

    /// Runs a handler's query; gives its rows.
    pub(in super::super) async fn query(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let Some(statement) = self.prepare(sql, false).await? else {
            return Err(error::wrong(sql, "a query is one statement"));
        };
        let bound = statement::bind(&statement, sql, params)?;
        let bound: Vec<_> = bound.iter().map(|param| param as _).collect();
        let link = Arc::clone(&self.link);
        let rows = self.along(link.client.query(&statement, &bound)).await;
        statement::rows(sql, &rows.map_err(|cause| self.note(sql, cause))?)
    }

    /// The statement, prepared. `None` where it is a batch, and may be.
    async fn prepare(
        &mut self,
        sql: &str,
        may_be_batch: bool,
    ) -> Result<Option<Statement>, StoreError> {
        self.usable()?;
        let link = Arc::clone(&self.link);
        // What was prepared before was looked at before.
        if let Some(statement) = link.prepared(sql) {
            self.wrote = true;
            return Ok(Some(statement));
        }
        let shape = guard::of_transaction(sql)?;
        self.wrote = true;
        if shape.defines {
            // Instances that start at once all make their tables if they do not exist, which
            // PostgreSQL finds out too late when two do it at once.
            self.pending.push_str(&format!("SELECT pg_advisory_xact_lock({LOCKS});"));
        }
        if shape.is_batch && may_be_batch {
            return Ok(None);
        }
        let prepared = self.along(link.prepare(sql)).await;
        prepared.map(Some).map_err(|cause| self.note(sql, cause))
    }

    /// Does `work` with the connection itself, in the order of the transaction's statements.
    pub(in super::super) async fn with_link<T, F>(
        &mut self,
        sql: &str,
        work: impl FnOnce(Arc<Link>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.usable()?;
        self.wrote = true;
        let flushed = self.flush().await;
        flushed.map_err(|cause| self.note(sql, cause))?;
        let done = self.along(work(Arc::clone(&self.link))).await;
        done.map_err(|cause| self.note(sql, cause))
    }

    /// Remembers what an error means for the transaction.
    fn note(&mut self, sql: &str, cause: Error) -> StoreError {
        let meaning = self.meaning_of(&cause);
        let error = error::of_statement(sql, cause);
        match meaning {
            Meaning::Untouched => (),
            Meaning::Aborted => self.aborted = true,
            Meaning::Again | Meaning::Gone => {
                self.aborted = true;
                self.link.forget_statements();
                if self.broken.is_none() {
                    self.broken = Some((meaning, error.again()));
                }
            }
        }
        tracing::trace!(statement = %shown(sql), %error, "a statement failed");
        error
    }
}

/// The framework's tables.
impl Session {
    /// Whether the row is new, as far as that can be told without asking; it is added where it is.
    pub(in super::super) fn enter_inbox(
        &mut self,
        entry: &Entry,
        guarded: bool,
    ) -> Result<Option<bool>, StoreError> {
        self.usable()?;
        if self.changes.has_entered(entry) || self.known.contains(entry) {
            return Ok(Some(false));
        }
        // What fails behind a savepoint of the unit's own may pass for the handler's failure.
        if self.exact || self.savepoints.len() > usize::from(guarded) {
            return Ok(None);
        }
        Ok(Some(self.changes.enter(entry.clone())))
    }

    pub(in super::super) fn has_entered(&self, entry: &Entry) -> bool {
        self.changes.has_entered(entry) || self.known.contains(entry)
    }

    pub(in super::super) fn add_to_outbox(
        &mut self,
        rows: Vec<OutboxRow>,
    ) -> Result<(), StoreError> {
        self.usable()?;
        self.changes.add(rows);
        Ok(())
    }

    pub(in super::super) fn remove_from_outbox(
        &mut self,
        sequences: &[u64],
    ) -> Result<(), StoreError> {
        self.usable()?;
        self.changes.remove(sequences);
        Ok(())
    }

    pub(in super::super) fn set_positions(
        &mut self,
        rows: &[PositionRow],
    ) -> Result<(), StoreError> {
        self.usable()?;
        self.changes.set_positions(rows);
        Ok(())
    }
}
