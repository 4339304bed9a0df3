//! How fast it is: run by hand, `cargo test --release ... --ignored figures --nocapture`.

use std::sync::Arc;
use std::time::Instant;

use dhara::broker::{Topic, TopicPartition};
use dhara::store::{InboxRow, PositionRow, ServiceStore, StoreError, Tx};
use dhara::testing::store_conformance::{event, outbox, submit, submit_sql};

use crate::server::Database;

const EVENTS: u64 = 60_000;
/// Lanes, and how many events each has in one unit: what a service with a backlog submits.
const LANES: u64 = 8;
const UNIT: u64 = 64;

/// One unit of a lane: an inbox row and an outgoing event for each of its events, a position, and
/// a row of the handler's own where it writes one.
async fn unit(tx: Tx, first: u64, rows: bool) -> Result<(), StoreError> {
    let inside = tx.backend();
    let mut events = Vec::new();
    for number in first..first + UNIT {
        let id = (u128::from(number) << 64).to_be_bytes();
        if !inside.inbox_add(InboxRow { handler: "charge", event: &id }).await? {
            continue;
        }
        if rows {
            let id = i64::try_from(number).unwrap();
            tx.execute("INSERT INTO charges VALUES ($1, $2)", &[id.into(), "paid".into()]).await?;
        }
        events.push(event(vec![b'x'; 300]));
    }
    let partition = TopicPartition { topic: Topic::from("orders"), partition: 0 };
    inside.set_positions(&[PositionRow { broker: "log".into(), partition, next: first }]).await?;
    inside.outbox_add(events).await
}

async fn lane(place: Arc<dyn ServiceStore>, lane: u64, rows: bool) {
    let mut first = lane * UNIT;
    while first < EVENTS {
        submit(&place, move |tx| unit(tx, first, rows)).await.unwrap();
        first += LANES * UNIT;
    }
}

async fn handle(place: &Arc<dyn ServiceStore>, rows: bool) -> f64 {
    let began = Instant::now();
    let lanes: Vec<_> =
        (0..LANES).map(|number| tokio::spawn(lane(Arc::clone(place), number, rows))).collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    EVENTS as f64 / began.elapsed().as_secs_f64()
}

async fn table(place: &Arc<dyn ServiceStore>) {
    submit_sql(place, "CREATE TABLE charges (id BIGINT PRIMARY KEY, state TEXT)").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn figures() {
    for round in 0..3 {
        let database = Database::new().await;
        let place = database.place().await;
        println!("{round}: publishing {:.0} events/s", handle(&place, false).await);
        let began = Instant::now();
        let rows = outbox(&place).await.len();
        let took = began.elapsed().as_secs_f64();
        println!("{round}: outbox read {:.0} rows/s", rows as f64 / took);

        let other = Database::new().await;
        let place = other.place().await;
        table(&place).await;
        println!("{round}: with a row {:.0} events/s", handle(&place, true).await);

        let bare = Database::new().await;
        let place = bare.place().await;
        table(&place).await;
        println!("{round}: the bare statements {:.0} events/s", bare_loop(&bare).await);
    }
}

/// The same rows by the same statements from one client, nothing around them: the floor.
async fn bare_loop(database: &Database) -> f64 {
    let client = crate::server::connect(&database.url).await;
    client.batch_execute("SET search_path TO orders; SET dhara.framework = 'on'").await.unwrap();
    let row = client.prepare("INSERT INTO charges VALUES ($1, $2)").await.unwrap();
    let inbox = "INSERT INTO dhara_inbox SELECT 'charge', * FROM unnest($1::BYTEA[])";
    let inbox = client.prepare(inbox).await.unwrap();
    let outbox = "INSERT INTO dhara_outbox (topic, key, body)
        SELECT 'orders', 'order_1', * FROM unnest($1::BYTEA[])";
    let outbox = client.prepare(outbox).await.unwrap();
    let began = Instant::now();
    let batch = LANES * UNIT;
    for first in (0..EVENTS).step_by(usize::try_from(batch).unwrap()) {
        client.batch_execute("BEGIN").await.unwrap();
        let numbers = first..first + batch;
        for number in numbers.clone() {
            let id = i64::try_from(number).unwrap();
            client.execute(&row, &[&id, &"paid"]).await.unwrap();
        }
        let ids: Vec<Vec<u8>> =
            numbers.map(|number| (u128::from(number) << 64).to_be_bytes().to_vec()).collect();
        let bodies = vec![vec![b'x'; 300]; ids.len()];
        client.execute(&inbox, &[&ids]).await.unwrap();
        client.execute(&outbox, &[&bodies]).await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
    }
    EVENTS as f64 / began.elapsed().as_secs_f64()
}
