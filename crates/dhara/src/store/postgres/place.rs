//! The data of one service: a schema, with one writer in this process and readers beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, watch};
use tokio_postgres::Row as ServerRow;

use super::super::headers::decode as headers_of;
use super::super::queue::Queue;
use super::super::turn::refuse;
use super::super::{
    DeadLetter, OutboxRow, Param, PositionRow, Row, ServiceStore, StoreError, Unit,
};
use super::changes::Prepared;
use super::link::{Dialler, Link, Listener, Purpose};
use super::readers::Readers;
use super::session::Session;
use super::statement::integer_of;
use super::writer::Writer;
use super::{error, schema};
use crate::answer::Answer;
use crate::broker::{Headers, Topic, TopicPartition};
use crate::store::MOST_OUTBOX_BYTES;
use crate::world::{Timestamp, timeout};

/// PostgreSQL knows the length of a body without reading it.
const OUTBOX_AFTER: &str = "SELECT sequence, topic, key, headers, \"timestamp\", body FROM (
        SELECT *, sum(octet_length(body) + coalesce(octet_length(key), 0)) OVER (
                ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS bytes, row_number() OVER (ORDER BY sequence) AS number
        FROM (SELECT * FROM dhara_outbox WHERE sequence > $1 ORDER BY sequence LIMIT $2) AS next
    ) AS counted
    WHERE bytes <= $3 OR number = 1 ORDER BY sequence";
const POSITIONS: &str = "SELECT broker, topic, \"partition\", next FROM dhara_positions";
const DEAD_LETTERS_AFTER: &str = "SELECT number, topic, \"partition\", \"offset\", key, headers,
        event_id, handler, error, attempts, at, body
    FROM dhara_dead_letters WHERE number > $1 ORDER BY number LIMIT $2";
/// A notification may be lost with the process that was to send it, or with a connection.
const SWEEP: Duration = Duration::from_secs(5);

/// The place of one service. Dropping it closes it, after what was submitted is committed.
#[derive(Debug)]
pub(super) struct PostgresPlace {
    inner: Arc<Inner>,
    ended: watch::Receiver<()>,
}

/// What the writer and those who ask share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) name: Arc<str>,
    pub(super) queue: Queue,
    pub(super) readers: Readers,
    /// The outbox may hold more than it did.
    pub(super) changed: Notify,
    /// The server's process that writes for us: what it notifies of is known here.
    process: AtomicI32,
}

/// How the writing connection is opened, again where it was lost.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) dialler: Dialler,
    pub(super) outbox_table: u32,
}

impl Opener {
    /// The channel on which instances tell each other of new rows in the outbox.
    pub(super) fn channel(&self) -> String {
        format!("dhara_outbox_{}", self.outbox_table)
    }

    pub(super) async fn open(&self, inner: &Arc<Inner>) -> Result<(Link, Prepared), StoreError> {
        let link = self.dialler.connect(Purpose::Write, Some(listener(inner))).await?;
        self.prepare(link, inner).await
    }

    async fn prepare(
        &self,
        link: Link,
        inner: &Arc<Inner>,
    ) -> Result<(Link, Prepared), StoreError> {
        let failed = |cause| error::of(&self.dialler.place(), cause);
        inner.process.store(link.process, Ordering::Relaxed);
        let listen = format!("LISTEN {}", self.channel());
        link.client.batch_execute(&listen).await.map_err(failed)?;
        let prepared = Prepared::new(&link, self.outbox_table).await.map_err(failed)?;
        Ok((link, prepared))
    }
}

fn listener(inner: &Arc<Inner>) -> Listener {
    let inner = Arc::downgrade(inner);
    Arc::new(move |process| {
        let Some(inner) = inner.upgrade() else { return };
        if inner.process.load(Ordering::Relaxed) != process {
            inner.changed.notify_one();
        }
    })
}

impl PostgresPlace {
    /// Connects, makes what is missing in the schema, and starts the writer.
    pub(super) async fn open(dialler: Dialler) -> Result<Self, StoreError> {
        let world = dialler.world.clone();
        let inner = Arc::new(Inner {
            name: Arc::clone(&dialler.service),
            queue: Queue::default(),
            readers: Readers::new(dialler.clone()),
            changed: Notify::new(),
            process: AtomicI32::new(0),
        });
        // What an earlier process left is there to be shown.
        inner.changed.notify_one();
        let link = dialler.connect(Purpose::Write, Some(listener(&inner))).await?;
        let outbox_table = schema::migrate(&link, &dialler.service, &dialler.place()).await?;
        let opener = Opener { dialler, outbox_table };
        let (link, prepared) = opener.prepare(link, &inner).await?;
        let session = Session::new(link, prepared, Arc::new(AtomicBool::new(false)));
        let (ending, ended) = watch::channel(());
        let writer = Writer {
            world: world.clone(),
            inner: Arc::clone(&inner),
            opener,
            session: Arc::new(Mutex::new(session)),
            lost: false,
            wary: 0,
            _ended: ending,
        };
        drop(world.spawn(writer.run()));
        Ok(Self { inner, ended })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.inner.queue.is_closed()
    }

    /// Answers when the writer has gone.
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }
}

/// The place takes no more units when it goes; its writer ends when it has none left.
impl Drop for PostgresPlace {
    fn drop(&mut self) {
        self.inner.queue.close();
    }
}

impl ServiceStore for PostgresPlace {
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
        Answer::later(self.inner.readers.query(sql, params))
    }

    fn outbox_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Result<Vec<OutboxRow>, StoreError>> {
        Answer::later(async move {
            let (after, limit, bytes) = (integer_of(after), count(limit), count(MOST_OUTBOX_BYTES));
            let params: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&after, &limit, &bytes];
            let rows = self.inner.readers.framework(OUTBOX_AFTER, &params).await?;
            rows.iter().map(|row| self.outbox_row(row)).collect()
        })
    }

    fn outbox_changed(&self) -> Answer<'_, ()> {
        Answer::later(async move {
            // When nothing was heard for long it is looked all the same.
            let _ = timeout(SWEEP, self.inner.changed.notified()).await;
        })
    }

    fn positions(&self) -> Answer<'_, Result<Vec<PositionRow>, StoreError>> {
        Answer::later(async move {
            let rows = self.inner.readers.framework(POSITIONS, &[]).await?;
            rows.iter().map(|row| position_row(row).ok_or_else(|| self.foreign())).collect()
        })
    }

    fn dead_letters_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Result<Vec<(u64, DeadLetter)>, StoreError>> {
        Answer::later(async move {
            let (after, limit) = (integer_of(after), count(limit));
            let rows = self.inner.readers.framework(DEAD_LETTERS_AFTER, &[&after, &limit]).await?;
            rows.iter().map(|row| dead_letter(row).ok_or_else(|| self.foreign())).collect()
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

impl PostgresPlace {
    fn outbox_row(&self, row: &ServerRow) -> Result<OutboxRow, StoreError> {
        outbox_row(row).ok_or_else(|| self.foreign())
    }

    fn foreign(&self) -> StoreError {
        let what = format!(
            "a row of the framework's tables of {:?} was not made by it: its headers, or a number \
             below zero; look at what else writes to the schema",
            self.inner.name
        );
        StoreError::Failed { what, source: None }
    }
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn number(row: &ServerRow, column: &str) -> Option<u64> {
    row.try_get::<_, i64>(column).ok()?.try_into().ok()
}

fn small_number(row: &ServerRow, column: &str) -> Option<u32> {
    number(row, column)?.try_into().ok()
}

fn text(row: &ServerRow, column: &str) -> Option<String> {
    row.try_get(column).ok()
}

fn bytes(row: &ServerRow, column: &str) -> Option<bytes::Bytes> {
    row.try_get::<_, &[u8]>(column).ok().map(bytes::Bytes::copy_from_slice)
}

fn key(row: &ServerRow) -> Option<Option<bytes::Bytes>> {
    let key: Option<&[u8]> = row.try_get("key").ok()?;
    Some(key.map(bytes::Bytes::copy_from_slice))
}

fn headers(row: &ServerRow) -> Option<Headers> {
    headers_of(row.try_get("headers").ok()?)
}

fn partition(row: &ServerRow) -> Option<TopicPartition> {
    let topic = Topic::new(text(row, "topic")?);
    Some(TopicPartition { topic, partition: small_number(row, "partition")? })
}

fn outbox_row(row: &ServerRow) -> Option<OutboxRow> {
    Some(OutboxRow {
        sequence: number(row, "sequence")?,
        topic: Topic::new(text(row, "topic")?),
        key: key(row)?,
        body: bytes(row, "body")?,
        headers: headers(row)?,
        timestamp: Timestamp::from_micros(number(row, "timestamp")?),
    })
}

fn position_row(row: &ServerRow) -> Option<PositionRow> {
    let broker = text(row, "broker")?.into();
    Some(PositionRow { broker, partition: partition(row)?, next: number(row, "next")? })
}

fn dead_letter(row: &ServerRow) -> Option<(u64, DeadLetter)> {
    let letter = DeadLetter {
        partition: partition(row)?,
        offset: number(row, "offset")?,
        key: key(row)?,
        body: bytes(row, "body")?,
        headers: headers(row)?,
        event_id: row.try_get("event_id").ok()?,
        handler: text(row, "handler")?,
        error: text(row, "error")?,
        attempts: small_number(row, "attempts")?,
        at: Timestamp::from_micros(number(row, "at")?),
    };
    Some((number(row, "number")?, letter))
}
