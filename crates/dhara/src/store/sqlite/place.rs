//! The data of one service: a file with one writer and readers beside it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::watch;

use super::super::headers::decode as headers_of;
use super::super::queue::Queue;
use super::super::turn::refuse;
use super::super::{
    DeadLetter, OutboxRow, Param, PositionRow, Row, ServiceStore, StoreError, Unit,
};
use super::checkpoint::Checkpointer;
use super::outbox::Tail;
use super::readers::Readers;
use super::session::Session;
use super::statement::integer;
use super::writer::Writer;
use super::{error, schema};
use crate::answer::Answer;
use crate::broker::{Topic, TopicPartition};
use crate::store::MOST_OUTBOX_BYTES;
use crate::world::disk::Lock;
use crate::world::{Timestamp, World};

/// SQLite knows the length of a body without reading it.
const OUTBOX_AFTER: &str = "SELECT o.sequence, topic, key, headers, timestamp, body
    FROM dhara_outbox o JOIN (
        SELECT sequence, sum(length(body) + coalesce(length(key), 0)) OVER (
            ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS bytes, row_number() OVER (ORDER BY sequence) AS number
        FROM (SELECT sequence, body, key FROM dhara_outbox WHERE sequence > $1
            ORDER BY sequence LIMIT $2)
    ) s ON s.sequence = o.sequence
    WHERE bytes <= $3 OR number = 1 ORDER BY o.sequence";
const POSITIONS: &str = "SELECT broker, topic, \"partition\", next FROM dhara_positions";
const DEAD_LETTERS_AFTER: &str = "SELECT number, topic, \"partition\", \"offset\", key, headers,
        event_id, handler, error, attempts, at, body
    FROM dhara_dead_letters WHERE number > $1 ORDER BY number LIMIT $2";

/// The place of one service. Dropping it closes it, after what was submitted is committed.
#[derive(Debug)]
pub(super) struct SqlitePlace {
    inner: Arc<Inner>,
    ended: watch::Receiver<()>,
}

/// What the writer and those who ask share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) name: Arc<str>,
    pub(super) queue: Queue,
    pub(super) tail: Tail,
    pub(super) readers: Readers,
}

impl SqlitePlace {
    /// Opens the file, makes what is missing in it, and starts its writer.
    pub(super) async fn open(
        world: &World,
        path: &Path,
        name: &str,
        lock: Box<dyn Lock>,
        durable: bool,
    ) -> Result<Self, StoreError> {
        let (file, name): (_, Arc<str>) = (path.to_owned(), name.into());
        let service = Arc::clone(&name);
        let opening = world.spawn_blocking(move || open_session(&file, service, durable));
        let (session, next) = opening.await.unwrap_or_else(|error| {
            let what = "the store was not opened".to_owned();
            Err(StoreError::Unavailable { what, source: Some(error.into()) })
        })?;
        let inner = Arc::new(Inner {
            name,
            queue: Queue::default(),
            tail: Tail::new(next),
            readers: Readers::new(path.to_owned(), world.clone()),
        });
        let (ending, ended) = watch::channel(());
        let writer = Writer {
            world: world.clone(),
            inner: Arc::clone(&inner),
            session: Arc::new(Mutex::new(Some(session))),
            checkpointer: Checkpointer::new(path.to_owned()),
            wary: 0,
            instant_commit: !durable,
            _lock: lock,
            _ended: ending,
        };
        drop(world.spawn(writer.run()));
        Ok(Self { inner, ended })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.queue.is_closed()
    }

    /// Answers when the writer has gone and its lock is given back.
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }
}

/// The place takes no more units when it goes; its writer ends when it has none left.
impl Drop for SqlitePlace {
    fn drop(&mut self) {
        self.inner.queue.close();
    }
}

impl ServiceStore for SqlitePlace {
    fn submit(&self, unit: Box<dyn Unit>) {
        if let Err(unit) = self.inner.queue.push(unit) {
            refuse(unit);
        }
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<Vec<Row>, StoreError>> {
        self.inner.readers.query(sql, params)
    }

    fn outbox_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Result<Vec<OutboxRow>, StoreError>> {
        if let Some(rows) = self.inner.tail.after(after, limit) {
            return Answer::now(Ok(rows));
        }
        Answer::later(async move {
            let params = [
                Param::Int(integer(after)),
                Param::Int(count(limit)),
                Param::Int(count(MOST_OUTBOX_BYTES)),
            ];
            let rows = self.inner.readers.query(OUTBOX_AFTER, &params).await?;
            rows.iter().map(outbox_row).collect()
        })
    }

    fn outbox_changed(&self) -> Answer<'_, ()> {
        Answer::later(self.inner.tail.changed())
    }

    fn positions(&self) -> Answer<'_, Result<Vec<PositionRow>, StoreError>> {
        Answer::later(async move {
            let rows = self.inner.readers.query(POSITIONS, &[]).await?;
            rows.iter()
                .map(|row| {
                    let broker: String = row.get("broker")?;
                    let (partition, next) = (partition(row)?, row.get("next")?);
                    Ok(PositionRow { broker: broker.into(), partition, next })
                })
                .collect()
        })
    }

    fn dead_letters_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Result<Vec<(u64, DeadLetter)>, StoreError>> {
        Answer::later(async move {
            let params = [Param::Int(integer(after)), Param::Int(count(limit))];
            let rows = self.inner.readers.query(DEAD_LETTERS_AFTER, &params).await?;
            rows.iter().map(|row| Ok((row.get("number")?, dead_letter(row)?))).collect()
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        self.inner.queue.close();
        let mut ended = self.ended.clone();
        Answer::later(async move {
            // Nothing is ever sent: the error says that the writer has gone.
            drop(ended.changed().await);
        })
    }
}

fn open_session(path: &Path, name: Arc<str>, durable: bool) -> Result<(Session, u64), StoreError> {
    let place = format!("the store of {name:?} in {}", path.display());
    let mut connection = connect(path, durable).map_err(|cause| error::of(&place, cause))?;
    schema::migrate(&mut connection, &place)?;
    let next = schema::next_sequence(&connection).map_err(|cause| error::of(&place, cause))?;
    let session = Session::new(connection, name, next).map_err(|cause| error::of(&place, cause))?;
    Ok((session, next))
}

fn connect(path: &Path, durable: bool) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_prepared_statement_cache_capacity(128);
    // Waiting for another program would block a thread of the runtime; the writer does it.
    connection.busy_timeout(std::time::Duration::ZERO)?;
    let synchronous = if durable { "FULL" } else { "OFF" };
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON;
         PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 33554432;"
    ))?;
    Ok(connection)
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn partition(row: &Row) -> Result<TopicPartition, StoreError> {
    let topic = Topic::new(row.get::<String>("topic")?);
    Ok(TopicPartition { topic, partition: row.get("partition")? })
}

fn key(row: &Row) -> Result<Option<bytes::Bytes>, StoreError> {
    Ok(row.get::<Option<Vec<u8>>>("key")?.map(bytes::Bytes::from))
}

fn headers(row: &Row) -> Result<crate::broker::Headers, StoreError> {
    headers_of(&row.get::<Vec<u8>>("headers")?).ok_or_else(|| {
        let what = "a row of the framework's tables has headers that were not made by it; \
                    look at what else writes to the file"
            .to_owned();
        StoreError::Failed { what, source: None }
    })
}

fn outbox_row(row: &Row) -> Result<OutboxRow, StoreError> {
    Ok(OutboxRow {
        sequence: row.get("sequence")?,
        topic: Topic::new(row.get::<String>("topic")?),
        key: key(row)?,
        body: row.get::<Vec<u8>>("body")?.into(),
        headers: headers(row)?,
        timestamp: Timestamp::from_micros(row.get("timestamp")?),
    })
}

fn dead_letter(row: &Row) -> Result<DeadLetter, StoreError> {
    Ok(DeadLetter {
        partition: partition(row)?,
        offset: row.get("offset")?,
        key: key(row)?,
        body: row.get::<Vec<u8>>("body")?.into(),
        headers: headers(row)?,
        event_id: row.get("event_id")?,
        handler: row.get("handler")?,
        error: row.get("error")?,
        attempts: row.get("attempts")?,
        at: Timestamp::from_micros(row.get("at")?),
    })
}
