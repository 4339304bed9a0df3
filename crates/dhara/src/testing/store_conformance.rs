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

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::answer::BoxFuture;
use crate::broker::{Topic, TopicPartition};
use crate::store::{
    DeadLetter, InboxRow, OutboxRow, Param, PositionRow, Row, ServiceStore, Store, StoreError, Tx,
    Unit,
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

/// A unit that fails leaves nothing behind in any table; one that succeeds leaves all.
pub async fn a_unit_is_kept_whole_or_not_at_all(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    for fails in [true, false] {
        let outcome = submit(&place, move |tx| async move {
            note(&tx, 1).await?;
            add_event(&tx, "one").await?;
            let row = InboxRow { handler: "reserve", event: b"id" };
            assert!(tx.backend().inbox_add(row).await?, "nothing stands in the inbox yet");
            tx.backend().set_positions(&[position(0, 7)]).await?;
            tx.backend().dead_letter(&letter(1)).await?;
            if fails { Err(gave_up()) } else { Ok(()) }
        });
        assert_eq!(outcome.await.is_err(), fails);
        let count = usize::from(!fails);
        assert_eq!(notes(&place).await.len(), count);
        assert_eq!(outbox(&place).await.len(), count);
        assert_eq!(place.positions().await.expect("positions").len(), count);
        assert_eq!(place.dead_letters_after(0, 9).await.expect("letters").len(), count);
    }
}

/// Of many units in one group one fails after it wrote: the others are committed, each once.
pub async fn a_failing_unit_takes_only_its_own_writes_along(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    let gate = close_gate(&place).await;
    let units: Vec<_> = (0..40)
        .map(|id| {
            submit(&place, move |tx| async move {
                note(&tx, id).await?;
                if id % 13 == 5 { Err(gave_up()) } else { Ok(()) }
            })
        })
        .collect();
    gate.open().await;
    for (id, unit) in units.into_iter().enumerate() {
        assert_eq!(unit.await.is_err(), id % 13 == 5, "unit {id}");
    }
    let expected: Vec<i64> = (0..40).filter(|id| id % 13 != 5).collect();
    assert_eq!(notes(&place).await, expected);
}

/// What a failing unit added to the outbox is gone, also from what the store keeps in memory.
pub async fn a_failing_unit_leaves_no_gap_in_the_outbox(store: Arc<dyn Store>) {
    let place = open(&store).await;
    let gate = close_gate(&place).await;
    let units: Vec<_> = (0..9)
        .map(|number| {
            submit(&place, move |tx| async move {
                add_event(&tx, number.to_string()).await?;
                if number % 3 == 1 { Err(gave_up()) } else { Ok(()) }
            })
        })
        .collect();
    gate.open().await;
    for unit in units {
        // Which of them fail is another case's matter.
        drop(unit.await);
    }
    let rows = outbox(&place).await;
    let bodies: Vec<&[u8]> = rows.iter().map(|row| row.body.as_ref()).collect();
    assert_eq!(bodies, [b"0", b"2", b"3", b"5", b"6", b"8"]);
    assert!(rows.is_sorted_by(|a, b| a.sequence < b.sequence), "sequences rise: {rows:?}");
}

/// A panic in one unit is that unit's error, and no other's.
pub async fn a_panicking_unit_takes_only_its_own_writes_along(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    let gate = close_gate(&place).await;
    let before = submit(&place, |tx| async move { note(&tx, 1).await });
    let guilty = submit(&place, |tx| async move {
        note(&tx, 2).await?;
        panic!("the handler has a bug")
    });
    let after = submit(&place, |tx| async move { note(&tx, 3).await });
    gate.open().await;
    before.await.expect("the unit before is committed");
    after.await.expect("the unit after is committed");
    let error = guilty.await.expect_err("a panic is an error").to_string();
    assert!(error.contains("the handler has a bug"), "{error}");
    assert_eq!(notes(&place).await, [1, 3]);
}

/// A savepoint inside a unit undoes what came after it and nothing before.
pub async fn savepoints_nest(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    submit(&place, |tx| async move {
        note(&tx, 1).await?;
        tx.backend().savepoint().await?;
        note(&tx, 2).await?;
        add_event(&tx, "undone").await?;
        tx.backend().savepoint().await?;
        note(&tx, 3).await?;
        tx.backend().release().await?;
        tx.backend().rollback().await?;
        tx.backend().savepoint().await?;
        note(&tx, 4).await?;
        add_event(&tx, "kept").await?;
        tx.backend().release().await?;
        assert!(tx.backend().release().await.is_err(), "no savepoint is open");
        Ok(())
    })
    .await
    .expect("the unit is committed");
    assert_eq!(notes(&place).await, [1, 4]);
    let rows = outbox(&place).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].body, "kept");
}

/// A unit that ends well keeps what stands behind a savepoint that it never ended.
pub async fn savepoints_left_open_are_kept_with_the_unit(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    let gate = close_gate(&place).await;
    let first = submit(&place, |tx| async move {
        tx.backend().savepoint().await?;
        note(&tx, 1).await
    });
    let second = submit(&place, |tx| async move {
        tx.backend().savepoint().await?;
        note(&tx, 2).await?;
        tx.backend().rollback().await?;
        assert!(tx.backend().rollback().await.is_err(), "another unit's savepoint is out of reach");
        Ok(())
    });
    gate.open().await;
    first.await.expect("the first unit is committed");
    second.await.expect("the second unit is committed");
    assert_eq!(notes(&place).await, [1]);
}

/// Units run one after another and are told of their end in the same order.
pub async fn units_run_and_finish_in_the_order_of_their_submission(store: Arc<dyn Store>) {
    struct Ordered(usize, Arc<Mutex<Vec<usize>>>, oneshot::Sender<()>);
    impl Unit for Ordered {
        fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, Outcome> {
            Box::pin(async move {
                let seen = tx.query_one("SELECT count(*) AS count FROM notes", &[]).await?;
                let seen: i64 = seen.map_or(Ok(-1), |row| row.get("count"))?;
                assert_eq!(usize::try_from(seen), Ok(self.0), "the units before have run");
                note(tx, seen).await
            })
        }
        fn finished(self: Box<Self>, outcome: Outcome) {
            assert!(outcome.is_ok(), "{outcome:?}");
            self.1.lock().expect("no panic before").push(self.0);
            let _ = self.2.send(());
        }
    }
    let place = open_with_notes(&store).await;
    let finished = Arc::new(Mutex::new(Vec::new()));
    let mut waits = Vec::new();
    for number in 0..300 {
        let (done, wait) = oneshot::channel();
        place.submit(Box::new(Ordered(number, Arc::clone(&finished), done)));
        waits.push(wait);
    }
    for wait in waits {
        wait.await.expect("every unit is finished");
    }
    let expected: Vec<usize> = (0..300).collect();
    assert_eq!(*finished.lock().expect("no panic"), expected);
}

/// A constraint that is checked only at the commit: the unit that broke it fails, all others of
/// its group are run again and committed.
pub async fn a_failing_commit_hurts_the_guilty_unit_alone(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    submit_sql(
        &place,
        "CREATE TABLE tags (id BIGINT PRIMARY KEY, note BIGINT NOT NULL
            REFERENCES notes (id) DEFERRABLE INITIALLY DEFERRED)",
    )
    .await
    .expect("the table is made");
    let runs = Arc::new(AtomicUsize::new(0));
    let gate = close_gate(&place).await;
    let units: Vec<_> = (0..10_i64)
        .map(|id| {
            let runs = Arc::clone(&runs);
            submit(&place, move |tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                async move {
                    if id == 6 {
                        let params = [id.into(), 999_i64.into()];
                        tx.execute("INSERT INTO tags (id, note) VALUES ($1, $2)", &params).await?;
                    }
                    add_event(&tx, id.to_string()).await?;
                    note(&tx, id).await
                }
            })
        })
        .collect();
    gate.open().await;
    for (id, unit) in units.into_iter().enumerate() {
        match unit.await {
            Ok(()) => assert_ne!(id, 6, "a broken constraint was committed"),
            Err(StoreError::Constraint { .. }) => assert_eq!(id, 6, "the guilty unit alone fails"),
            Err(error) => panic!("unit {id}: {error:?}"),
        }
    }
    assert!(runs.load(Ordering::Relaxed) > 10, "units ran again");
    assert_eq!(notes(&place).await, [0, 1, 2, 3, 4, 5, 7, 8, 9]);
    let bodies: Vec<Bytes> = outbox(&place).await.into_iter().map(|row| row.body).collect();
    assert_eq!(bodies, ["0", "1", "2", "3", "4", "5", "7", "8", "9"], "each event once, in order");
}

/// An inbox row is of one handler and one event, and stays across a restart.
pub async fn the_inbox_remembers_each_handler(store: Arc<dyn Store>) {
    let place = open(&store).await;
    let row = InboxRow { handler: "reserve", event: b"\0\x01\xff" };
    submit(&place, move |tx| async move {
        let inbox = tx.backend();
        assert!(!inbox.inbox_has(row).await?);
        assert!(inbox.inbox_add(row).await?);
        assert!(!inbox.inbox_add(row).await?, "it stands there already");
        assert!(inbox.inbox_has(row).await?);
        assert!(!inbox.inbox_has(InboxRow { handler: "release", ..row }).await?);
        assert!(!inbox.inbox_has(InboxRow { event: b"\0\x01", ..row }).await?);
        Ok(())
    })
    .await
    .expect("the unit is committed");
    place.close().await;
    let place = open(&store).await;
    submit(&place, move |tx| async move {
        assert!(!tx.backend().inbox_add(row).await?, "the inbox forgot");
        assert!(tx.backend().inbox_add(InboxRow { handler: "release", ..row }).await?);
        Ok(())
    })
    .await
    .expect("the unit is committed");
}

/// Many submit at a time; the rows of each come in its order, and sequences rise without a repeat.
pub async fn the_outbox_keeps_the_order_of_commits_across_submitters(store: Arc<dyn Store>) {
    let place = open(&store).await;
    let submitters: Vec<_> = (0..16)
        .map(|submitter| {
            let place = Arc::clone(&place);
            tokio::spawn(async move {
                for number in 0..25 {
                    submit(&place, move |tx| async move {
                        let pair = [0, 1].map(|half| event(format!("{submitter}:{number}.{half}")));
                        tx.backend().outbox_add(pair.into()).await
                    })
                    .await
                    .expect("the unit is committed");
                }
            })
        })
        .collect();
    for submitter in submitters {
        submitter.await.expect("the submitter ends well");
    }
    let rows = outbox(&place).await;
    assert_eq!(rows.len(), 16 * 25 * 2);
    assert!(rows.is_sorted_by(|a, b| a.sequence < b.sequence), "sequences rise");
    for submitter in 0..16 {
        let prefix = format!("{submitter}:");
        let own: Vec<&[u8]> = rows.iter().map(|row| row.body.as_ref()).collect();
        let own: Vec<_> =
            own.into_iter().filter(|body| body.starts_with(prefix.as_bytes())).collect();
        let expected: Vec<String> = (0..25)
            .flat_map(|number| [0, 1].map(|half| format!("{submitter}:{number}.{half}")))
            .collect();
        assert_eq!(own, expected.iter().map(String::as_bytes).collect::<Vec<_>>());
    }
}

/// What was not published before a restart is there after it, to the byte.
pub async fn the_outbox_outlives_a_restart(store: Arc<dyn Store>) {
    let place = open(&store).await;
    let bare = OutboxRow {
        key: None,
        headers: vec![],
        timestamp: Timestamp::from_micros(0),
        ..event(Bytes::new())
    };
    let rows = vec![event("one"), bare, event(vec![0_u8; 100_000])];
    let added = rows.clone();
    submit(&place, move |tx| {
        let added = added.clone();
        async move { tx.backend().outbox_add(added).await }
    })
    .await
    .expect("the unit is committed");
    let before = outbox(&place).await;
    place.close().await;
    let place = open(&store).await;
    let after = outbox(&place).await;
    assert_eq!(before, after, "what the store keeps in memory and what it reads are the same");
    let unnumbered: Vec<_> =
        after.into_iter().map(|row| OutboxRow { sequence: 0, ..row }).collect();
    assert_eq!(unnumbered, rows);
}

/// Rows are removed by their sequences, in whatever order these come; others stay.
pub async fn published_rows_leave_the_outbox(store: Arc<dyn Store>) {
    let place = open(&store).await;
    submit(&place, |tx| async move {
        let rows = (0..20).map(|number| event(number.to_string())).collect();
        tx.backend().outbox_add(rows).await
    })
    .await
    .expect("the unit is committed");
    let sequences: Vec<u64> = outbox(&place).await.iter().map(|row| row.sequence).collect();
    let gone = vec![sequences[9], sequences[0], sequences[1], sequences[2], sequences[19]];
    let removed = gone.clone();
    submit(&place, move |tx| {
        let removed = removed.clone();
        async move { tx.backend().outbox_remove(&removed).await }
    })
    .await
    .expect("the unit is committed");
    let expected: Vec<u64> =
        sequences.iter().copied().filter(|sequence| !gone.contains(sequence)).collect();
    for restart in [false, true] {
        let place = if restart {
            place.close().await;
            open(&store).await
        } else {
            Arc::clone(&place)
        };
        let left: Vec<u64> = outbox(&place).await.iter().map(|row| row.sequence).collect();
        assert_eq!(left, expected, "after a restart: {restart}");
    }
}

/// Also when the outbox is empty and the store was opened anew, sequences go on upwards.
pub async fn a_sequence_is_never_given_twice(store: Arc<dyn Store>) {
    let mut last = 0;
    for _ in 0..3 {
        let place = open(&store).await;
        for _ in 0..2 {
            submit(&place, |tx| async move { add_event(&tx, "next").await })
                .await
                .expect("the unit is committed");
            let rows = place.outbox_after(last, 10).await.expect("the outbox is read");
            assert_eq!(rows.len(), 1, "one row came after {last}");
            last = rows[0].sequence;
            let published = last;
            submit(&place, move |tx| async move { tx.backend().outbox_remove(&[published]).await })
                .await
                .expect("the unit is committed");
            assert!(outbox(&place).await.is_empty());
        }
        place.close().await;
    }
}

/// A relay that waits is woken by a commit, and one that comes late does not wait at all.
pub async fn the_outbox_tells_of_a_change(store: Arc<dyn Store>) {
    let place = open(&store).await;
    let relay = {
        let place = Arc::clone(&place);
        tokio::spawn(async move {
            while outbox(&place).await.len() < 3 {
                place.outbox_changed().await;
            }
        })
    };
    for _ in 0..3 {
        tokio::task::yield_now().await;
        submit(&place, |tx| async move { add_event(&tx, "news").await })
            .await
            .expect("the unit is committed");
    }
    relay.await.expect("the relay sees all rows");
    submit(&place, |tx| async move { add_event(&tx, "more").await })
        .await
        .expect("the unit is committed");
    place.outbox_changed().await;
}

fn position(partition: u32, next: u64) -> PositionRow {
    PositionRow { partition: TopicPartition { topic: Topic::from("orders"), partition }, next }
}

/// A position rises or stays, and is there after a restart.
pub async fn positions_never_go_back(store: Arc<dyn Store>) {
    let place = open(&store).await;
    for rows in [
        vec![position(0, 5), position(1, 3)],
        vec![position(0, 9), position(1, 2)],
        vec![position(0, 7), position(1, 3)],
    ] {
        submit(&place, move |tx| {
            let rows = rows.clone();
            async move { tx.backend().set_positions(&rows).await }
        })
        .await
        .expect("the unit is committed");
    }
    place.close().await;
    let mut rows = open(&store).await.positions().await.expect("positions are read");
    rows.sort_by(|a, b| a.partition.cmp(&b.partition));
    assert_eq!(rows, [position(0, 9), position(1, 3)]);
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

/// A dead letter is what it was, whatever bytes it is made of.
pub async fn dead_letters_come_back_untouched(store: Arc<dyn Store>) {
    let place = open(&store).await;
    let unreadable = DeadLetter {
        key: None,
        body: Bytes::new(),
        headers: vec![],
        event_id: None,
        handler: String::new(),
        ..letter(u64::try_from(i64::MAX).expect("it fits"))
    };
    let letters = vec![letter(0), unreadable, letter(2)];
    let kept = letters.clone();
    submit(&place, move |tx| {
        let kept = kept.clone();
        async move {
            for letter in &kept {
                tx.backend().dead_letter(letter).await?;
            }
            Ok(())
        }
    })
    .await
    .expect("the unit is committed");
    place.close().await;
    let place = open(&store).await;
    let first = place.dead_letters_after(0, 2).await.expect("letters are read");
    let rest = place.dead_letters_after(first[1].0, 9).await.expect("letters are read");
    let found: Vec<DeadLetter> = first.into_iter().chain(rest).map(|(_, letter)| letter).collect();
    assert_eq!(found, letters);
}

/// A `Tx` that outlives its unit answers that it has ended, also while other units run.
pub async fn a_tx_is_of_no_use_after_its_unit(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    submit(&place, move |tx| {
        *keep.lock().expect("no panic") = Some(tx);
        async { Ok(()) }
    })
    .await
    .expect("the unit is committed");
    let stale: Tx = kept.lock().expect("no panic").clone().expect("it was kept");
    assert!(matches!(note(&stale, 1).await, Err(StoreError::Ended)));
    submit(&place, move |_| {
        let stale = stale.clone();
        async move {
            assert!(matches!(note(&stale, 2).await, Err(StoreError::Ended)));
            assert!(matches!(stale.query("SELECT 1", &[]).await, Err(StoreError::Ended)));
            assert!(matches!(add_event(&stale, "late").await, Err(StoreError::Ended)));
            assert!(matches!(stale.backend().rollback().await, Err(StoreError::Ended)));
            Ok(())
        }
    })
    .await
    .expect("the unit is committed");
    assert!(notes(&place).await.is_empty());
    assert!(outbox(&place).await.is_empty());
}

/// While a unit runs, others see nothing of it; the unit itself does.
pub async fn a_query_sees_only_what_is_committed(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    let reader = Arc::clone(&place);
    submit(&place, move |tx| {
        let reader = Arc::clone(&reader);
        async move {
            note(&tx, 1).await?;
            add_event(&tx, "hidden").await?;
            assert_eq!(tx.query("SELECT id FROM notes", &[]).await?.len(), 1);
            assert!(notes(&reader).await.is_empty(), "an uncommitted row was read");
            assert!(outbox(&reader).await.is_empty(), "an uncommitted event was shown");
            Ok(())
        }
    })
    .await
    .expect("the unit is committed");
    assert_eq!(notes(&place).await, [1], "a unit that is finished is visible");
    assert_eq!(outbox(&place).await.len(), 1);
}

/// NULL, the ends of the integers, doubles, empty and odd texts and blobs.
pub async fn values_come_back_as_they_were(store: Arc<dyn Store>) {
    const INSERT: &str = "INSERT INTO odd (id, i, r, t, b) VALUES ($1, $2, $3, $4, $5)";
    let place = open(&store).await;
    submit_sql(
        &place,
        "CREATE TABLE odd (id BIGINT PRIMARY KEY, i BIGINT, r DOUBLE PRECISION, t TEXT, b BYTEA)",
    )
    .await
    .expect("the table is made");
    let text = "Zürich ধারা \u{1F980} 'quoted' \"$1\" ?1";
    submit(&place, move |tx| async move {
        let (empty, bytes): (&[u8], &[u8]) = (b"", b"\0\xff\x80");
        let null = Param::Null;
        let rows = [
            [1_i64.into(), i64::MAX.into(), 0.1_f64.into(), text.into(), bytes.into()],
            [2_i64.into(), i64::MIN.into(), f64::MAX.into(), "".into(), empty.into()],
            [3_i64.into(), null, null, null, null],
        ];
        for row in rows {
            assert_eq!(tx.execute(INSERT, &row).await?, 1);
        }
        Ok(())
    })
    .await
    .expect("the unit is committed");
    let rows = place.query("SELECT * FROM odd ORDER BY id", &[]).await.expect("rows");
    let [first, second, third] = rows.as_slice() else { panic!("three rows: {rows:?}") };
    assert_eq!(get::<u64>(first, "i"), u64::try_from(i64::MAX).expect("it fits"));
    assert!((get::<f64>(first, "r") - 0.1).abs() < f64::EPSILON);
    assert_eq!(get::<String>(first, "t"), text);
    assert_eq!(get::<Vec<u8>>(first, "b"), b"\0\xff\x80");
    assert_eq!(get::<i64>(second, "i"), i64::MIN);
    assert!(second.get::<u64>("i").is_err(), "a negative number is no u64");
    assert_eq!(get::<String>(second, "t"), "");
    assert_eq!(get::<Vec<u8>>(second, "b"), b"");
    for column in ["i", "r", "t", "b"] {
        assert_eq!(get::<Option<Vec<u8>>>(third, column), None);
    }
    assert!(third.get::<i64>("none").is_err(), "there is no such column");
}

fn get<T: crate::store::FromValue>(row: &Row, column: &str) -> T {
    row.get(column).expect("the column is of that type")
}

/// `$2` is the second parameter, wherever it stands and however often; too few or too many fail.
pub async fn parameters_are_found_by_their_number(store: Arc<dyn Store>) {
    const SQL: &str = "INSERT INTO notes (body, id) VALUES ($2 || '-' || $2 || $3, $1)";
    let place = open_with_notes(&store).await;
    submit(&place, |tx| async move {
        tx.execute(SQL, &[1_i64.into(), "a".into(), "b".into()]).await?;
        tx.execute(SQL, &[2_i64.into(), "c".into(), "d".into()]).await?;
        Ok(())
    })
    .await
    .expect("the unit is committed");
    let found = "SELECT body FROM notes WHERE id < $2 AND id >= $1 ORDER BY id";
    let rows = place.query(found, &[1_i64.into(), 3_i64.into()]).await.expect("rows");
    let bodies: Vec<String> = rows.iter().map(|row| get(row, "body")).collect();
    assert_eq!(bodies, ["a-ab", "c-cd"]);
    for params in [vec![1_i64.into()], vec![1_i64.into(), 2_i64.into(), 3_i64.into()]] {
        let error = place.query(found, &params).await.expect_err("two parameters are asked for");
        assert!(matches!(error, StoreError::Statement { .. }), "{error:?}");
    }
}

/// The error of a statement that is no SQL shows the statement and what is wrong with it.
pub async fn a_wrong_statement_is_named(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    let error = submit_sql(&place, "UPDATE notes SET colour = 'red'").await;
    let error = error.expect_err("there is no such column");
    assert!(matches!(error, StoreError::Statement { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("UPDATE notes SET colour"), "{text}");
    assert!(text.matches("colour").count() > 1, "{text}");
    let error = place.query("SELEKT 1", &[]).await.expect_err("that is no SQL").to_string();
    assert!(error.contains("SELEKT 1"), "{error}");
}

/// The error of a broken constraint shows the statement, the table and the column; the unit may go
/// on after it where it put a savepoint before.
pub async fn a_broken_constraint_is_named(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    submit(&place, |tx| async move {
        note(&tx, 1).await?;
        tx.backend().savepoint().await?;
        let error = note(&tx, 1).await.expect_err("the id is taken");
        assert!(matches!(error, StoreError::Constraint { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("INSERT INTO notes"), "{text}");
        assert!(text.contains("notes") && text.contains("id"), "{text}");
        tx.backend().rollback().await?;
        note(&tx, 2).await
    })
    .await
    .expect("the unit is committed");
    assert_eq!(notes(&place).await, [1, 2]);
}

/// Reading beside the writer cannot write.
pub async fn a_query_does_not_write(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    let error = place.query("INSERT INTO notes (id, body) VALUES (1, 'x')", &[]).await;
    let error = error.expect_err("a query only reads");
    assert!(matches!(error, StoreError::Statement { .. }), "{error:?}");
    assert!(notes(&place).await.is_empty());
    submit(&place, |tx| async move { note(&tx, 1).await }).await.expect("units still write");
}

/// A handler's SQL can neither end the transaction nor hide in it behind a savepoint of its own.
pub async fn nobody_commits_but_the_framework(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    for sql in ["COMMIT", "ROLLBACK", "BEGIN", "SAVEPOINT mine", "RELEASE mine", "SELECT 1; COMMIT"]
    {
        let outcome = submit(&place, move |tx| async move {
            note(&tx, 1).await?;
            let error = tx.execute(sql, &[]).await.expect_err("that is the framework's");
            assert!(matches!(error, StoreError::Statement { .. }), "{error:?}");
            Err(error)
        });
        outcome.await.expect_err("the unit failed");
        assert!(notes(&place).await.is_empty(), "{sql} kept a row");
    }
}

/// What a service runs once at its start may be several statements in one text.
pub async fn several_statements_stand_in_one_text(store: Arc<dyn Store>) {
    let place = open(&store).await;
    submit_sql(
        &place,
        "CREATE TABLE a (id BIGINT PRIMARY KEY); -- the first; of two
         CREATE TABLE b (id BIGINT PRIMARY KEY, a BIGINT REFERENCES a (id));
         INSERT INTO a (id) VALUES (1);
         INSERT INTO b (id, a) VALUES (2, 1);",
    )
    .await
    .expect("all four run");
    let rows = place.query("SELECT a.id AS a, b.id AS b FROM a, b", &[]).await.expect("rows");
    assert_eq!((get::<i64>(&rows[0], "a"), get::<i64>(&rows[0], "b")), (1, 2));
}

/// Closing waits for what was submitted; what comes later is refused, and so are queries.
pub async fn closing_commits_what_was_submitted(store: Arc<dyn Store>) {
    let place = open_with_notes(&store).await;
    let units: Vec<_> =
        (0..50).map(|id| submit(&place, move |tx| async move { note(&tx, id).await })).collect();
    place.close().await;
    for unit in units {
        unit.await.expect("it was submitted before the end");
    }
    let late = submit(&place, |tx| async move { note(&tx, 99).await }).await;
    assert!(matches!(late, Err(StoreError::Closed)), "{late:?}");
    let late = place.query("SELECT 1 AS one", &[]).await;
    assert!(matches!(late, Err(StoreError::Closed)), "{late:?}");
    place.close().await;
    assert_eq!(notes(&open(&store).await).await.len(), 50);
}

/// Two handles to one service's place have one writer.
pub async fn a_place_opened_twice_is_one_place(store: Arc<dyn Store>) {
    let first = open_with_notes(&store).await;
    let second = open(&store).await;
    let gate = close_gate(&first).await;
    let one = submit(&second, |tx| async move { note(&tx, 1).await });
    let two = submit(&first, |tx| async move {
        assert_eq!(tx.query("SELECT id FROM notes", &[]).await?.len(), 1, "one writer, one order");
        note(&tx, 2).await
    });
    gate.open().await;
    one.await.expect("the unit is committed");
    two.await.expect("the unit is committed");
    assert_eq!(notes(&second).await, [1, 2]);
    drop(first);
    submit(&second, |tx| async move { note(&tx, 3).await }).await.expect("the other still writes");
}

/// Two services may call their tables the same, and see nothing of each other.
pub async fn services_share_nothing(store: Arc<dyn Store>) {
    let orders = open_with_notes(&store).await;
    let payment: Place = store.open("payment").await.expect("the place opens");
    submit_sql(&payment, "CREATE TABLE notes (id BIGINT PRIMARY KEY, body TEXT)")
        .await
        .expect("the name is free here");
    submit(&orders, |tx| async move {
        note(&tx, 1).await?;
        add_event(&tx, "mine").await
    })
    .await
    .expect("the unit is committed");
    assert!(notes(&payment).await.is_empty());
    assert!(outbox(&payment).await.is_empty());
    for name in ["", "../orders", "a/b", ".hidden"] {
        let error = store.open(name).await.expect_err("that is no name");
        assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    }
}
