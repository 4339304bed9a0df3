//! A database for each test, on the server that the environment names.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dhara::store::postgres::PostgresStore;
use dhara::store::postgres::tokio_postgres::{Client, Config, NoTls};
use dhara::store::{ServiceStore, Store};
use dhara::world::World;

/// A new database, and the means to look into it from outside.
pub(crate) struct Database {
    pub(crate) admin: Client,
    pub(crate) url: String,
}

/// The URL of the server's first database.
pub(crate) fn server() -> String {
    std::env::var("DHARA_TEST_POSTGRES").unwrap_or_else(|_| {
        panic!(
            "no PostgreSQL server is there: run `cargo xtask test --only postgres`, which brings \
             one, or name one of your own in DHARA_TEST_POSTGRES=postgres://USER@HOST:PORT/DATABASE"
        )
    })
}

impl Database {
    /// It is left to whoever stops the server, as dropping one takes a checkpoint, but where a test
    /// makes many.
    pub(crate) async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let server = server();
        connect(&server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (host, _) = server.rsplit_once('/').unwrap();
        // The server speaks TLS, which tests of anything else do without.
        let url = format!("{host}/{name}?sslmode=disable");
        Self { admin: connect(&url).await, url }
    }

    pub(crate) async fn remove(self) {
        let name: String =
            self.admin.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
        drop(self.admin);
        let drops = format!("DROP DATABASE {name} WITH (FORCE)");
        connect(&server()).await.batch_execute(&drops).await.unwrap();
    }

    /// A store of its own, as another process would have it.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::new(PostgresStore::new(&self.url, &World::real()).unwrap())
    }

    pub(crate) async fn place(&self) -> Arc<dyn ServiceStore> {
        self.store().open("orders").await.unwrap()
    }

    /// The URL with other parameters.
    pub(crate) fn url_with(&self, parameters: &str) -> String {
        let (place, _) = self.url.split_once('?').unwrap();
        format!("{place}?{parameters}")
    }

    /// The one number that `sql` asks for.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.admin.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Ends the connections of the service from the server's side.
    pub(crate) async fn end_connections(&self) -> i64 {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.count(sql).await
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = url.parse::<Config>().unwrap().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
