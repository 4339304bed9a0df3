//! Streams of facts in the service's own store.

use std::fmt;

use dhara::store::{Param, Row, ServiceStore, StoreError, Tx};
use dhara::world::Timestamp;
use dhara::{EventId, Failure, FailureKind};

use super::aggregate::Fact;
use crate::events::OrderId;

/// A fact, with the event that told of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) fact: Fact,
    pub(super) event_id: EventId,
    /// The service it came from.
    pub(super) source: String,
    pub(super) at: Timestamp,
}

/// Why an order's stream could not be read or appended to.
#[derive(Debug)]
pub(super) enum StreamError {
    /// Somebody else has appended since the stream was read.
    Conflict {
        order_id: OrderId,
        expected: u32,
    },
    /// There is no such stream.
    Unknown(OrderId),
    /// An entry of it cannot be read.
    Damaged {
        order_id: OrderId,
        reason: String,
    },
    Store(StoreError),
}

const READ: &str = "SELECT event_id, source, at, data FROM order_events WHERE stream = $1 \
                    ORDER BY version";

/// Reads the stream of an order inside a transaction; empty where there is none.
pub(super) async fn read(tx: &Tx, order_id: &OrderId) -> Result<Vec<Entry>, StreamError> {
    let rows = tx.query(READ, &[Param::from(&order_id.0)]).await?;
    rows.iter().map(|row| entry_of(order_id, row)).collect()
}

/// Reads the stream of an order as it is committed; empty where there is none.
pub(super) async fn read_committed(
    store: &dyn ServiceStore,
    order_id: &OrderId,
) -> Result<Vec<Entry>, StreamError> {
    let rows = store.query(READ, &[Param::from(&order_id.0)]).await?;
    rows.iter().map(|row| entry_of(order_id, row)).collect()
}

/// Appends entries to a stream of which `expected` are known: if it holds more, nothing is written.
pub(super) async fn append(
    tx: &Tx,
    order_id: &OrderId,
    expected: u32,
    entries: &[&Entry],
) -> Result<(), StreamError> {
    for (version, entry) in (expected + 1..).zip(entries) {
        let data = serde_json::to_string(&entry.fact).map_err(|e| damaged(order_id, &e))?;
        let at = i64::try_from(entry.at.as_micros()).unwrap_or(i64::MAX);
        let event_id = entry.event_id.to_string();
        // The one way to number rows that every store understands.
        let insert = "INSERT INTO order_events (seq, stream, version, kind, event_id, source, at, data) \
             VALUES ((SELECT coalesce(max(seq), 0) + 1 FROM order_events), \
             $1, $2, $3, $4, $5, $6, $7)";
        let params = [
            Param::from(&order_id.0),
            Param::from(version),
            Param::from(entry.fact.kind()),
            Param::from(&event_id),
            Param::from(&entry.source),
            Param::from(at),
            Param::from(&data),
        ];
        match tx.execute(insert, &params).await {
            Err(StoreError::Constraint { .. }) => {
                return Err(StreamError::Conflict { order_id: order_id.clone(), expected });
            }
            outcome => outcome?,
        };
    }
    Ok(())
}

fn entry_of(order_id: &OrderId, row: &Row) -> Result<Entry, StreamError> {
    let (event_id, data): (String, String) = (row.get("event_id")?, row.get("data")?);
    Ok(Entry {
        fact: serde_json::from_str(&data).map_err(|error| damaged(order_id, &error))?,
        event_id: EventId::parse(&event_id).map_err(|error| damaged(order_id, &error))?,
        source: row.get("source")?,
        at: Timestamp::from_micros(row.get("at")?),
    })
}

fn damaged(order_id: &OrderId, reason: &dyn fmt::Display) -> StreamError {
    StreamError::Damaged { order_id: order_id.clone(), reason: reason.to_string() }
}

impl From<StoreError> for StreamError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { order_id, expected } => {
                write!(f, "the stream of {order_id} has gone on from version {expected}")
            }
            Self::Unknown(order_id) => write!(f, "there is no order {order_id}"),
            Self::Damaged { order_id, reason } => {
                write!(f, "the stream of {order_id} has an entry that cannot be read: {reason}")
            }
            Self::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for StreamError {}

impl Failure for StreamError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Conflict { .. } => FailureKind::Transient,
            Self::Unknown(_) | Self::Damaged { .. } => FailureKind::Permanent,
            Self::Store(error) => error.kind(),
        }
    }
}
