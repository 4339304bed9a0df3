//! The framework's tables: inbox, outbox, positions, dead letters.

use super::*;

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

/// Whoever reads the outbox needs memory for a few large rows, not for all; one comes always.
pub async fn large_rows_of_the_outbox_come_a_few_at_a_time(store: Arc<dyn Store>) {
    const SIZES: [usize; 6] = [MOST_OUTBOX_BYTES / 3, 10, MOST_OUTBOX_BYTES + 1, 1, 2, 3];
    let place = open(&store).await;
    for size in SIZES {
        let body = vec![b'x'; size];
        submit(&place, move |tx| {
            let body = body.clone();
            async move { add_event(&tx, body).await }
        })
        .await
        .expect("the unit is committed");
    }
    // From memory, and from where the store keeps it.
    for _ in 0..2 {
        let place = open(&store).await;
        let (mut after, mut given) = (0, Vec::new());
        while given.len() < SIZES.len() {
            let rows = place.outbox_after(after, 100).await.expect("the outbox is read");
            after = rows.last().expect("a row comes always").sequence;
            let sizes: Vec<usize> = rows.iter().map(|row| row.body.len()).collect();
            let fits = sizes.iter().sum::<usize>() <= MOST_OUTBOX_BYTES || sizes.len() == 1;
            assert!(fits, "rows of {sizes:?} bytes came together");
            given.extend(sizes);
        }
        assert_eq!(given, SIZES);
        place.close().await;
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

/// A position rises or stays, and is there after a restart; each broker's by itself.
pub async fn positions_never_go_back(store: Arc<dyn Store>) {
    let place = open(&store).await;
    let elsewhere = PositionRow { broker: "log-2".into(), ..position(0, 2) };
    for rows in [
        vec![position(0, 5), position(1, 3)],
        vec![position(0, 9), position(1, 2), elsewhere.clone()],
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
    rows.sort_by(|a, b| (&a.broker, &a.partition).cmp(&(&b.broker, &b.partition)));
    assert_eq!(rows, [position(0, 9), position(1, 3), elsewhere]);
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
