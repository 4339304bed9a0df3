//! How a place begins: its schema, its tables, many at once, none at all.

use dhara::store::{StoreError, open};
use dhara::testing::store_conformance::{submit, submit_sql};
use dhara::world::World;

use crate::server::Database;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_instances_that_start_at_once_make_one_schema() {
    let database = Database::new().await;
    for round in 0..3 {
        let service = format!("orders-{round}.x");
        let starts = (0..10).map(|number| {
            let (store, service) = (database.store(), service.clone());
            tokio::spawn(async move {
                let place = store.open(&service).await.unwrap();
                // What a service sets up by itself, all at once as well.
                submit_sql(&place, "CREATE TABLE IF NOT EXISTS notes (id BIGINT PRIMARY KEY)")
                    .await
                    .unwrap();
                submit_sql(
                    &place,
                    "CREATE TABLE IF NOT EXISTS a (id BIGINT); CREATE TABLE IF NOT EXISTS b (a BIGINT)",
                )
                .await
                .unwrap();
                let id = i64::from(number);
                submit(&place, move |tx| async move {
                    tx.execute("INSERT INTO notes VALUES ($1)", &[id.into()]).await.map(drop)
                })
                .await
                .unwrap();
                place.close().await;
            })
        });
        for start in starts.collect::<Vec<_>>() {
            start.await.unwrap();
        }
        let notes = database.count(&format!("SELECT count(*) FROM \"{service}\".notes")).await;
        assert_eq!(notes, 10);
        let versions = format!("SELECT count(*) FROM \"{service}\".dhara_migrations");
        assert_eq!(database.count(&versions).await, 1);
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_refused() {
    let database = Database::new().await;
    let place = database.place().await;
    submit_sql(&place, "INSERT INTO dhara_migrations VALUES (99)").await.unwrap();
    place.close().await;
    let error = database.store().open("orders").await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("99"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_reached_is_named_without_its_password() {
    let database = Database::new().await;
    let world = World::real();
    let missing = database.url.replace('?', "_missing?");
    let error = open(&missing, &world).await.unwrap().open("orders").await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("_missing"), "{error}");
    let away = "postgres://me:secret@127.0.0.1:1/shop";
    let error = open(away, &world).await.unwrap().open("orders").await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:1/shop"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    for name in ["public", "pg_mine", "information_schema", &"x".repeat(64)] {
        let error = database.store().open(name).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    }
}

/// Whether a connection of the store is inside TLS.
async fn is_encrypted(database: &Database, parameters: &str) -> Result<bool, StoreError> {
    let store = open(&database.url_with(parameters), &World::real()).await?;
    let place = store.open("orders").await?;
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    place.query(sql, &[]).await?.first().expect("a row").get("ssl")
}

#[tokio::test]
async fn tls_is_used_where_it_is_there_and_checked_where_it_is_asked_for() {
    let database = Database::new().await;
    let file = std::env::var("DHARA_TEST_POSTGRES_CERTIFICATE").expect("set by `cargo xtask test`");
    assert!(!is_encrypted(&database, "sslmode=disable").await.unwrap());
    assert!(is_encrypted(&database, "sslmode=prefer").await.unwrap());
    assert!(is_encrypted(&database, "").await.unwrap());
    for mode in ["require", "verify-full"] {
        let trusted = format!("sslmode={mode}&sslrootcert={file}");
        assert!(is_encrypted(&database, &trusted).await.unwrap());
        let error = is_encrypted(&database, &format!("sslmode={mode}")).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "nobody vouches for it: {error}");
    }
    let missing = open(&database.url_with("sslrootcert=/no/such/file"), &World::real()).await;
    assert!(missing.unwrap_err().to_string().contains("/no/such/file"));
}
