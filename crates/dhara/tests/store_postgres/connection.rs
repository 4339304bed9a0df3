//! Connections that end, transactions that are in each other's way, and events that come twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dhara::store::{InboxRow, ServiceStore, StoreError, Tx};
use dhara::testing::store_conformance::{close_gate, event, outbox, submit, submit_sql};

use crate::server::Database;

async fn with_table(database: &Database) -> Arc<dyn ServiceStore> {
    let place = database.place().await;
    submit_sql(&place, "CREATE TABLE IF NOT EXISTS t (id BIGINT PRIMARY KEY, n BIGINT)")
        .await
        .unwrap();
    place
}

async fn insert(tx: &Tx, id: i64) -> Result<(), StoreError> {
    tx.execute("INSERT INTO t VALUES ($1, 0)", &[id.into()]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_under_load_lose_and_repeat_nothing() {
    let database = Arc::new(Database::new().await);
    let place = with_table(&database).await;
    let submitters: Vec<_> = (0..8_i64)
        .map(|submitter| {
            let place = Arc::clone(&place);
            tokio::spawn(async move {
                for number in 0..100 {
                    let id = submitter * 1000 + number;
                    submit(&place, move |tx| async move {
                        insert(&tx, id).await?;
                        tx.backend().outbox_add(vec![event(id.to_string())]).await
                    })
                    .await
                    .unwrap();
                    place.query("SELECT count(*) FROM t", &[]).await.unwrap();
                }
            })
        })
        .collect();
    let mut ended = 0;
    while submitters.iter().any(|submitter| !submitter.is_finished()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ended += database.end_connections().await;
    }
    for submitter in submitters {
        submitter.await.unwrap();
    }
    assert!(ended > 0, "no connection was ended");
    assert_eq!(database.count("SELECT count(*) FROM orders.t").await, 800);
    let rows = outbox(&place).await;
    assert_eq!(rows.len(), 800);
    for submitter in 0..8 {
        let ids: Vec<i64> = rows
            .iter()
            .map(|row| std::str::from_utf8(&row.body).unwrap().parse::<i64>().unwrap())
            .filter(|id| id / 1000 == submitter)
            .collect();
        assert!(ids.is_sorted(), "events of one submitter are out of order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_place_hears_of_others_again_after_its_connection_ended() {
    let database = Database::new().await;
    let (here, there) = (database.place().await, database.place().await);
    here.outbox_changed().await;
    assert!(database.end_connections().await >= 2);
    // The new connection tells that something may have been missed.
    let soon = tokio::time::timeout(Duration::from_secs(4), here.outbox_changed());
    assert!(soon.await.is_ok(), "it did not come back by itself");
    submit(&there, |tx| async move { tx.backend().outbox_add(vec![event("news")]).await })
        .await
        .unwrap();
    let soon = tokio::time::timeout(Duration::from_secs(4), here.outbox_changed());
    assert!(soon.await.is_ok(), "it does not listen any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_between_instances_is_nobodys_failure() {
    let database = Database::new().await;
    let places = [with_table(&database).await, with_table(&database).await];
    submit_sql(&places[0], "INSERT INTO t VALUES (1, 0), (2, 0)").await.unwrap();
    database.admin.batch_execute("ALTER SYSTEM SET deadlock_timeout = '50ms'").await.unwrap();
    database.admin.query("SELECT pg_reload_conf()", &[]).await.unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    for _ in 0..5 {
        let units: Vec<_> = [(0, [1_i64, 2]), (1, [2, 1])]
            .map(|(instance, ids)| {
                let runs = Arc::clone(&runs);
                submit(&places[instance], move |tx| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    async move {
                        let update = "UPDATE t SET n = n + 1 WHERE id = $1";
                        tx.execute(update, &[ids[0].into()]).await?;
                        // Both hold what the other wants.
                        tx.query("SELECT 1 FROM pg_sleep(0.1)", &[]).await?;
                        tx.execute(update, &[ids[1].into()]).await.map(drop)
                    }
                })
            })
            .into();
        for unit in units {
            unit.await.unwrap();
        }
    }
    assert!(runs.load(Ordering::Relaxed) > 10, "no deadlock came about");
    assert_eq!(database.count("SELECT sum(n)::INT8 FROM orders.t").await, 20);
}

/// A handler as the framework runs it: nothing where the inbox knows the event.
async fn handle(tx: &Tx, id: i64) -> Result<bool, StoreError> {
    let row = InboxRow { handler: "count", event: &id.to_be_bytes() };
    if !tx.backend().inbox_add(row).await? {
        return Ok(false);
    }
    // Twice would break the primary key.
    insert(tx, id).await?;
    tx.backend().outbox_add(vec![event(id.to_string())]).await?;
    Ok(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_come_again_are_known_and_blamed_on_nobody() {
    let database = Database::new().await;
    let place = with_table(&database).await;
    let mut effects = 0;
    // Each batch repeats half of the one before, and one event within itself.
    for first in [0, 50, 100, 150] {
        let gate = close_gate(&place).await;
        let ids: Vec<i64> = (first..first + 100).chain([first + 70]).collect();
        let units: Vec<_> = ids
            .iter()
            .map(|id| {
                let id = *id;
                submit(&place, move |tx| async move { handle(&tx, id).await.map(drop) })
            })
            .collect();
        gate.open().await;
        for unit in units {
            unit.await.unwrap();
        }
        effects = first + 100;
        assert_eq!(database.count("SELECT count(*) FROM orders.t").await, effects);
    }
    // Alone in its transaction, too, an event that is known must not look like a broken constraint;
    // another instance has not grown careful by what went before.
    let other = database.place().await;
    submit(&other, |tx| async move { handle(&tx, 5).await.map(drop) }).await.unwrap();
    let bodies: Vec<String> = outbox(&place)
        .await
        .iter()
        .map(|row| String::from_utf8(row.body.to_vec()).unwrap())
        .collect();
    let expected: Vec<String> = (0..effects).map(|id| id.to_string()).collect();
    assert_eq!(bodies, expected);
}

/// Where no constraint of the handler's tells, the inbox alone does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_come_again_have_no_second_effect() {
    let database = Database::new().await;
    let place = database.place().await;
    submit_sql(&place, "CREATE TABLE effects (id BIGINT)").await.unwrap();
    let told_twice = Arc::new(AtomicUsize::new(0));
    for ids in [vec![1_i64, 2, 3, 2], vec![3], vec![4, 1, 5, 5, 2]] {
        let gate = close_gate(&place).await;
        let units: Vec<_> = ids
            .iter()
            .map(|id| {
                let (id, told_twice) = (*id, Arc::clone(&told_twice));
                submit(&place, move |tx| {
                    let told_twice = Arc::clone(&told_twice);
                    async move {
                        let row = InboxRow { handler: "count", event: &id.to_be_bytes() };
                        if !tx.backend().inbox_add(row).await? {
                            told_twice.fetch_add(1, Ordering::Relaxed);
                            return Ok(());
                        }
                        tx.execute("INSERT INTO effects VALUES ($1)", &[id.into()]).await?;
                        tx.backend().outbox_add(vec![event(id.to_string())]).await
                    }
                })
            })
            .collect();
        gate.open().await;
        for unit in units {
            unit.await.unwrap();
        }
    }
    assert_eq!(database.count("SELECT count(*) FROM orders.effects").await, 5);
    assert_eq!(outbox(&place).await.len(), 5);
    assert!(told_twice.load(Ordering::Relaxed) >= 5, "units are told what came again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_that_are_given_the_same_events_handle_each_once() {
    let database = Database::new().await;
    let places = [with_table(&database).await, with_table(&database).await];
    let units: Vec<_> = (0..400_i64)
        .map(|number| {
            let place = &places[usize::try_from(number % 2).unwrap()];
            submit(place, move |tx| async move { handle(&tx, number / 2).await.map(drop) })
        })
        .collect();
    for unit in units {
        unit.await.unwrap();
    }
    assert_eq!(database.count("SELECT count(*) FROM orders.t").await, 200);
    assert_eq!(outbox(&places[0]).await.len(), 200);
}

#[tokio::test]
async fn a_statement_whose_future_was_dropped_takes_the_unit_along() {
    let database = Database::new().await;
    let place = with_table(&database).await;
    let impatient = submit(&place, |tx| async move {
        insert(&tx, 1).await?;
        let slow = tx.query("SELECT 1 FROM pg_sleep(0.3)", &[]);
        let _ = tokio::time::timeout(Duration::from_millis(20), slow).await;
        insert(&tx, 2).await
    });
    let error = impatient.await.unwrap_err();
    assert!(matches!(error, StoreError::Aborted { .. }), "{error:?}");
    let passed = submit(&place, |tx| async move {
        insert(&tx, 3).await?;
        drop(insert(&tx, 3).await);
        Ok(())
    });
    passed.await.expect_err("the error was not for the unit to let pass");
    assert_eq!(database.count("SELECT count(*) FROM orders.t").await, 0);
    submit(&place, |tx| async move { insert(&tx, 4).await }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_with_a_nul_in_its_words_is_kept_all_the_same() {
    use dhara::broker::{Topic, TopicPartition};
    use dhara::store::DeadLetter;
    use dhara::world::Timestamp;

    let database = Database::new().await;
    let place = database.place().await;
    let letter = DeadLetter {
        partition: TopicPartition { topic: Topic::from("orders"), partition: 0 },
        offset: 1,
        key: None,
        body: "{\"eventId\": \"a\0b\"}".into(),
        headers: vec![],
        event_id: Some("a\0b".to_owned()),
        handler: "charge".to_owned(),
        error: "no such id: a\0b".to_owned(),
        attempts: 1,
        at: Timestamp::from_micros(1),
    };
    let kept = letter.clone();
    submit(&place, move |tx| {
        let letter = kept.clone();
        async move { tx.backend().dead_letter(&letter).await }
    })
    .await
    .unwrap();
    let (_, found) = place.dead_letters_after(0, 1).await.unwrap().remove(0);
    assert_eq!(found.body, letter.body);
    assert_eq!(found.event_id.as_deref(), Some("a\u{FFFD}b"));
}
