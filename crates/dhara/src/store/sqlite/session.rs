//! The one connection that writes to a place, and the transaction that runs on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, Statement};

use super::super::{OutboxRow, Param, Row, StoreError};
use super::outbox::{self, Changes, Mark};
use super::{error, statement};

const SAVEPOINT: &str = "SAVEPOINT dhara";
const RELEASE: &str = "RELEASE dhara";
const ROLLBACK_TO: &str = "ROLLBACK TO dhara";
/// The writing connection with the state of its transaction and of the unit that runs in it.
///
/// Units take turns: a [`super::tx::SqliteTx`] carries the number of its turn, and means nothing
/// in any other.
#[derive(Debug)]
pub(super) struct Session {
    connection: Connection,
    name: Arc<str>,
    /// While it is set, what is prepared was written by a handler.
    foreign: Arc<AtomicBool>,
    /// The length of the write-ahead log in pages, after the last commit.
    wal_pages: Arc<AtomicU32>,
    turn: u64,
    running: bool,
    /// The unit that runs has written something, or tried to.
    wrote: bool,
    /// SQLite has rolled back the whole transaction by itself: what follows would not be in one.
    lost: bool,
    /// What could not be trusted any more, and why.
    failed: Option<StoreError>,
    savepoints: Vec<Mark>,
    /// Where the unit that runs began.
    start: Mark,
    pub(super) outbox: Changes,
}

/// What the end of a unit's turn means for the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitEnd {
    /// It holds what it should.
    Clean,
    /// It holds writes of a unit that failed.
    Dirty,
    /// There is none any more.
    Lost,
}

impl Session {
    pub(super) fn new(
        mut connection: Connection,
        name: Arc<str>,
        next_sequence: u64,
    ) -> rusqlite::Result<Self> {
        let foreign = guard(&mut connection)?;
        let wal_pages = Arc::new(AtomicU32::new(0));
        let pages_seen = Arc::clone(&wal_pages);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            pages_seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let outbox = Changes::new(next_sequence);
        Ok(Self {
            connection,
            name,
            foreign,
            wal_pages,
            turn: 0,
            running: false,
            wrote: false,
            lost: false,
            failed: None,
            savepoints: Vec::new(),
            start: outbox.mark(),
            outbox,
        })
    }

    pub(super) fn wal_pages(&self) -> u32 {
        self.wal_pages.load(Ordering::Relaxed)
    }

    /// Copies what the write-ahead log holds into the file, as far as readers let it; gives the
    /// pages that are left.
    pub(super) fn checkpoint(&mut self) -> Result<u32, StoreError> {
        let mode = rusqlite::wal::CheckpointMode::PASSIVE;
        match self.connection.wal_checkpoint_v2(None::<&str>, mode) {
            Ok((total, done)) => Ok(u32::try_from(total - done).unwrap_or(0)),
            Err(cause) => Err(self.note(error::of(&self.what("checkpoint"), cause))),
        }
    }
}

/// The transaction of a group.
impl Session {
    /// Begins a transaction; gives the moment to which [`Session::roll_back`] goes back.
    pub(super) fn begin(&mut self) -> Result<Mark, StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.again());
        }
        self.lost = false;
        self.savepoints.clear();
        self.control("BEGIN IMMEDIATE")
            .map_err(|cause| self.blame("begin a transaction", cause))?;
        Ok(self.outbox.mark())
    }

    /// Writes what the units left to be written at the end: the outbox.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        let written = outbox::write(&self.connection, &self.outbox);
        written.map_err(|cause| self.blame("write the outbox", cause))
    }

    /// Commits; it blocks until the disk has it.
    pub(super) fn commit(&mut self) -> Result<(), StoreError> {
        self.control("COMMIT").map_err(|cause| self.blame("commit", cause))
    }

    /// Gives up what the transaction has done, to the last row.
    pub(super) fn roll_back(&mut self, start: Mark) {
        self.outbox.roll_back(start);
        if self.connection.is_autocommit() {
            return;
        }
        if let Err(cause) = self.control("ROLLBACK") {
            let cause = error::of(&self.what("roll back"), cause);
            self.failed.get_or_insert(cause);
        }
    }
}

/// The turn of a unit.
impl Session {
    /// Begins a unit's turn, behind a savepoint where it is guarded; gives the turn's number.
    pub(super) fn begin_unit(&mut self, guarded: bool) -> Result<u64, StoreError> {
        self.wrote = false;
        self.start = self.outbox.mark();
        if guarded {
            self.savepoint()?;
        }
        self.turn += 1;
        self.running = true;
        Ok(self.turn)
    }

    /// Ends a unit's turn: keeps what it wrote, or undoes it where there is a savepoint.
    pub(super) fn end_unit(&mut self, keep: bool, guarded: bool) -> Result<UnitEnd, StoreError> {
        self.running = false;
        if self.lost {
            return Ok(UnitEnd::Lost);
        }
        if !keep {
            self.outbox.roll_back(self.start);
        }
        let spoiled = !keep && !guarded && self.wrote;
        while !spoiled && !self.savepoints.is_empty() {
            self.end_savepoint(keep)?;
        }
        Ok(if spoiled { UnitEnd::Dirty } else { UnitEnd::Clean })
    }

    /// Whether the unit with this turn is the one that runs.
    pub(super) fn is_turn(&self, turn: u64) -> bool {
        self.running && self.turn == turn
    }

    pub(super) fn savepoint(&mut self) -> Result<(), StoreError> {
        self.usable()?;
        self.control(SAVEPOINT).map_err(|cause| self.blame("begin a savepoint", cause))?;
        self.savepoints.push(self.outbox.mark());
        Ok(())
    }

    /// Ends the last savepoint that the unit itself began, in the one way or the other.
    pub(super) fn end_own_savepoint(
        &mut self,
        keep: bool,
        guarded: bool,
    ) -> Result<(), StoreError> {
        self.usable()?;
        if self.savepoints.len() <= usize::from(guarded) {
            let what = "no savepoint was begun that could be ended".to_owned();
            return Err(StoreError::Statement { what, source: None });
        }
        self.end_savepoint(keep)
    }

    fn end_savepoint(&mut self, keep: bool) -> Result<(), StoreError> {
        let Some(mark) = self.savepoints.pop() else { return Ok(()) };
        if !keep {
            self.outbox.roll_back(mark);
            self.control(ROLLBACK_TO).map_err(|cause| self.blame("roll back", cause))?;
        }
        self.control(RELEASE).map_err(|cause| self.blame("release a savepoint", cause))
    }
}

/// Statements.
impl Session {
    /// Runs a handler's statement; gives how many rows it changed.
    pub(super) fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.usable()?;
        self.foreign.store(true, Ordering::Relaxed);
        let done = if params.is_empty() && statement::is_batch(sql) {
            self.wrote = true;
            statement::run_batch(&self.connection, sql)
                .map_err(|cause| error::of_statement(sql, cause))
        } else {
            self.run(sql, params)
        };
        self.foreign.store(false, Ordering::Relaxed);
        done.map_err(|error| self.note(error))
    }

    /// Runs a handler's query; gives its rows.
    pub(super) fn query(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.usable()?;
        self.foreign.store(true, Ordering::Relaxed);
        let rows = self.read(sql, params);
        self.foreign.store(false, Ordering::Relaxed);
        rows.map_err(|error| self.note(error))
    }

    pub(super) fn add_to_outbox(&mut self, rows: Vec<OutboxRow>) -> Result<(), StoreError> {
        self.usable()?;
        self.outbox.add(rows);
        Ok(())
    }

    /// Runs one of the framework's own statements; gives how many rows it changed.
    pub(super) fn framework(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.usable()?;
        self.wrote = true;
        self.step(sql, params, statement::drain).map_err(|error| self.note(error))?;
        Ok(self.connection.changes())
    }

    /// Whether one of the framework's own queries gives a row.
    pub(super) fn finds(&mut self, sql: &str, params: &[Param<'_>]) -> Result<bool, StoreError> {
        self.usable()?;
        let find = |found: &mut Statement<'_>| Ok(found.raw_query().next()?.is_some());
        self.step(sql, params, find).map_err(|error| self.note(error))
    }

    fn step<T>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        work: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let step = || {
            let mut found = self.connection.prepare_cached(sql)?;
            statement::bind_from(&mut found, 1, params)?;
            work(&mut found)
        };
        step().map_err(|cause| error::of_statement(sql, cause))
    }

    fn run(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        let connection = &self.connection;
        let mut found =
            connection.prepare_cached(sql).map_err(|cause| error::of_statement(sql, cause))?;
        self.check(&found, sql)?;
        statement::bind(&mut found, sql, params)?;
        self.wrote |= !found.readonly();
        // The count of changes keeps its value when a statement changes no table at all.
        let before = connection.total_changes();
        statement::drain(&mut found).map_err(|cause| error::of_statement(sql, cause))?;
        Ok(if connection.total_changes() == before { 0 } else { connection.changes() })
    }

    fn read(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let mut found =
            self.connection.prepare_cached(sql).map_err(|cause| error::of_statement(sql, cause))?;
        self.check(&found, sql)?;
        statement::bind(&mut found, sql, params)?;
        self.wrote |= !found.readonly();
        statement::rows(&mut found, sql)
    }

    /// The authorizer is asked when a statement is prepared, and `COMMIT` may be in the cache, where
    /// the framework left it: what neither writes nor has columns is of that kind.
    fn check(&self, found: &Statement<'_>, sql: &str) -> Result<(), StoreError> {
        let control = found.readonly() && found.column_count() == 0;
        if control && self.foreign.load(Ordering::Relaxed) {
            return Err(error::refused(sql));
        }
        Ok(())
    }

    fn control(&self, sql: &str) -> rusqlite::Result<()> {
        statement::drain(&mut *self.connection.prepare_cached(sql)?)
    }

    fn usable(&self) -> Result<(), StoreError> {
        if self.lost {
            let what = "the transaction was rolled back by an earlier error".to_owned();
            return Err(StoreError::Aborted { what });
        }
        Ok(())
    }

    fn what(&self, attempt: &str) -> String {
        format!("{attempt} in the store of {:?}", self.name)
    }

    fn blame(&mut self, attempt: &str, cause: rusqlite::Error) -> StoreError {
        let error = error::of(&self.what(attempt), cause);
        self.note(error)
    }

    /// Remembers what an error means for the transaction and for the place.
    fn note(&mut self, error: StoreError) -> StoreError {
        // A full disk, an I/O error or `ON CONFLICT ROLLBACK` ends the transaction as well.
        self.lost |= self.connection.is_autocommit();
        if matches!(error, StoreError::Failed { .. }) && self.failed.is_none() {
            tracing::error!(store = %self.name, %error, "the store takes no more writes");
            self.failed = Some(error.again());
        }
        error
    }
}

/// Keeps handlers from statements that are the framework's: those that end its transaction or
/// change how the connection works. The answer is set while a handler's statement is prepared.
pub(super) fn guard(connection: &mut Connection) -> rusqlite::Result<Arc<AtomicBool>> {
    let foreign = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&foreign);
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        let denied = matches!(
            context.action,
            AuthAction::Transaction { .. }
                | AuthAction::Savepoint { .. }
                | AuthAction::Attach { .. }
                | AuthAction::Detach { .. }
                | AuthAction::Pragma { .. }
        );
        if denied && asked.load(Ordering::Relaxed) {
            Authorization::Deny
        } else {
            Authorization::Allow
        }
    }))?;
    Ok(foreign)
}
