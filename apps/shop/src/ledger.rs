//! A SQLite file with one writer that commits for many at a time.
//!
//! The bank and the auditor stand outside the framework, so that a fault of the framework's own
//! store cannot hide itself in what they say: they keep their books here. An answer of
//! [`Ledger::write`] means that the work is on disk.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dhara::world::World;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

/// How many pieces of work join one commit at most.
const BATCH: usize = 512;
/// How many pieces of work wait for the writer before whoever brings more has to wait as well.
const QUEUE: usize = 4096;

/// What goes wrong with a ledger.
#[derive(Debug)]
pub(crate) enum LedgerError {
    /// The file cannot be opened or written, for this reason.
    Disk(String),
    /// The ledger's writer has ended.
    Closed,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(what) => f.write_str(what),
            Self::Closed => f.write_str("the ledger is closed"),
        }
    }
}

impl std::error::Error for LedgerError {}

/// A piece of work in the writer's transaction. Whoever waits for it is answered by what it returns,
/// once the transaction is on disk, or with the reason why it is not.
type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Answered> + Send>;
type Answered = Box<dyn FnOnce() + Send>;

/// A handle to the writer of one file; clones are the same writer.
#[derive(Clone)]
pub(crate) struct Ledger {
    path: PathBuf,
    queue: mpsc::Sender<Work>,
}

impl Ledger {
    /// Opens the file, makes its tables by `schema`, and starts its writer.
    pub(crate) fn open(world: &World, path: &Path, schema: &str) -> Result<Self, LedgerError> {
        let failed = |error: rusqlite::Error| {
            LedgerError::Disk(format!("cannot open the ledger {}: {error}", path.display()))
        };
        let connection = Connection::open(path).map_err(failed)?;
        prepare(&connection, schema).map_err(failed)?;
        let (queue, work) = mpsc::channel(QUEUE);
        drop(world.spawn(write_all(world.clone(), connection, work)));
        Ok(Self { path: path.to_owned(), queue })
    }

    /// Runs `work` in the next transaction, and answers with its result when that is on disk.
    ///
    /// Work that fails takes the whole transaction along, so it fails only where the disk does.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let value = work(connection)?;
            // Whoever has gone away needs no answer.
            Ok(Box::new(move || drop(answer.send(value))))
        });
        self.queue.send(work).await.map_err(|_| LedgerError::Closed)?;
        answered.await.map_err(|_| {
            LedgerError::Disk(format!("the ledger {} could not be written", self.path.display()))
        })
    }
}

fn prepare(connection: &Connection, schema: &str) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(schema)
}

async fn write_all(world: World, connection: Connection, mut queue: mpsc::Receiver<Work>) {
    let mut connection = Some(connection);
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let (Some(owned), work) = (connection.take(), std::mem::take(&mut batch)) else { return };
        let commit = world.spawn_blocking(move || {
            commit(&owned, work);
            owned
        });
        match commit.await {
            Ok(owned) => connection = Some(owned),
            Err(error) => {
                tracing::error!(%error, "the writer of a ledger ended");
                return;
            }
        }
    }
}

/// Runs `work` in one transaction. When it fails, the answers are dropped unsent.
fn commit(connection: &Connection, work: Vec<Work>) {
    let outcome = (|| {
        let transaction = connection.unchecked_transaction()?;
        let mut answers = Vec::with_capacity(work.len());
        for work in work {
            answers.push(work(&transaction)?);
        }
        transaction.commit()?;
        Ok::<_, rusqlite::Error>(answers)
    })();
    match outcome {
        Ok(answers) => answers.into_iter().for_each(|answer| answer()),
        Err(error) => tracing::error!(%error, "a ledger's transaction failed"),
    }
}

/// Reads a ledger that another process may be writing.
pub(crate) fn read<T>(
    path: &Path,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, LedgerError> {
    let failed = |error: rusqlite::Error| {
        LedgerError::Disk(format!("cannot read the ledger {}: {error}", path.display()))
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
    work(&connection).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)";

    fn insert(n: i64) -> impl FnOnce(&Connection) -> rusqlite::Result<usize> + Send {
        move |tx| tx.prepare_cached("INSERT INTO t VALUES (?1)")?.execute([n])
    }

    #[tokio::test]
    async fn what_was_answered_is_there_for_the_next_who_opens_it() {
        let dir = crate::testing::Folder::new("ledger");
        let path = dir.path().join("l.db");
        let ledger = Ledger::open(&World::real(), &path, SCHEMA).unwrap();
        let writes = (0..100).map(|n| ledger.write(insert(n)));
        for outcome in futures_util::future::join_all(writes).await {
            assert_eq!(outcome.unwrap(), 1);
        }
        let count: Result<i64, _> =
            read(&path, |c| c.query_row("SELECT count(*) FROM t", [], |r| r.get(0)));
        assert_eq!(count.unwrap(), 100);
    }

    #[tokio::test]
    async fn a_transaction_that_fails_is_never_answered_as_done() {
        let dir = crate::testing::Folder::new("ledger");
        let path = dir.path().join("l.db");
        let ledger = Ledger::open(&World::real(), &path, SCHEMA).unwrap();
        ledger.write(insert(1)).await.unwrap();
        let refused = ledger.write(insert(1)).await.unwrap_err();
        assert!(refused.to_string().contains("could not be written"), "{refused}");
        ledger.write(insert(2)).await.unwrap();
    }
}
