//! Reading beside the writer.
//!
//! A query runs first on the thread that asks: most take a few microseconds, and the way to
//! another thread and back costs more. One that turns out to be long is stopped after some tens of
//! thousands of steps of SQLite's machine, about a millisecond, and runs again from the start on a
//! thread that may block.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode, OpenFlags, StatementStatus};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::{Param, Row, StoreError, Value};
use super::{error, session, statement};
use crate::answer::Answer;
use crate::world::World;

/// How many queries of one place run at a time.
const MOST: usize = 4;
/// How many connections stay open when nobody reads.
const KEPT: usize = 2;
/// How many steps a query may take on the thread that asks.
const STEPS: i32 = 50_000;

/// Connections that only read.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    world: World,
    permits: Semaphore,
    idle: Mutex<Vec<Reader>>,
}

#[derive(Debug)]
struct Reader {
    connection: Connection,
    /// While it is set, a query is stopped when it has taken its steps.
    hurried: Arc<AtomicBool>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, world: World) -> Self {
        Self { path, world, permits: Semaphore::new(MOST), idle: Mutex::default() }
    }

    /// What is committed, as `sql` asks for it.
    pub(super) fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<Vec<Row>, StoreError>> {
        match self.query_here(sql, params) {
            Some(answer) => Answer::now(answer),
            None => Answer::later(self.query_elsewhere(sql, params)),
        }
    }

    /// `None` where it would take long.
    fn query_here(&self, sql: &str, params: &[Param<'_>]) -> Option<Result<Vec<Row>, StoreError>> {
        let permit = self.permits.try_acquire().ok()?;
        let reader = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        reader.hurried.store(true, Ordering::Relaxed);
        let answer = reader.query(sql, params);
        self.put_back(reader, permit);
        match answer {
            Err(StoreError::Unavailable { source: Some(source), .. })
                if source.downcast_ref::<rusqlite::Error>().is_some_and(was_stopped) =>
            {
                None
            }
            answer => Some(answer),
        }
    }

    async fn query_elsewhere(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let permit = self.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (path, sql) = (self.path.clone(), sql.to_owned());
        let params: Vec<Value> = params.iter().map(owned).collect();
        let query = self.world.spawn_blocking(move || {
            let reader = idle.map_or_else(|| Reader::open(&path), Ok)?;
            reader.hurried.store(false, Ordering::Relaxed);
            let params: Vec<Param<'_>> = params.iter().map(borrowed).collect();
            let answer = reader.query(&sql, &params);
            Ok((reader, answer))
        });
        let (reader, answer) = query.await.map_err(|error| {
            let what = "the query did not end".to_owned();
            StoreError::Unavailable { what, source: Some(error.into()) }
        })??;
        self.put_back(reader, permit);
        answer
    }

    fn put_back(&self, reader: Reader, permit: SemaphorePermit<'_>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT && !self.permits.is_closed() {
            idle.push(reader);
        }
        drop(permit);
    }

    /// Answers no more queries.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Reader {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let hurried = Arc::new(AtomicBool::new(false));
        let opened = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = Connection::open_with_flags(path, flags)?;
            connection.execute_batch("PRAGMA cache_size = -512; PRAGMA temp_store = MEMORY;")?;
            connection.set_prepared_statement_cache_capacity(64);
            let hurry = Arc::clone(&hurried);
            connection.progress_handler(STEPS, Some(move || hurry.load(Ordering::Relaxed)))?;
            session::guard(&mut connection)?.store(true, Ordering::Relaxed);
            Ok(connection)
        };
        let connection = opened()
            .map_err(|cause| error::of(&format!("open {} to read", path.display()), cause))?;
        Ok(Self { connection, hurried })
    }

    fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let mut found =
            self.connection.prepare_cached(sql).map_err(|cause| error::of_statement(sql, cause))?;
        if !found.readonly() {
            return Err(statement::wrong(sql, "a query only reads; a unit writes".to_owned()));
        }
        found.reset_status(StatementStatus::VmStep);
        statement::bind(&mut found, sql, params)?;
        statement::rows(&mut found, sql)
    }
}

fn was_stopped(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

fn owned(param: &Param<'_>) -> Value {
    match *param {
        Param::Null => Value::Null,
        Param::Int(int) => Value::Int(int),
        Param::Real(real) => Value::Real(real),
        Param::Text(text) => Value::Text(text.to_owned()),
        Param::Blob(blob) => Value::Blob(blob.to_vec()),
    }
}

fn borrowed(value: &Value) -> Param<'_> {
    match value {
        Value::Null => Param::Null,
        Value::Int(int) => Param::Int(*int),
        Value::Real(real) => Param::Real(*real),
        Value::Text(text) => Param::Text(text),
        Value::Blob(blob) => Param::Blob(blob),
    }
}
