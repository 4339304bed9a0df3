//! Positions under races: rows of the outbox are read in the order in which they were committed,
//! and none is passed by, however many instances and other programs add to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dhara::store::ServiceStore;
use dhara::testing::store_conformance::{event, submit};

use crate::server::{Database, connect};

/// How many rows are added: `DHARA_OUTBOX_RACE`, 50,000 when that is not set or is no number.
fn rows() -> usize {
    let wanted = std::env::var("DHARA_OUTBOX_RACE").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(50_000)
}

const INSTANCES: usize = 4;
const SUBMITTERS: usize = 8;
/// Of a hundred rows so many are inserted by programs that are none of ours.
const FOREIGN_PERCENT: usize = 2;

/// Whoever adds rows numbers them; the body names both.
fn body(writer: usize, number: usize) -> String {
    format!("{writer}:{number}")
}

/// Reads on from the last row that was seen, as a relay does, until `wanted` rows were seen.
/// What was passed by would never come, so it gives up when nothing comes for a while.
async fn follow(place: Arc<dyn ServiceStore>, wanted: usize) -> HashMap<usize, Vec<usize>> {
    let (mut last, mut seen) = (0, 0);
    let mut writers: HashMap<usize, Vec<usize>> = HashMap::new();
    while seen < wanted {
        let rows = place.outbox_after(last, 1000).await.unwrap();
        if rows.is_empty() {
            let waited = tokio::time::timeout(Duration::from_secs(30), place.outbox_changed());
            waited.await.expect("the sweep answers before that");
            let late = place.outbox_after(last, 1).await.unwrap().is_empty();
            if late && IDLE.load(Ordering::Relaxed) {
                break;
            }
            continue;
        }
        for row in rows {
            assert!(row.sequence > last, "{} came after {last}", row.sequence);
            last = row.sequence;
            let text = String::from_utf8(row.body.to_vec()).unwrap();
            let (writer, number) = text.split_once(':').unwrap();
            let numbers = writers.entry(writer.parse().unwrap()).or_default();
            numbers.push(number.parse().unwrap());
            seen += 1;
        }
    }
    writers
}

/// All rows of the race are committed.
static IDLE: AtomicBool = AtomicBool::new(false);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reader_of_the_outbox_skips_or_reverses_rows_of_racing_instances() {
    let database = Arc::new(Database::new().await);
    let total = rows();
    let foreign = total * FOREIGN_PERCENT / 100;
    let each = (total - foreign) / (INSTANCES * SUBMITTERS);
    let wanted = each * INSTANCES * SUBMITTERS + foreign;
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let database = Arc::clone(&database);
            tokio::spawn(async move { follow(database.place().await, wanted).await })
        })
        .collect();
    let mut writers = Vec::new();
    for instance in 0..INSTANCES {
        let place = database.place().await;
        for submitter in 0..SUBMITTERS {
            let (place, writer) = (Arc::clone(&place), instance * SUBMITTERS + submitter);
            writers.push(tokio::spawn(add(place, writer, each)));
        }
    }
    writers.push(tokio::spawn(insert(database.url.clone(), INSTANCES * SUBMITTERS, foreign)));
    let began = std::time::Instant::now();
    for writer in writers {
        writer.await.unwrap();
    }
    let took = began.elapsed().as_secs_f64();
    println!("{wanted} rows by {INSTANCES} instances: {:.0} a second", wanted as f64 / took);
    IDLE.store(true, Ordering::Relaxed);
    for reader in readers {
        let seen = reader.await.unwrap();
        let count: usize = seen.values().map(Vec::len).sum();
        assert_eq!(count, wanted, "rows were passed by");
        for (writer, numbers) in seen {
            assert!(numbers.iter().copied().eq(0..numbers.len()), "rows of {writer} are reversed");
        }
    }
}

/// Adds rows one to four at a time, each unit submitted when the one before is durable.
async fn add(place: Arc<dyn ServiceStore>, writer: usize, count: usize) {
    let mut next = 0;
    while next < count {
        let part = next..count.min(next + 1 + (next + writer) % 4);
        next = part.end;
        submit(&place, move |tx| {
            let rows = part.clone().map(|number| event(body(writer, number))).collect();
            async move { tx.backend().outbox_add(rows).await }
        })
        .await
        .unwrap();
    }
}

/// Another program, which knows the documented columns and nothing else.
async fn insert(url: String, writer: usize, count: usize) {
    let client = connect(&url).await;
    let sql = "INSERT INTO orders.dhara_outbox (topic, key, body) VALUES ('orders', 'k', $1)";
    for number in 0..count {
        client.execute(sql, &[&body(writer, number).as_bytes()]).await.unwrap();
    }
}

/// Without the lock the race is lost: this is what the test above would see.
#[tokio::test]
async fn rows_that_get_their_numbers_without_the_lock_are_passed_by() {
    let database = Database::new().await;
    let place = database.place().await;
    database
        .admin
        .batch_execute("ALTER TABLE orders.dhara_outbox DISABLE TRIGGER ALL")
        .await
        .unwrap();
    let (slow, quick) = (connect(&database.url).await, connect(&database.url).await);
    let insert = "INSERT INTO orders.dhara_outbox (topic, body) VALUES ('orders', '0:0')";
    slow.batch_execute(&format!("BEGIN; {insert}")).await.unwrap();
    quick.batch_execute(insert).await.unwrap();
    let seen = place.outbox_after(0, 10).await.unwrap();
    slow.batch_execute("COMMIT").await.unwrap();
    let more = place.outbox_after(seen.last().unwrap().sequence, 10).await.unwrap();
    assert_eq!((seen.len(), more.len()), (1, 0), "the slow row is below what was read");
}

#[tokio::test]
async fn a_relay_is_woken_by_other_instances_and_by_other_programs() {
    let database = Database::new().await;
    let (here, there) = (database.place().await, database.place().await);
    // What is there from the beginning is told of once.
    here.outbox_changed().await;
    let woken = async |what: &str| {
        let soon = tokio::time::timeout(Duration::from_secs(4), here.outbox_changed());
        assert!(soon.await.is_ok(), "{what} woke nobody before the sweep");
    };
    submit(&there, |tx| async move { tx.backend().outbox_add(vec![event("there")]).await })
        .await
        .unwrap();
    woken("another instance").await;
    let insert = "INSERT INTO orders.dhara_outbox (topic, body) VALUES ('orders', 'x')";
    database.admin.batch_execute(insert).await.unwrap();
    woken("another program").await;
    assert_eq!(here.outbox_after(0, 10).await.unwrap().len(), 2);
}
