//! The connection that writes for a place, and the transaction that runs on it.

mod statements;

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join;
use tokio_postgres::{Error, SimpleQueryMessage};

use super::super::StoreError;
use super::changes::{Changes, Entry, Mark, Prepared};
use super::error::{self, Meaning};
use super::link::Link;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
    SELECT pg_current_xact_id()::text;";

/// The writing connection with the state of its transaction and of the unit that runs in it.
///
/// Units take turns: a [`super::tx::PostgresTx`] carries the number of its turn, and means nothing
/// in any other.
///
/// What needs no answer, savepoints and the begin, is kept in `pending` and sent along with the
/// next statement: it costs no round trip of its own.
#[derive(Debug)]
pub(super) struct Session {
    link: Arc<Link>,
    prepared: Arc<Prepared>,
    /// A statement is on its way to the server.
    pub(super) busy: Arc<AtomicBool>,
    pending: String,
    /// The begin was sent.
    begun: bool,
    /// The transaction's id, once the server has told it.
    transaction: Option<u64>,
    turn: u64,
    running: bool,
    /// The unit that runs has sent something.
    wrote: bool,
    /// A statement failed: all that the transaction takes now is a rollback to a savepoint.
    aborted: bool,
    /// A statement was sent whose answer nobody has taken: its future was dropped.
    abandoned: bool,
    /// The transaction is to be run again, or was lost with the connection.
    broken: Option<(Meaning, StoreError)>,
    savepoints: Vec<Mark>,
    /// Where the unit that runs began.
    start: Mark,
    changes: Changes,
    /// The inbox is asked at once, at a round trip a row.
    exact: bool,
    /// Rows that stood in the inbox when an earlier run of the same units took them for new.
    known: HashSet<Entry>,
}

/// What the end of a unit's turn means for the transaction.
#[derive(Debug)]
pub(super) enum UnitEnd {
    /// It holds what it should.
    Clean,
    /// The unit let an error pass: it has failed, whatever it says, and its writes are undone.
    Undone,
    /// It holds writes of a unit that failed.
    Dirty,
    /// The failure may come from a row of the inbox that was taken for new.
    Unproven,
    /// It must run again, or was lost with the connection.
    Broken(Meaning, StoreError),
}

/// How a commit ended.
#[derive(Debug)]
pub(super) enum CommitEnd {
    Durable,
    /// Rows stood in the inbox that were taken for new. They are known now.
    Repeated,
    Failed(Meaning, StoreError),
    /// The connection was lost in between: the server knows whether this transaction is durable.
    Unknown(u64, StoreError),
}

impl Session {
    pub(super) fn new(link: Link, prepared: Prepared, busy: Arc<AtomicBool>) -> Self {
        Self {
            link: Arc::new(link),
            prepared: Arc::new(prepared),
            busy,
            pending: String::new(),
            begun: false,
            transaction: None,
            turn: 0,
            running: false,
            wrote: false,
            aborted: false,
            abandoned: false,
            broken: None,
            savepoints: Vec::new(),
            start: Mark::default(),
            changes: Changes::default(),
            exact: false,
            known: HashSet::new(),
        }
    }

    /// Goes on with another connection: the earlier one is gone.
    pub(super) fn reconnect(&mut self, link: Link, prepared: Prepared) {
        self.link = Arc::new(link);
        self.prepared = Arc::new(prepared);
        self.reset();
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Whether something will be committed that a relay waits for.
    pub(super) fn adds_to_outbox(&self) -> bool {
        self.changes.adds_to_outbox()
    }

    fn reset(&mut self) {
        self.pending.clear();
        (self.begun, self.transaction) = (false, None);
        (self.wrote, self.aborted, self.abandoned) = (false, false, false);
        self.broken = None;
        self.savepoints.clear();
        self.changes.clear();
        self.busy.store(false, Ordering::Relaxed);
    }
}

/// The transaction of a group.
impl Session {
    /// Begins a transaction. With `exact` the inbox is asked for each row; else rows are taken for
    /// new, and the commit fails where one is not.
    pub(super) fn begin(&mut self, exact: bool) {
        self.reset();
        self.exact = exact;
        self.pending.push_str(BEGIN);
    }

    /// Forgets what was found in the inbox: the next units are others.
    pub(super) fn forget_known(&mut self) {
        self.known.clear();
    }

    /// Writes what has gathered, and commits. All of it is one round trip, of which the lock of
    /// the outbox is held for the last part.
    pub(super) async fn commit(&mut self) -> CommitEnd {
        if !self.begun && self.changes.is_empty() {
            self.pending.clear();
            return CommitEnd::Durable;
        }
        if let Err(error) = self.changes.check_size() {
            return CommitEnd::Failed(Meaning::Untouched, error);
        }
        if self.begun && self.transaction.is_none() {
            // Nobody took the answer in which it stood.
            self.pending.push_str("SELECT pg_current_xact_id()::text;");
        }
        if let Err(error) = self.flush().await {
            return self.failed_commit(error);
        }
        let Some(transaction) = self.transaction else {
            let what = "the server began a transaction without an id".to_owned();
            return CommitEnd::Failed(Meaning::Aborted, StoreError::Failed { what, source: None });
        };
        // A transaction that a handler had ended, by whatever means, would have no id or another.
        let commit = format!(
            "SELECT 1 / coalesce(pg_current_xact_id_if_assigned() = '{transaction}'::xid8, \
             false)::int; COMMIT"
        );
        let (link, prepared) = (Arc::clone(&self.link), Arc::clone(&self.prepared));
        self.busy.store(true, Ordering::Relaxed);
        let (written, committed) =
            join(prepared.write(&link, &self.changes), link.client.batch_execute(&commit)).await;
        self.busy.store(false, Ordering::Relaxed);
        let Err(cause) = written.inbox.map(drop).and(written.rest).and(committed) else {
            self.transaction = None;
            return CommitEnd::Durable;
        };
        if error::meaning(&cause) == Meaning::Gone {
            return CommitEnd::Unknown(transaction, error::of("commit", cause));
        }
        if repeats_inbox(&cause) {
            return self.find_known().await;
        }
        self.failed_commit(cause)
    }

    fn failed_commit(&mut self, cause: Error) -> CommitEnd {
        let meaning = self.meaning_of(&cause);
        CommitEnd::Failed(meaning, error::of("commit", cause))
    }

    /// The transaction failed because of the inbox: asks which rows stand there.
    async fn find_known(&mut self) -> CommitEnd {
        self.pending.clear();
        let (link, prepared) = (Arc::clone(&self.link), Arc::clone(&self.prepared));
        let rolled_back = link.client.batch_execute("ROLLBACK");
        let (_, known) = join(rolled_back, prepared.known(&link, &self.changes)).await;
        self.transaction = None;
        match known {
            Ok(known) => {
                self.known.extend(known);
                CommitEnd::Repeated
            }
            Err(cause) => self.failed_commit(cause),
        }
    }

    /// Gives up what the transaction has done, to the last row.
    pub(super) async fn roll_back(&mut self) {
        let begun = self.begun;
        self.reset();
        if begun && !self.link.is_closed() {
            // Where it fails the connection is gone, and the transaction with it.
            drop(self.link.client.batch_execute("ROLLBACK").await);
        }
    }

    /// Sends what is pending by itself.
    async fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.along(std::future::ready(Ok(()))).await
    }

    /// Sends what is pending and `work` behind it, without waiting in between. `work` sends its
    /// request when it is polled first.
    async fn along<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let pending = std::mem::take(&mut self.pending);
        let link = Arc::clone(&self.link);
        (self.begun, self.abandoned) = (true, true);
        self.busy.store(true, Ordering::Relaxed);
        let control = async {
            match pending.is_empty() {
                true => Ok(Vec::new()),
                false => link.client.simple_query(&pending).await,
            }
        };
        let (control, answer) = join(control, work).await;
        self.busy.store(false, Ordering::Relaxed);
        self.abandoned = false;
        for message in control? {
            if let SimpleQueryMessage::Row(row) = message {
                // The answer to a lock is empty.
                let id = row.get(0).and_then(|id| id.parse().ok());
                self.transaction = id.or(self.transaction);
            }
        }
        answer
    }

    fn meaning_of(&self, cause: &Error) -> Meaning {
        match error::meaning(cause) {
            Meaning::Untouched if self.link.is_closed() => Meaning::Gone,
            meaning => meaning,
        }
    }
}

/// The turn of a unit.
impl Session {
    /// Begins a unit's turn, behind a savepoint where it is guarded; gives the turn's number.
    pub(super) fn begin_unit(&mut self, guarded: bool) -> u64 {
        self.wrote = false;
        self.start = self.changes.mark();
        self.savepoints.clear();
        if guarded {
            self.push_savepoint();
        }
        self.turn += 1;
        self.running = true;
        self.turn
    }

    /// Ends a unit's turn: keeps what it wrote, or undoes it where there is a savepoint.
    pub(super) fn end_unit(&mut self, keep: bool, guarded: bool) -> UnitEnd {
        self.running = false;
        let failed = self.aborted || self.abandoned;
        self.abandoned = false;
        if let Some((meaning, error)) = self.broken.take() {
            return UnitEnd::Broken(meaning, error);
        }
        if keep && !failed {
            while self.savepoints.len() > usize::from(guarded) {
                self.pop_savepoint(true);
            }
            if guarded {
                self.pop_savepoint(true);
            }
            return UnitEnd::Clean;
        }
        if !self.exact && self.changes.has_entered_since(self.start) {
            return UnitEnd::Unproven;
        }
        self.changes.roll_back(self.start);
        if !guarded && (self.wrote || failed) {
            return UnitEnd::Dirty;
        }
        while !self.savepoints.is_empty() {
            self.pop_savepoint(false);
        }
        self.aborted = false;
        if keep { UnitEnd::Undone } else { UnitEnd::Clean }
    }

    /// Whether the unit with this turn is the one that runs.
    pub(super) fn is_turn(&self, turn: u64) -> bool {
        self.running && self.turn == turn
    }

    pub(super) fn savepoint(&mut self) -> Result<(), StoreError> {
        self.usable()?;
        self.push_savepoint();
        Ok(())
    }

    /// Ends the last savepoint that the unit itself began, in the one way or the other.
    pub(super) fn end_own_savepoint(
        &mut self,
        keep: bool,
        guarded: bool,
    ) -> Result<(), StoreError> {
        if self.savepoints.len() <= usize::from(guarded) {
            let what = "no savepoint was begun that could be ended".to_owned();
            return Err(StoreError::Statement { what, source: None });
        }
        if keep {
            self.usable()?;
        }
        self.pop_savepoint(keep);
        if !keep {
            (self.aborted, self.abandoned) = (false, false);
        }
        Ok(())
    }

    fn push_savepoint(&mut self) {
        self.pending.push_str(&savepoint(self.savepoints.len()));
        self.savepoints.push(self.changes.mark());
    }

    fn pop_savepoint(&mut self, keep: bool) {
        let Some(mark) = self.savepoints.pop() else { return };
        if !keep {
            self.changes.roll_back(mark);
        }
        let depth = self.savepoints.len();
        let begun = savepoint(depth);
        if let Some(unsent) = self.pending.strip_suffix(&begun) {
            // Nothing was sent since it began: it never was.
            self.pending.truncate(unsent.len());
            return;
        }
        if !keep {
            self.pending.push_str(&format!("ROLLBACK TO dhara_{depth};"));
        }
        self.pending.push_str(&format!("RELEASE dhara_{depth};"));
    }

    fn usable(&self) -> Result<(), StoreError> {
        if self.aborted || self.abandoned || self.broken.is_some() {
            let what = "the transaction takes no more statements, as an earlier one has failed or \
                        was abandoned: end the unit, or roll back to a savepoint put before it";
            return Err(StoreError::Aborted { what: what.to_owned() });
        }
        Ok(())
    }
}

fn savepoint(depth: usize) -> String {
    format!("SAVEPOINT dhara_{depth};")
}

/// Whether the error says that a row stands in the inbox.
fn repeats_inbox(cause: &Error) -> bool {
    cause.as_db_error().is_some_and(|cause| {
        *cause.code() == tokio_postgres::error::SqlState::UNIQUE_VIOLATION
            && cause.table() == Some("dhara_inbox")
    })
}
