//! The one writer that a place has in this process: it gathers units and commits them in groups.
//!
//! Nothing here waits for a timer. While one commit is on its way, the next units queue up and
//! become the next group; a unit that finds the writer idle is committed at once.
//!
//! A group runs without savepoints first: more than 64 that write overflow what PostgreSQL keeps of
//! a transaction for others' snapshots, and each costs more than the insert behind it. When a unit
//! fails after it wrote, the transaction is rolled back and its units run again in groups that stay
//! below that, each behind a savepoint; so do the next groups, since failures come in swarms.
//!
//! The inbox is not asked either: its rows are taken for new and written together before the
//! commit, which fails where one is not. Then the units run again, and are told which rows stand
//! there. Before a unit's failure is believed, it runs with the inbox asked row by row.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::super::turn::{Outcome, finish, is_of_one_unit, run_watched};
use super::super::{StoreError, Tx, Unit};
use super::error::Meaning;
use super::place::{Inner, Opener};
use super::session::{CommitEnd, UnitEnd};
use super::tx::{Connection, PostgresTx, Shared};
use crate::world::{Instant, World, timeout};

/// How many units one transaction takes.
const MAX_GROUP: usize = 512;
/// How many it takes behind savepoints.
const MAX_GUARDED_GROUP: usize = 60;
/// After how many units the other tasks of the runtime's thread get their turn.
const UNITS_BEFORE_YIELD: usize = 32;
/// How many groups run with savepoints after one that had to run again.
const WARY_GROUPS: u32 = 16;
/// How long units wait for a server that is away before they are told.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a group runs again because its connection was lost.
const MOST_LOSSES: u32 = 5;
/// How often a group runs again because rows stood in the inbox, before each is asked for.
const MOST_REPEATS: u32 = 2;
/// After which pauses a group that was in another transaction's way is tried again.
const CONFLICT_PAUSES: [u64; 8] = [1, 2, 5, 10, 20, 50, 100, 200];

/// The task that writes.
pub(super) struct Writer {
    pub(super) world: World,
    pub(super) inner: Arc<Inner>,
    pub(super) opener: Opener,
    pub(super) session: Arc<Shared>,
    /// The connection was lost, also where the client does not know it yet.
    pub(super) lost: bool,
    /// How many more groups run with savepoints from the start.
    pub(super) wary: u32,
    /// Whoever waits for the end is woken when this goes.
    pub(super) _ended: watch::Sender<()>,
}

/// Units that commit together.
struct Group {
    units: Vec<Box<dyn Unit>>,
    /// Each runs behind a savepoint.
    guarded: bool,
}

/// What became of a group.
enum GroupEnd {
    /// It is durable, but for the units whose outcome is an error.
    Committed(Vec<Outcome>),
    /// It must run behind savepoints.
    Spoiled,
    /// Nothing was kept, because of one of its units.
    Guilty(StoreError),
    /// Nothing was kept, and none of its units is to blame.
    Away(StoreError),
}

/// What became of one run of a group's units.
enum Attempt {
    Committed(Vec<Outcome>),
    /// A unit failed that had no savepoint, or that may have failed because of the inbox.
    Spoiled,
    /// Rows stood in the inbox that were taken for new.
    Repeated,
    Broken(Meaning, StoreError),
}

impl Writer {
    /// Writes until the place is closed and every unit has its answer.
    pub(super) async fn run(mut self) {
        let mut pause = Duration::from_millis(50);
        let inner = Arc::clone(&self.inner);
        loop {
            let mut ended = self.session.lock().await.link().ended();
            let idle = async {
                if self.lost {
                    self.world.sleep(pause).await;
                } else {
                    // Nothing is ever sent: the error says that the connection has ended.
                    drop(ended.changed().await);
                }
            };
            tokio::select! {
                units = inner.queue.take(MAX_GROUP) => {
                    if units.is_empty() {
                        break;
                    }
                    self.write(units).await;
                }
                () = idle => {
                    // Who publishes for this service elsewhere is heard only while connected.
                    self.lost = true;
                    let back = self.reconnect().await.is_ok();
                    pause = if back { Duration::from_millis(50) } else { longer(pause) };
                }
            }
        }
        self.inner.readers.close();
    }

    /// Writes these units: all in one transaction where that is possible, else in parts, so that
    /// a unit that makes the commit fail ends up alone.
    async fn write(&mut self, units: Vec<Box<dyn Unit>>) {
        let mut groups = vec![Group { units, guarded: self.wary > 0 }];
        self.wary = self.wary.saturating_sub(1);
        while let Some(mut group) = groups.pop() {
            if group.guarded && group.units.len() > MAX_GUARDED_GROUP {
                let units = group.units.split_off(MAX_GUARDED_GROUP);
                groups.push(Group { units, guarded: true });
            }
            match self.commit_group(&mut group).await {
                GroupEnd::Committed(outcomes) => {
                    for (unit, outcome) in group.units.into_iter().zip(outcomes) {
                        finish(unit, outcome);
                    }
                }
                GroupEnd::Spoiled => {
                    self.wary = WARY_GROUPS;
                    groups.push(Group { guarded: true, ..group });
                }
                GroupEnd::Guilty(error) if group.units.len() > 1 && is_of_one_unit(&error) => {
                    let units = group.units.split_off(group.units.len() / 2);
                    groups.push(Group { units, guarded: group.guarded });
                    groups.push(group);
                }
                GroupEnd::Guilty(error) | GroupEnd::Away(error) => {
                    group.units.into_iter().for_each(|unit| finish(unit, Err(error.again())));
                }
            }
        }
    }

    /// Commits a group, or nothing of it.
    async fn commit_group(&mut self, group: &mut Group) -> GroupEnd {
        let alone = group.units.len() == 1;
        let guarded = group.guarded && !alone;
        let mut exact = group.guarded;
        let (mut repeats, mut losses, mut pauses) = (0, 0, CONFLICT_PAUSES.iter());
        self.session.lock().await.forget_known();
        loop {
            if let Err(error) = self.connected(PATIENCE).await {
                return GroupEnd::Away(error);
            }
            match self.attempt(&mut group.units, guarded, exact).await {
                Attempt::Committed(outcomes) => return GroupEnd::Committed(outcomes),
                Attempt::Spoiled if alone && !exact => exact = true,
                Attempt::Spoiled => return GroupEnd::Spoiled,
                Attempt::Repeated => {
                    repeats += 1;
                    exact |= repeats > MOST_REPEATS;
                }
                Attempt::Broken(Meaning::Again, error) => match pauses.next() {
                    Some(pause) => self.pause(*pause).await,
                    None => return GroupEnd::Away(error),
                },
                Attempt::Broken(Meaning::Gone, error) => {
                    self.lost = true;
                    losses += 1;
                    if losses > MOST_LOSSES {
                        return GroupEnd::Away(error);
                    }
                }
                Attempt::Broken(_, error) => return GroupEnd::Guilty(error),
            }
        }
    }

    /// Waits for about so many milliseconds: two that were in each other's way should not be again.
    async fn pause(&self, millis: u64) {
        let jitter = self.world.random().below(millis * 1000);
        self.world.sleep(Duration::from_micros(millis * 500 + jitter)).await;
    }

    async fn attempt(
        &mut self,
        units: &mut [Box<dyn Unit>],
        guarded: bool,
        exact: bool,
    ) -> Attempt {
        self.session.lock().await.begin(exact);
        let attempt = self.run_units(units, guarded).await;
        let Attempt::Committed(outcomes) = attempt else {
            self.session.lock().await.roll_back().await;
            return attempt;
        };
        if outcomes.iter().all(Result::is_err) {
            self.session.lock().await.roll_back().await;
            return Attempt::Committed(outcomes);
        }
        self.commit(outcomes).await
    }

    /// Runs every unit. `Committed` says here that the transaction may be.
    async fn run_units(&mut self, units: &mut [Box<dyn Unit>], guarded: bool) -> Attempt {
        let mut outcomes = Vec::with_capacity(units.len());
        let alone = units.len() == 1;
        for (index, unit) in units.iter_mut().enumerate() {
            if index % UNITS_BEFORE_YIELD == UNITS_BEFORE_YIELD - 1 {
                tokio::task::yield_now().await;
            }
            let (outcome, end) = self.run_unit(unit.as_mut(), guarded).await;
            outcomes.push(match end {
                UnitEnd::Clean => outcome,
                UnitEnd::Undone => outcome.and_then(|()| Err(let_pass())),
                // Nothing but this unit's writes are in the transaction, which is rolled back.
                UnitEnd::Dirty if alone => outcome.and_then(|()| Err(let_pass())),
                UnitEnd::Dirty | UnitEnd::Unproven => return Attempt::Spoiled,
                UnitEnd::Broken(meaning, error) => return Attempt::Broken(meaning, error),
            });
        }
        Attempt::Committed(outcomes)
    }

    async fn run_unit(&self, unit: &mut dyn Unit, guarded: bool) -> (Outcome, UnitEnd) {
        let (turn, busy) = {
            let mut session = self.session.lock().await;
            (session.begin_unit(guarded), Arc::clone(&session.busy))
        };
        let connection = Connection::new(Arc::clone(&self.session), turn);
        let tx = Tx::new(Arc::new(PostgresTx { guarded, connection }));
        let busy = || busy.load(std::sync::atomic::Ordering::Relaxed);
        let outcome = run_watched(unit, tx, &self.inner.name, busy).await;
        let end = self.session.lock().await.end_unit(outcome.is_ok(), guarded);
        (outcome, end)
    }

    async fn commit(&mut self, outcomes: Vec<Outcome>) -> Attempt {
        let (end, news) = {
            let mut session = self.session.lock().await;
            let end = session.commit().await;
            (end, session.adds_to_outbox())
        };
        match end {
            CommitEnd::Durable => {
                if news {
                    self.tell().await;
                }
                Attempt::Committed(outcomes)
            }
            CommitEnd::Repeated => Attempt::Repeated,
            CommitEnd::Failed(meaning, error) => {
                self.session.lock().await.roll_back().await;
                Attempt::Broken(meaning, error)
            }
            CommitEnd::Unknown(transaction, error) => {
                self.find_out(transaction, error, outcomes).await
            }
        }
    }

    /// Tells of new rows in the outbox: the relay of this process, and those of others.
    ///
    /// Not in the transaction itself: those that notify commit one after another over the whole
    /// server. What is lost where the process dies in between, the slow sweep finds.
    async fn tell(&self) {
        self.inner.changed.notify_one();
        let link = Arc::clone(self.session.lock().await.link());
        let notify = format!("NOTIFY {}", self.opener.channel());
        // It is sent by the first poll, and nobody waits for the answer.
        drop(link.client.batch_execute(&notify).now_or_never());
    }
}

/// The connection.
impl Writer {
    /// Sees to it that there is a connection; gives up after `patience`.
    async fn connected(&mut self, patience: Duration) -> Result<(), StoreError> {
        self.lost |= self.session.lock().await.link().is_closed();
        let deadline = self.world.instant() + patience;
        let mut pause = Duration::from_millis(20);
        while self.lost {
            match self.reconnect().await {
                Ok(()) => break,
                Err(error) if self.is_late(deadline, pause) => return Err(error),
                Err(_) => self.world.sleep(pause).await,
            }
            pause = longer(pause);
        }
        Ok(())
    }

    fn is_late(&self, deadline: Instant, pause: Duration) -> bool {
        self.world.instant() + pause > deadline
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        let (link, prepared) = self.opener.open(&self.inner).await?;
        self.session.lock().await.reconnect(link, prepared);
        self.lost = false;
        // What others told of in the meantime was not heard.
        self.inner.changed.notify_one();
        Ok(())
    }

    /// The connection was lost while the commit was on its way: asks the server what became of it.
    async fn find_out(
        &mut self,
        transaction: u64,
        error: StoreError,
        outcomes: Vec<Outcome>,
    ) -> Attempt {
        tracing::warn!(store = %self.inner.name, transaction, %error,
            "the connection was lost during a commit; asking what became of it");
        let earlier = Arc::clone(self.session.lock().await.link());
        self.lost = true;
        loop {
            if let Err(away) = self.connected(PATIENCE).await {
                if self.inner.queue.is_closed() {
                    return Attempt::Broken(Meaning::Aborted, open_question(transaction, away));
                }
                tracing::warn!(store = %self.inner.name, transaction, error = %away,
                    "the server is away, and what became of a commit is still open");
                continue;
            }
            let link = Arc::clone(self.session.lock().await.link());
            match timeout(PATIENCE, status(&link, transaction)).await {
                Some(Ok(Some(status))) if status == "committed" => {
                    self.tell().await;
                    return Attempt::Committed(outcomes);
                }
                Some(Ok(Some(status))) if status == "aborted" => {
                    return Attempt::Broken(Meaning::Gone, error);
                }
                // Its process has not seen yet that nobody listens any more.
                Some(Ok(Some(_))) => {
                    drop(link.client.query(TERMINATE, &[&earlier.process, &earlier.began]).await);
                    self.world.sleep(Duration::from_millis(50)).await;
                }
                Some(Ok(None)) => {
                    return Attempt::Broken(Meaning::Aborted, open_question(transaction, error));
                }
                // This server has never had it: it took over from the one that had.
                Some(Err(cause)) if cause.as_db_error().is_some() => {
                    return Attempt::Broken(Meaning::Gone, error);
                }
                Some(Err(_)) | None => self.lost = true,
            }
        }
    }
}

const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid = $1 AND backend_start::text = $2";

async fn status(
    link: &super::link::Link,
    transaction: u64,
) -> Result<Option<String>, tokio_postgres::Error> {
    let sql = "SELECT pg_xact_status($1::text::xid8)";
    link.client.query_one(sql, &[&transaction.to_string()]).await?.try_get(0)
}

fn open_question(transaction: u64, cause: StoreError) -> StoreError {
    let what = format!(
        "whether transaction {transaction} is durable is not known; ask the server with `SELECT \
         pg_xact_status('{transaction}')`"
    );
    StoreError::Failed { what, source: Some(cause.into()) }
}

fn let_pass() -> StoreError {
    let what = "a statement of the unit failed, and the unit let that pass".to_owned();
    StoreError::Aborted { what }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

impl Drop for Writer {
    /// A writer that goes before its time leaves nobody waiting.
    fn drop(&mut self) {
        for unit in self.inner.queue.abandon() {
            finish(unit, Err(StoreError::Closed));
        }
        self.inner.readers.close();
    }
}
