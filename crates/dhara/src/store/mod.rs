//! A store remembers what services know.
//!
//! [`Store`], [`ServiceStore`] and [`Tx`] are the second seam. A service owns its data: each has a
//! file (SQLite) or a schema (PostgreSQL) of its own, and no transaction spans two services.

mod error;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod headers;
mod open;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod queue;
mod rows;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod turn;
mod tx;

use std::fmt;
use std::sync::Arc;

pub use error::StoreError;
pub use open::open;
pub use rows::{FromValue, Param, Row, Value};
pub use tx::{Tx, TxBackend};

use crate::answer::{Answer, BoxFuture};
use crate::broker::{Headers, Topic, TopicPartition};
use crate::world::Timestamp;

/// How many bytes of keys and bodies [`ServiceStore::outbox_after`] gives at a time.
pub const MOST_OUTBOX_BYTES: usize = 4 << 20;

/// Gives every service the place for its data.
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// What this store can do, as data.
    fn capabilities(&self) -> StoreCapabilities;

    /// Opens the place of `service`, made with the framework's tables where it is new.
    ///
    /// Opened twice in one process, it is the same place with the same writer.
    fn open<'a>(
        &'a self,
        service: &'a str,
    ) -> Answer<'a, Result<Arc<dyn ServiceStore>, StoreError>>;
}

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCapabilities {
    /// A committed transaction survives a power cut.
    pub durable: bool,
    /// Several processes may open the place of one service.
    pub shared: bool,
}

/// The data of one service.
///
/// # Units and group commit
///
/// All writing is done by [`Unit`]s. The store gathers the units that wait, runs them one after
/// another in one transaction, each behind a savepoint, in the order in which they were submitted,
/// and commits once for all of them. A unit that fails takes only its own writes along. When the
/// commit itself fails, every unit of it is run again, in smaller parts, until the guilty one
/// stands alone; so a unit may run more than once before it commits once.
pub trait ServiceStore: Send + Sync + fmt::Debug + 'static {
    /// Queues a unit for the next transaction. [`Unit::finished`] tells how it ended.
    fn submit(&self, unit: Box<dyn Unit>);

    /// Reads what is committed, beside the writer.
    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<Vec<Row>, StoreError>>;

    /// The oldest `limit` rows of the outbox after row `after`, in the order of their commit; fewer
    /// where they have more than [`MOST_OUTBOX_BYTES`] together, but one at least.
    fn outbox_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Result<Vec<OutboxRow>, StoreError>>;

    /// Waits until the outbox may hold rows that [`ServiceStore::outbox_after`] has not shown.
    /// Answers at once when something was committed since it answered last.
    fn outbox_changed(&self) -> Answer<'_, ()>;

    /// How far the service has come, one row for each partition of a broker that it has begun.
    fn positions(&self) -> Answer<'_, Result<Vec<PositionRow>, StoreError>>;

    /// The oldest `limit` dead letters after number `after`, each with its own number.
    fn dead_letters_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Result<Vec<(u64, DeadLetter)>, StoreError>>;

    /// Commits what was submitted, then closes. Later units fail with [`StoreError::Closed`].
    fn close(&self) -> Answer<'_, ()>;
}

/// A piece of work inside a transaction.
pub trait Unit: Send {
    /// What the store calls the unit in its warnings: the handler's name, say.
    fn name(&self) -> Option<Arc<str>> {
        None
    }

    /// Does the work. It may be called again, after everything it wrote was rolled back.
    ///
    /// Other units wait while it runs: it must not wait for the network.
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Called once: with `Ok` when what the unit wrote is durable, with an error when nothing of it
    /// is; only [`StoreError::Failed`] leaves that open, as a disk that failed does. It must be
    /// quick, as the next transaction waits for it.
    fn finished(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// An event that was committed and is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place in the order of commits, from 1. Given by the store; 0 in a row to be added.
    pub sequence: u64,
    /// The topic it goes to.
    pub topic: Topic,
    /// Its key.
    pub key: Option<bytes::Bytes>,
    /// The encoded event.
    pub body: bytes::Bytes,
    /// The headers it is published with.
    pub headers: Headers,
    /// When what it tells of happened.
    pub timestamp: Timestamp,
}

/// What the inbox remembers: this handler has finished with this event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxRow<'a> {
    /// The handler's name.
    pub handler: &'a str,
    /// The event's id, as bytes.
    pub event: &'a [u8],
}

/// How far the service has come in a partition: everything below `next` is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionRow {
    /// The broker whose offsets these are, by its [`crate::broker::Broker::id`].
    pub broker: Arc<str>,
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the next delivery that is not done.
    pub next: u64,
}

/// An event that could not be handled, untouched, with the reason beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The partition it was delivered from.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: u64,
    /// Its key.
    pub key: Option<bytes::Bytes>,
    /// Its bytes, as they were delivered.
    pub body: bytes::Bytes,
    /// Its headers.
    pub headers: Headers,
    /// Its id, where it could be read.
    pub event_id: Option<String>,
    /// The handler that gave up on it; empty where it could not be read at all.
    pub handler: String,
    /// The error with all its causes.
    pub error: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub at: Timestamp,
}
