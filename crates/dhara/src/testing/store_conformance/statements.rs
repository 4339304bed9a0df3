//! Statements: values, parameters, errors, and what a handler's SQL cannot do.

use super::*;

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
