//! What the running transaction changes in the framework's tables: gathered while its units run,
//! and written in one go before the commit, a statement for each table.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use tokio_postgres::{Error, Statement};

use super::super::headers;
use super::super::{InboxRow, OutboxRow, PositionRow, StoreError};
use super::link::Link;
use super::schema::LOCKS;
use super::statement::integer_of;

/// Not `ON CONFLICT DO NOTHING`: a row that stands there already must fail the transaction, whose
/// units were told that it did not.
const INBOX_ADD: &str = "INSERT INTO dhara_inbox (handler, event)
    SELECT * FROM unnest($1::TEXT[], $2::BYTEA[])";
const INBOX_KNOWN: &str = "SELECT i.handler, i.event FROM dhara_inbox i
    JOIN unnest($1::TEXT[], $2::BYTEA[]) AS wanted (handler, event) USING (handler, event)";
/// In one order everywhere, so that two instances never wait for one another in a ring.
const POSITIONS: &str = "INSERT INTO dhara_positions AS p (broker, topic, \"partition\", next)
    SELECT * FROM unnest($1::TEXT[], $2::TEXT[], $3::BIGINT[], $4::BIGINT[])
    ON CONFLICT (broker, topic, \"partition\") DO UPDATE SET next = excluded.next
    WHERE excluded.next > p.next";
const OUTBOX_LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
const OUTBOX_ADD: &str = "INSERT INTO dhara_outbox (topic, key, headers, \"timestamp\", body)
    SELECT topic, key, headers, at, body FROM unnest($1::TEXT[], $2::BYTEA[], $3::BYTEA[],
        $4::BIGINT[], $5::BYTEA[]) WITH ORDINALITY AS new (topic, key, headers, at, body, number)
    ORDER BY number";
const OUTBOX_REMOVE: &str = "DELETE FROM dhara_outbox WHERE sequence = ANY($1::BIGINT[])";

/// How many bytes of events one transaction takes. PostgreSQL's messages end at a gigabyte.
const MOST_BYTES: usize = 256 << 20;

/// The rows that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Changes {
    inbox: Vec<Entry>,
    /// The same rows, to be found.
    entered: HashSet<Entry>,
    positions: Vec<PositionRow>,
    added: Vec<OutboxRow>,
    removed: Vec<i64>,
}

/// A row of the inbox: handler and event.
pub(super) type Entry = (String, Vec<u8>);

/// A moment in a transaction to which it may be rolled back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    inbox: usize,
    positions: usize,
    added: usize,
    removed: usize,
}

pub(super) fn entry(row: InboxRow<'_>) -> Entry {
    (row.handler.to_owned(), row.event.to_vec())
}

impl Changes {
    /// Adds a row to the inbox; `false` where the transaction has added it before.
    pub(super) fn enter(&mut self, entry: Entry) -> bool {
        let new = self.entered.insert(entry.clone());
        if new {
            self.inbox.push(entry);
        }
        new
    }

    pub(super) fn has_entered(&self, entry: &Entry) -> bool {
        self.entered.contains(entry)
    }

    /// Whether rows of the inbox were taken for new since `mark`, which may stand there.
    pub(super) fn has_entered_since(&self, mark: Mark) -> bool {
        self.inbox.len() > mark.inbox
    }

    /// Refuses what the client would refuse to send: by then the commit is on its way behind it.
    pub(super) fn check_size(&self) -> Result<(), StoreError> {
        let sizes = self.added.iter().map(|row| {
            let headers = row.headers.iter().map(|(name, value)| name.len() + value.len() + 8);
            row.body.len() + row.key.as_ref().map_or(0, Bytes::len) + headers.sum::<usize>()
        });
        let bytes: usize = sizes.sum();
        if bytes <= MOST_BYTES {
            return Ok(());
        }
        let what = format!(
            "{bytes} bytes of events are too many for one transaction, which takes {MOST_BYTES}: \
             publish them in smaller parts"
        );
        Err(StoreError::Statement { what, source: None })
    }

    pub(super) fn add(&mut self, rows: Vec<OutboxRow>) {
        self.added.extend(rows);
    }

    pub(super) fn remove(&mut self, sequences: &[u64]) {
        self.removed.extend(sequences.iter().map(|sequence| integer_of(*sequence)));
    }

    pub(super) fn set_positions(&mut self, rows: &[PositionRow]) {
        self.positions.extend_from_slice(rows);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
            && self.positions.is_empty()
            && self.added.is_empty()
            && self.removed.is_empty()
    }

    /// Whether something will be committed that a relay waits for.
    pub(super) fn adds_to_outbox(&self) -> bool {
        !self.added.is_empty()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            inbox: self.inbox.len(),
            positions: self.positions.len(),
            added: self.added.len(),
            removed: self.removed.len(),
        }
    }

    /// Forgets what came after `mark`.
    pub(super) fn roll_back(&mut self, mark: Mark) {
        for entry in self.inbox.drain(mark.inbox.min(self.inbox.len())..) {
            self.entered.remove(&entry);
        }
        self.positions.truncate(mark.positions);
        self.added.truncate(mark.added);
        self.removed.truncate(mark.removed);
    }

    pub(super) fn clear(&mut self) {
        self.roll_back(Mark::default());
    }
}

/// The framework's own statements, prepared on the writing connection.
#[derive(Debug)]
pub(super) struct Prepared {
    inbox_add: Statement,
    inbox_known: Statement,
    positions: Statement,
    outbox_lock: Statement,
    outbox_add: Statement,
    outbox_remove: Statement,
    /// The advisory lock under which rows of the outbox get their numbers.
    lock: i64,
}

/// How the writing of [`Changes`] ended, table by table.
pub(super) struct Written {
    pub(super) inbox: Result<u64, Error>,
    pub(super) rest: Result<(), Error>,
}

impl Prepared {
    pub(super) async fn new(link: &Link, outbox_table: u32) -> Result<Self, Error> {
        let client = &link.client;
        Ok(Self {
            inbox_add: client.prepare(INBOX_ADD).await?,
            inbox_known: client.prepare(INBOX_KNOWN).await?,
            positions: client.prepare(POSITIONS).await?,
            outbox_lock: client.prepare(OUTBOX_LOCK).await?,
            outbox_add: client.prepare(OUTBOX_ADD).await?,
            outbox_remove: client.prepare(OUTBOX_REMOVE).await?,
            lock: LOCKS + i64::from(outbox_table),
        })
    }

    /// Writes all that has gathered. Every statement is on its way when the first poll of this
    /// returns, in this order, with the lock of the outbox taken last.
    pub(super) async fn write(&self, link: &Link, changes: &Changes) -> Written {
        let inbox = self.write_inbox(link, changes);
        let positions = self.write_positions(link, changes);
        let removed = self.write_removed(link, changes);
        let added = self.write_added(link, changes);
        let (inbox, positions, removed, added) =
            futures_util::future::join4(inbox, positions, removed, added).await;
        Written { inbox, rest: positions.and(removed).and(added).map(drop) }
    }

    async fn write_inbox(&self, link: &Link, changes: &Changes) -> Result<u64, Error> {
        if changes.inbox.is_empty() {
            return Ok(0);
        }
        let (handlers, events) = columns_of(&changes.inbox);
        link.client.execute(&self.inbox_add, &[&handlers, &events]).await
    }

    async fn write_positions(&self, link: &Link, changes: &Changes) -> Result<u64, Error> {
        if changes.positions.is_empty() {
            return Ok(0);
        }
        let mut highest = BTreeMap::new();
        for row in &changes.positions {
            let topic = row.partition.topic.as_str();
            let key = (row.broker.as_ref(), topic, i64::from(row.partition.partition));
            let next = integer_of(row.next);
            let known = highest.entry(key).or_insert(next);
            *known = next.max(*known);
        }
        let brokers: Vec<&str> = highest.keys().map(|(broker, ..)| *broker).collect();
        let topics: Vec<&str> = highest.keys().map(|(_, topic, _)| *topic).collect();
        let partitions: Vec<i64> = highest.keys().map(|(.., partition)| *partition).collect();
        let nexts: Vec<i64> = highest.values().copied().collect();
        link.client.execute(&self.positions, &[&brokers, &topics, &partitions, &nexts]).await
    }

    async fn write_removed(&self, link: &Link, changes: &Changes) -> Result<u64, Error> {
        if changes.removed.is_empty() {
            return Ok(0);
        }
        link.client.execute(&self.outbox_remove, &[&changes.removed]).await
    }

    async fn write_added(&self, link: &Link, changes: &Changes) -> Result<u64, Error> {
        let rows = &changes.added;
        if rows.is_empty() {
            return Ok(0);
        }
        let topics: Vec<&str> = rows.iter().map(|row| row.topic.as_str()).collect();
        let keys: Vec<Option<&[u8]>> = rows.iter().map(|row| row.key.as_deref()).collect();
        let headers: Vec<Vec<u8>> = rows.iter().map(|row| headers::encode(&row.headers)).collect();
        let at: Vec<i64> = rows.iter().map(|row| integer_of(row.timestamp.as_micros())).collect();
        let bodies: Vec<&[u8]> = rows.iter().map(|row| row.body.as_ref()).collect();
        let lock: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&self.lock];
        let locked = link.client.query(&self.outbox_lock, &lock);
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&topics, &keys, &headers, &at, &bodies];
        let added = link.client.execute(&self.outbox_add, &params);
        let (locked, added) = futures_util::future::join(locked, added).await;
        locked.and(added)
    }

    /// Which of the rows that were taken for new stand in the inbox.
    pub(super) async fn known(&self, link: &Link, changes: &Changes) -> Result<Vec<Entry>, Error> {
        let (handlers, events) = columns_of(&changes.inbox);
        let rows = link.client.query(&self.inbox_known, &[&handlers, &events]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}

fn columns_of(inbox: &[Entry]) -> (Vec<&str>, Vec<&[u8]>) {
    inbox.iter().map(|(handler, event)| (handler.as_str(), event.as_slice())).unzip()
}
