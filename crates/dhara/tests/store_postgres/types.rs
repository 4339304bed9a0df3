//! Types that PostgreSQL has and SQLite has not, and the transaction's own connection.

use dhara::store::postgres::Connection;
use dhara::store::{Param, StoreError};
use dhara::testing::store_conformance::{submit, submit_sql};

use crate::server::Database;

#[tokio::test]
async fn values_go_into_columns_of_many_types_and_come_back() {
    let database = Database::new().await;
    let place = database.place().await;
    submit_sql(
        &place,
        "CREATE TYPE colour AS ENUM ('red', 'blue');
         CREATE DOMAIN positive AS INTEGER CHECK (VALUE > 0);
         CREATE TABLE many (i2 SMALLINT, i4 INTEGER, yes BOOLEAN, f4 REAL, n NUMERIC, j JSONB,
            u UUID, at TIMESTAMPTZ, c colour, p positive, v VARCHAR(9))",
    )
    .await
    .unwrap();
    let uuid = "0190a0b0-c0d0-7e0f-8102-030405060708";
    submit(&place, move |tx| async move {
        let insert = "INSERT INTO many VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let params = [
            7_i64.into(),
            8_i64.into(),
            true.into(),
            0.5_f64.into(),
            Param::Int(i64::MAX),
            "{\"a\": [1]}".into(),
            uuid.into(),
            "2026-11-22T10:30:00Z".into(),
            "blue".into(),
            3_i64.into(),
            "text".into(),
        ];
        tx.execute(insert, &params).await.map(drop)
    })
    .await
    .unwrap();
    let select = "SELECT i2, i4, yes, f4, n, j, u, extract(epoch FROM at) AS at, c, p, v FROM many";
    let row = &place.query(select, &[]).await.unwrap()[0];
    assert_eq!(row.get::<i32>("i2").unwrap() + row.get::<i32>("i4").unwrap(), 15);
    assert!(row.get::<bool>("yes").unwrap());
    assert_eq!(row.get::<i64>("n").unwrap(), i64::MAX);
    assert_eq!(row.get::<String>("j").unwrap(), "{\"a\": [1]}");
    assert_eq!(row.get::<String>("u").unwrap(), uuid);
    assert_eq!(row.get::<i64>("at").unwrap(), 1_795_343_400);
    assert_eq!(row.get::<String>("c").unwrap(), "blue");
    assert_eq!((row.get::<i64>("p").unwrap(), row.get::<String>("v").unwrap()), (3, "text".into()));
    let sum = "SELECT sum(i4::BIGINT) AS sum, avg(f4) AS avg FROM many";
    let row = &place.query(sum, &[]).await.unwrap()[0];
    assert_eq!(row.get::<i64>("sum").unwrap(), 8, "a sum of integers is an integer here as well");
    let error = place.query("SELECT at FROM many", &[]).await.unwrap_err().to_string();
    assert!(error.contains("CAST"), "{error}");
    let error = place.query("SELECT 1 FROM many WHERE i4 = $1", &[i64::MAX.into()]).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("BIGINT"), "{error}");
}

#[tokio::test]
async fn the_own_connection_has_the_full_power_and_cannot_commit() {
    let database = Database::new().await;
    let place = database.place().await;
    submit_sql(&place, "CREATE TABLE tags (id BIGINT, words TEXT[])").await.unwrap();
    submit(&place, |tx| async move {
        let own = Connection::of(&tx).expect("it is PostgreSQL");
        let words = vec!["a", "b"];
        own.execute("INSERT INTO tags VALUES ($1, $2)", &[&1_i64, &words]).await?;
        own.copy_in("COPY tags FROM STDIN", "2\t{c}\n3\t{d,e}\n".into()).await?;
        let rows = own.query("SELECT words FROM tags ORDER BY id", &[]).await?;
        let lengths: Vec<usize> =
            rows.iter().map(|row| row.get::<_, Vec<String>>(0).len()).collect();
        assert_eq!(lengths, [2, 1, 2]);
        for sql in ["COMMIT", "ROLLBACK AND CHAIN", "BEGIN", "PREPARE TRANSACTION 'x'"] {
            let error = own.execute(sql, &[]).await.unwrap_err();
            assert!(matches!(error, StoreError::Statement { .. }), "{error:?}");
        }
        let error = own.copy_in("COMMIT", "".into()).await.unwrap_err();
        assert!(matches!(error, StoreError::Statement { .. }), "{error:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(database.count("SELECT count(*) FROM orders.tags").await, 3);
}

#[tokio::test]
async fn code_in_the_database_cannot_commit_either() {
    let database = Database::new().await;
    let place = database.place().await;
    submit_sql(&place, "CREATE TABLE t (id BIGINT)").await.unwrap();
    submit_sql(
        &place,
        "CREATE PROCEDURE ends() LANGUAGE plpgsql AS 'BEGIN INSERT INTO t VALUES (1); COMMIT; END'",
    )
    .await
    .unwrap();
    for sql in ["CALL ends()", "DO 'BEGIN INSERT INTO t VALUES (2); COMMIT; END'"] {
        submit_sql(&place, sql).await.expect_err(sql);
    }
    assert_eq!(database.count("SELECT count(*) FROM orders.t").await, 0);
}

#[tokio::test]
async fn a_table_that_changes_under_prepared_statements_is_read_anew() {
    let database = Database::new().await;
    let place = database.place().await;
    submit_sql(&place, "CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1)").await.unwrap();
    let select = "SELECT * FROM t";
    let inside = || submit(&place, move |tx| async move { tx.query(select, &[]).await.map(drop) });
    assert_eq!(place.query(select, &[]).await.unwrap().len(), 1);
    inside().await.unwrap();
    submit_sql(&place, "ALTER TABLE t ADD COLUMN b BIGINT DEFAULT 2").await.unwrap();
    assert_eq!(place.query(select, &[]).await.unwrap()[0].get::<i64>("b").unwrap(), 2);
    inside().await.unwrap();
}
