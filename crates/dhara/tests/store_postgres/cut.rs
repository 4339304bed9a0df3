//! Commits whose connection is cut: what became of each is found out, and nothing happens twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dhara::store::ServiceStore;
use dhara::testing::store_conformance::{event, outbox, submit, submit_sql};
use dhara::world::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::server::Database;

/// Where a commit is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The server never sees it.
    Before,
    /// The server gets it, and its answer is lost.
    After,
}

/// A way to the server that cuts the next commits off.
struct Proxy {
    url: String,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    async fn new(database: &Database, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (start, rest) = database.url.split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let url = format!("{start}@127.0.0.1:{port}/{name}");
        let cuts = Arc::new(AtomicUsize::new(0));
        let (server, left) = (server.to_owned(), Arc::clone(&cuts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(pass_on(client, server, cut, Arc::clone(&left)));
            }
        });
        Self { url, cuts }
    }

    async fn place(&self) -> Arc<dyn ServiceStore> {
        let store = dhara::store::open(&self.url, &World::real()).await.unwrap();
        store.open("orders").await.unwrap()
    }

    /// The next `count` commits are cut off.
    fn cut(&self, count: usize) {
        self.cuts.store(count, Ordering::SeqCst);
    }
}

async fn pass_on(mut client: TcpStream, mut server: TcpStream, cut: Cut, left: Arc<AtomicUsize>) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let commits = up[..length].windows(8).any(|bytes| bytes == b"; COMMIT");
                let cuts = commits
                    && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
                if cuts && cut == Cut::Before {
                    return;
                }
                if server.write_all(&up[..length]).await.is_err() {
                    return;
                }
                if cuts {
                    // What the server makes of it is its own affair from here on.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Submits one unit; how often it ran.
async fn write(place: &Arc<dyn ServiceStore>, id: i64) -> usize {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    submit(place, move |tx| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            tx.execute("INSERT INTO t VALUES ($1)", &[id.into()]).await?;
            tx.backend().outbox_add(vec![event(id.to_string())]).await
        }
    })
    .await
    .unwrap();
    runs.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_not_made_twice() {
    for (cut, runs) in [(Cut::After, 1), (Cut::Before, 2)] {
        let database = Database::new().await;
        let proxy = Proxy::new(&database, cut).await;
        let place = proxy.place().await;
        // No primary key: a second run would not be noticed by the table.
        submit_sql(&place, "CREATE TABLE t (id BIGINT)").await.unwrap();
        for id in 0..3 {
            proxy.cut(1);
            assert_eq!(write(&place, id).await, runs, "{cut:?}");
        }
        assert_eq!(database.count("SELECT count(*) FROM orders.t").await, 3, "{cut:?}");
        assert_eq!(outbox(&place).await.len(), 3, "{cut:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_hangs_in_the_server_is_ended_before_it_is_made_again() {
    let database = Database::new().await;
    let proxy = Proxy::new(&database, Cut::After).await;
    let place = proxy.place().await;
    submit_sql(&place, "CREATE TABLE t (id BIGINT)").await.unwrap();
    // A commit that waits for somebody else, for ever as far as the writer knows.
    submit_sql(
        &place,
        "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER hang AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION hang()",
    )
    .await
    .unwrap();
    database.admin.query("SELECT pg_advisory_lock(42)", &[]).await.unwrap();
    proxy.cut(1);
    let writing = {
        let place = Arc::clone(&place);
        tokio::spawn(async move { write(&place, 7).await })
    };
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'
        AND datname = current_database() AND backend_start > now() - interval '1 hour'";
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(database.count(waiting).await, 1, "the first is ended, the second waits");
    database.admin.query("SELECT pg_advisory_unlock(42)", &[]).await.unwrap();
    assert_eq!(writing.await.unwrap(), 2);
    assert_eq!(database.count("SELECT count(*) FROM orders.t").await, 1);
}
