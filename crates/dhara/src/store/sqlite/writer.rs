//! The one writer of a place: it gathers units and commits them in groups.
//!
//! Nothing here waits for a timer. While one commit is on its way to the disk, the next units
//! queue up and become the next group; a unit that finds the writer idle is committed at once.
//!
//! A group runs without savepoints first, as they cost as much as an insert each. When one of its
//! units fails after it wrote, the transaction is rolled back and the whole group runs again, each
//! unit behind a savepoint; so do the next groups, since failures come in swarms.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::super::turn::{Outcome, finish, is_of_one_unit, run_watched};
use super::super::{StoreError, Tx, Unit};
use super::checkpoint::Checkpointer;
use super::error;
use super::outbox::Mark;
use super::place::Inner;
use super::session::{Session, UnitEnd};
use super::tx::{Shared, SqliteTx};
use crate::world::World;
use crate::world::disk::Lock;

/// How many units one transaction takes.
const MAX_GROUP: usize = 512;
/// After how many units the other tasks of the runtime's thread get their turn.
const UNITS_BEFORE_YIELD: usize = 32;
/// How many groups run with savepoints after one that had to run again.
const WARY_GROUPS: u32 = 16;
/// How often, and after which pauses, a group that finds the file taken is tried again.
const BUSY_PAUSES: [Duration; 6] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];

/// The task that writes.
pub(super) struct Writer {
    pub(super) world: World,
    pub(super) inner: Arc<Inner>,
    pub(super) session: Arc<Shared>,
    pub(super) checkpointer: Checkpointer,
    /// How many more groups run with savepoints from the start.
    pub(super) wary: u32,
    /// Commits cost nothing here, and may run on the task itself.
    pub(super) instant_commit: bool,
    /// Keeps other processes out. It is given back after the files are closed.
    pub(super) _lock: Box<dyn Lock>,
    /// Whoever waits for the end is woken when this goes.
    pub(super) _ended: watch::Sender<()>,
}

/// What became of a group's transaction.
enum Attempt {
    /// It is durable, but for the units whose outcome is an error.
    Committed(Vec<Outcome>),
    /// A unit failed that had no savepoint: nothing was kept.
    Spoiled,
    /// The transaction failed as a whole: nothing was kept.
    Broken(StoreError),
}

impl Writer {
    /// Writes until the place is closed and every unit has its answer.
    pub(super) async fn run(mut self) {
        loop {
            let units = self.inner.queue.take(MAX_GROUP).await;
            if units.is_empty() {
                break;
            }
            let many = units.len() > 1;
            self.write(units).await;
            self.checkpointer.after_commit(&self.world, &self.session).await;
            if many {
                // Whoever waited for this group may have its next unit ready at once.
                tokio::task::yield_now().await;
            }
        }
        self.close().await;
    }

    /// Writes these units: all in one transaction where that is possible, else in halves, so that
    /// a unit that makes the commit fail ends up alone.
    async fn write(&mut self, units: Vec<Box<dyn Unit>>) {
        let mut parts = vec![units];
        while let Some(mut part) = parts.pop() {
            match self.commit_group(&mut part).await {
                Ok(outcomes) => {
                    for (unit, outcome) in part.into_iter().zip(outcomes) {
                        finish(unit, outcome);
                    }
                }
                Err(error) if part.len() > 1 && is_of_one_unit(&error) => {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(error) => part.into_iter().for_each(|unit| finish(unit, Err(error.again()))),
            }
        }
    }

    /// Commits a group, or nothing of it.
    async fn commit_group(
        &mut self,
        units: &mut [Box<dyn Unit>],
    ) -> Result<Vec<Outcome>, StoreError> {
        let mut pauses = BUSY_PAUSES.iter();
        let mut guarded = units.len() > 1 && self.wary > 0;
        self.wary = self.wary.saturating_sub(1);
        loop {
            match self.attempt(units, guarded).await {
                Attempt::Committed(outcomes) => return Ok(outcomes),
                Attempt::Spoiled => {
                    guarded = true;
                    self.wary = WARY_GROUPS;
                }
                Attempt::Broken(error) => match pauses.next() {
                    Some(pause) if error::is_busy(&error) => self.world.sleep(*pause).await,
                    _ => return Err(error),
                },
            }
        }
    }

    async fn attempt(&mut self, units: &mut [Box<dyn Unit>], guarded: bool) -> Attempt {
        let start = match self.with(Session::begin) {
            Ok(start) => start,
            Err(error) => return Attempt::Broken(error),
        };
        let attempt = self.run_units(units, guarded).await;
        match attempt {
            Attempt::Committed(outcomes) if outcomes.iter().any(Result::is_ok) => {
                match self.commit().await {
                    Ok(()) => return Attempt::Committed(outcomes),
                    Err(error) => {
                        self.roll_back(start);
                        return Attempt::Broken(error);
                    }
                }
            }
            _ => self.roll_back(start),
        }
        attempt
    }

    /// Runs every unit. `Committed` says here that the transaction may be.
    async fn run_units(&mut self, units: &mut [Box<dyn Unit>], guarded: bool) -> Attempt {
        let mut outcomes = Vec::with_capacity(units.len());
        let alone = units.len() == 1;
        for (index, unit) in units.iter_mut().enumerate() {
            if index % UNITS_BEFORE_YIELD == UNITS_BEFORE_YIELD - 1 {
                tokio::task::yield_now().await;
            }
            let (outcome, ended) = self.run_unit(unit.as_mut(), guarded).await;
            match (outcome, ended) {
                // Nothing but this unit's writes are in the transaction, which is rolled back.
                (Err(error), _) if alone => outcomes.push(Err(error)),
                (outcome, Ok(UnitEnd::Clean)) => outcomes.push(outcome),
                (_, Ok(UnitEnd::Dirty)) => return Attempt::Spoiled,
                (Err(error), Ok(UnitEnd::Lost)) => return Attempt::Broken(error),
                (Ok(()), Ok(UnitEnd::Lost)) => {
                    let what = "an error that the unit let pass rolled back its transaction";
                    return Attempt::Broken(StoreError::Aborted { what: what.to_owned() });
                }
                (_, Err(error)) => return Attempt::Broken(error),
            }
        }
        Attempt::Committed(outcomes)
    }

    async fn run_unit(
        &self,
        unit: &mut dyn Unit,
        guarded: bool,
    ) -> (Outcome, Result<UnitEnd, StoreError>) {
        let turn = match self.with(|session| session.begin_unit(guarded)) {
            Ok(turn) => turn,
            Err(error) => return (Err(error.again()), Err(error)),
        };
        let tx = SqliteTx { session: Arc::clone(&self.session), turn, guarded };
        let outcome = run_watched(unit, Tx::new(Arc::new(tx)), &self.inner.name, || false).await;
        let ended = self.with(|session| session.end_unit(outcome.is_ok(), guarded));
        (outcome, ended)
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        self.with(Session::settle)?;
        if self.instant_commit {
            self.with(Session::commit)?;
        } else {
            // The sync blocks, and a runtime has few threads to block.
            let session = Arc::clone(&self.session);
            let commit = self.world.spawn_blocking(move || with(&session, Session::commit));
            commit.await.unwrap_or_else(|error| {
                let what = format!("the runtime ended during a commit: {error}");
                Err(StoreError::Failed { what, source: None })
            })?;
        }
        self.with(|session| {
            self.inner.tail.commit(&mut session.outbox);
            Ok(())
        })
    }

    fn roll_back(&self, start: Mark) {
        let rolled_back = self.with(|session| {
            session.roll_back(start);
            Ok(())
        });
        // Without a session there is nothing to roll back.
        drop(rolled_back);
    }

    /// Closes the files; the last connection to go copies the write-ahead log into the file.
    async fn close(&mut self) {
        self.inner.readers.close();
        self.checkpointer.close().await;
        let session = lock(&self.session).take();
        // An error here loses nothing: what was committed is in the log, and is found there.
        drop(self.world.spawn_blocking(move || drop(session)).await);
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        with(&self.session, work)
    }
}

impl Drop for Writer {
    /// A writer that goes before its time leaves nobody waiting.
    fn drop(&mut self) {
        for unit in self.inner.queue.abandon() {
            finish(unit, Err(StoreError::Closed));
        }
        self.inner.readers.close();
        drop(lock(&self.session).take());
    }
}

fn lock(session: &Shared) -> MutexGuard<'_, Option<Session>> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does `work` on the session; an error where it is closed.
pub(super) fn with<T>(
    session: &Shared,
    work: impl FnOnce(&mut Session) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    lock(session).as_mut().map_or(Err(StoreError::Closed), work)
}
