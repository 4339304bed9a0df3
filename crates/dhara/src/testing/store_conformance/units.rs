//! Units: whole or not at all, one after another, and nothing of one in another.

use super::*;

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
