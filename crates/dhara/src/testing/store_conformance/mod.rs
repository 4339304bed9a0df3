//! What every store must do, case by case.
//!
//! Each case takes a store on which no place is open yet, and panics where the store breaks the
//! contract. [`crate::store_conformance_cases`] names them all, for a macro that makes tests of
//! them. The SQL in here is understood by SQLite and PostgreSQL alike.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite of tests fails by panicking"
)]

mod statements;
mod tables;
mod units;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::answer::BoxFuture;
use crate::broker::{Topic, TopicPartition};
use crate::store::{
    DeadLetter, InboxRow, MOST_OUTBOX_BYTES, OutboxRow, Param, PositionRow, Row, ServiceStore,
    Store, StoreError, Tx, Unit,
};
use crate::world::Timestamp;

/// Calls the macro `$callback` with the name of every case.
#[macro_export]
macro_rules! store_conformance_cases {
    ($callback:ident) => {
        $callback! {
            a_unit_is_kept_whole_or_not_at_all
            a_failing_unit_takes_only_its_own_writes_along
            a_failing_unit_leaves_no_gap_in_the_outbox
            a_panicking_unit_takes_only_its_own_writes_along
            savepoints_nest
            savepoints_left_open_are_kept_with_the_unit
            units_run_and_finish_in_the_order_of_their_submission
            a_failing_commit_hurts_the_guilty_unit_alone
            the_inbox_remembers_each_handler
            the_outbox_keeps_the_order_of_commits_across_submitters
            the_outbox_outlives_a_restart
            published_rows_leave_the_outbox
            a_sequence_is_never_given_twice
            large_rows_of_the_outbox_come_a_few_at_a_time
            the_outbox_tells_of_a_change
            positions_never_go_back
            dead_letters_come_back_untouched
            a_tx_is_of_no_use_after_its_unit
            a_query_sees_only_what_is_committed
            values_come_back_as_they_were
            parameters_are_found_by_their_number
            a_wrong_statement_is_named
            a_broken_constraint_is_named
            a_query_does_not_write
            nobody_commits_but_the_framework
            several_statements_stand_in_one_text
            closing_commits_what_was_submitted
            a_place_opened_twice_is_one_place
            services_share_nothing
        }
    };
}

pub use statements::*;
pub use tables::*;
pub use units::*;

type Outcome = Result<(), StoreError>;
type Place = Arc<dyn ServiceStore>;

/// A unit made of a closure; what became of it is sent on.
struct Work<F> {
    work: F,
    done: oneshot::Sender<Outcome>,
}

impl<F, Fut> Unit for Work<F>
where
    F: FnMut(Tx) -> Fut + Send,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, Outcome> {
        Box::pin((self.work)(tx.clone()))
    }

    fn finished(self: Box<Self>, outcome: Outcome) {
        // A case that has failed does not listen any more.
        drop(self.done.send(outcome));
    }
}

/// Submits `work` at once; the answer waits for its outcome.
pub fn submit<F, Fut>(place: &Place, work: F) -> impl Future<Output = Outcome> + use<F, Fut>
where
    F: FnMut(Tx) -> Fut + Send + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    let (done, outcome) = oneshot::channel();
    place.submit(Box::new(Work { work, done }));
    async { outcome.await.expect("every unit is told how it ended") }
}

/// Submits one statement without parameters.
pub fn submit_sql(place: &Place, sql: &'static str) -> impl Future<Output = Outcome> + use<> {
    submit(place, move |tx| async move { tx.execute(sql, &[]).await.map(drop) })
}

/// Holds the writer until [`Gate::open`], so that what is submitted meanwhile is one group.
pub struct Gate {
    open: oneshot::Sender<()>,
    outcome: BoxFuture<'static, Outcome>,
}

/// Closes the gate of `place`; answers when the writer stands before it.
pub async fn close_gate(place: &Place) -> Gate {
    let (open, opened) = oneshot::channel::<()>();
    let (reach, reached) = oneshot::channel::<()>();
    let once = Arc::new(Mutex::new(Some((reach, opened))));
    let outcome = submit(place, move |_| {
        let once = once.lock().ok().and_then(|mut once| once.take());
        async move {
            if let Some((reach, opened)) = once {
                let _ = reach.send(());
                drop(opened.await);
            }
            Ok(())
        }
    });
    reached.await.expect("the writer runs the unit");
    Gate { open, outcome: Box::pin(outcome) }
}

impl Gate {
    /// Lets the writer go on.
    pub async fn open(self) {
        let _ = self.open.send(());
        self.outcome.await.expect("a unit that does nothing is committed");
    }
}

async fn open(store: &Arc<dyn Store>) -> Place {
    store.open("orders").await.expect("the place opens")
}

/// Opens a place with a table `notes (id, body)`.
async fn open_with_notes(store: &Arc<dyn Store>) -> Place {
    let place = open(store).await;
    submit_sql(&place, "CREATE TABLE notes (id BIGINT PRIMARY KEY, body TEXT NOT NULL)")
        .await
        .expect("the table is made");
    place
}

async fn note(tx: &Tx, id: i64) -> Outcome {
    tx.execute("INSERT INTO notes (id, body) VALUES ($1, $2)", &[id.into(), "a note".into()])
        .await
        .map(drop)
}

async fn notes(place: &Place) -> Vec<i64> {
    let rows = place.query("SELECT id FROM notes ORDER BY id", &[]).await.expect("notes are read");
    rows.iter().map(|row| row.get("id").expect("an id")).collect()
}

/// An event for the outbox, without a sequence yet.
pub fn event(body: impl Into<Bytes>) -> OutboxRow {
    OutboxRow {
        sequence: 0,
        topic: Topic::from("orders"),
        key: Some(Bytes::from_static(b"order_1")),
        body: body.into(),
        headers: vec![(Arc::from("trace"), Bytes::from_static(b"\0\xff"))],
        timestamp: Timestamp::from_micros(1_700_000_000_000_001),
    }
}

async fn add_event(tx: &Tx, body: impl Into<Bytes>) -> Outcome {
    tx.backend().outbox_add(vec![event(body)]).await
}

/// The whole outbox, read as a relay reads it.
pub async fn outbox(place: &Place) -> Vec<OutboxRow> {
    let mut rows: Vec<OutboxRow> = Vec::new();
    loop {
        let after = rows.last().map_or(0, |row| row.sequence);
        let more = place.outbox_after(after, 100).await.expect("the outbox is read");
        if more.is_empty() {
            return rows;
        }
        rows.extend(more);
    }
}

fn gave_up() -> StoreError {
    StoreError::Aborted { what: "the handler gave up".to_owned() }
}

fn position(partition: u32, next: u64) -> PositionRow {
    let partition = TopicPartition { topic: Topic::from("orders"), partition };
    PositionRow { broker: "log-1".into(), partition, next }
}

fn letter(offset: u64) -> DeadLetter {
    DeadLetter {
        partition: TopicPartition { topic: Topic::from("orders"), partition: 3 },
        offset,
        key: Some(Bytes::from_static(b"\xff\0key")),
        body: Bytes::from_static(b"{\"half\": \xc3\x28 \0"),
        headers: vec![
            (Arc::from("twice"), Bytes::from_static(b"")),
            (Arc::from("twice"), Bytes::from_static(b"\0\x01")),
        ],
        event_id: Some("evt_\u{1F4A5}".to_owned()),
        handler: "charge".to_owned(),
        error: "line 1\nline 2: \u{202E}odd".to_owned(),
        attempts: u32::MAX,
        at: Timestamp::from_micros(1),
    }
}

fn get<T: crate::store::FromValue>(row: &Row, column: &str) -> T {
    row.get(column).expect("the column is of that type")
}
