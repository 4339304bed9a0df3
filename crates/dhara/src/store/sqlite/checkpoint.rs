//! Keeps the write-ahead log short without making commits wait.
//!
//! Most of the copying is done by a connection of its own beside the writer. It can never reach
//! the end while the writer goes on writing, and only a log that was copied to its end starts over;
//! so the writer itself, between two groups, copies the little that came in the meantime.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OpenFlags};

use super::super::StoreError;
use super::session::Session;
use super::tx::Shared;
use super::writer::with;
use crate::world::{Task, World};

/// How many pages the log grows before it is copied: 8 MB of 4 KB each.
const PAGES: u32 = 2048;
/// From here on somebody should know: 256 MB.
const TOO_LONG: u32 = 65_536;

/// Decides when to copy, and does it.
#[derive(Debug)]
pub(super) struct Checkpointer {
    path: PathBuf,
    connection: Arc<Mutex<Option<Connection>>>,
    running: Option<Task<()>>,
    /// The length of the log at which the next copying begins.
    due: u32,
    last: u32,
}

impl Checkpointer {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, connection: Arc::default(), running: None, due: PAGES, last: 0 }
    }

    /// To be called between two groups.
    pub(super) async fn after_commit(&mut self, world: &World, session: &Arc<Shared>) {
        let Ok(pages) = with(session, |session| Ok(session.wal_pages())) else { return };
        if pages < self.last {
            // The log has started over.
            self.due = PAGES;
        }
        self.last = pages;
        match &self.running {
            Some(running) if !running.is_finished() => {}
            Some(_) => {
                self.running = None;
                self.finish(world, session, pages).await;
            }
            None if pages >= self.due => self.begin(world),
            None => {}
        }
    }

    /// Copies what is committed by now, beside the writer.
    fn begin(&mut self, world: &World) {
        let path = self.path.clone();
        let connection = Arc::clone(&self.connection);
        self.running = Some(world.spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let copied = match connection.as_mut() {
                Some(connection) => copy(connection),
                None => open(&path).and_then(|opened| copy(connection.insert(opened))),
            };
            if let Err(error) = copied {
                tracing::warn!(file = %path.display(), %error, "cannot copy the write-ahead log");
            }
        }));
    }

    /// Copies the rest, so that the log can start over.
    async fn finish(&mut self, world: &World, session: &Arc<Shared>, pages: u32) {
        let session = Arc::clone(session);
        let left = world.spawn_blocking(move || with(&session, Session::checkpoint)).await;
        let left: Result<u32, StoreError> = left.unwrap_or(Err(StoreError::Closed));
        self.due = match left {
            Ok(0) => PAGES,
            _ => pages.saturating_add(PAGES),
        };
        if self.due > TOO_LONG {
            tracing::warn!(
                file = %self.path.display(),
                pages,
                "the write-ahead log grows: a reader holds on to an old state of the file"
            );
        }
    }

    /// Waits for what runs, then closes the connection.
    pub(super) async fn close(&mut self) {
        if let Some(running) = self.running.take() {
            // It has said by itself what went wrong.
            drop(running.await);
        }
        drop(self.connection.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn open(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA cache_size = -64; PRAGMA wal_autocheckpoint = 0;")?;
    Ok(connection)
}

fn copy(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE).map(drop)
}
