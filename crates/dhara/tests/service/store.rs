//! Services with a store: one effect for each event.

use std::time::Duration;

use dhara::broker::Batch;
use dhara::store::{Param, StoreError};
use dhara::{HandlerExt, Retry, Running, Service, State, Tx};

use crate::support::{
    Ledger, OrderCreated, PaymentCompleted, System, eventually, order, order_message,
};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS charges (order_id TEXT, amount BIGINT)";

async fn charge(order: OrderCreated, tx: Tx) -> Result<PaymentCompleted, StoreError> {
    let params = [Param::from(&order.order_id), Param::from(order.amount)];
    tx.execute("INSERT INTO charges (order_id, amount) VALUES ($1, $2)", &params).await?;
    Ok(PaymentCompleted { order_id: order.order_id })
}

async fn charges(running: &Running) -> Vec<(String, i64)> {
    let sql = "SELECT order_id, amount FROM charges ORDER BY order_id, amount";
    let rows = running.store().unwrap().query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get("order_id").unwrap(), row.get("amount").unwrap())).collect()
}

async fn handled(running: &Running, count: u64) {
    eventually("all handled", || async {
        let status = running.status().await.unwrap();
        (status.handled >= count && status.outbox == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_that_comes_twice_has_one_effect() {
    let system = System::mem().await;
    let service = || Service::new("payment").store(system.store.clone()).setup(TABLE).on(charge);
    let running = service().start(&system.broker).await.unwrap();
    let twice = vec![order_message("evt_1", "a", 1); 2];
    system.broker.publish(Batch::Many(twice)).await.unwrap();
    handled(&running, 2).await;
    running.stop().await.unwrap();

    let running = service().start(&system.broker).await.unwrap();
    system.broker.publish(Batch::One(order_message("evt_1", "a", 1))).await.unwrap();
    system.broker.publish(Batch::One(order_message("evt_2", "b", 2))).await.unwrap();
    handled(&running, 2).await;
    assert_eq!(charges(&running).await, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let published = system.read("payments", 2).await;
    assert_eq!(published.len(), 2, "one event of each effect: {published:?}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_fails_takes_only_its_own_writes_along() {
    let system = System::mem().await;
    async fn charge_or_fail(
        order: OrderCreated,
        tx: Tx,
        State(ledger): State<Ledger>,
    ) -> Result<PaymentCompleted, StoreError> {
        let fails = order.amount % 7 == 3 && ledger.of(&order.order_id).len() < 2;
        ledger.add(&order.order_id, order.amount);
        let charged = charge(order, tx).await?;
        match fails {
            true => Err(StoreError::Unavailable { what: "not now".to_owned(), source: None }),
            false => Ok(charged),
        }
    }
    let retry = Retry::forever().base(Duration::from_millis(1)).cap(Duration::from_millis(2));
    let running = Service::new("payment")
        .state(Ledger::default())
        .store(system.store.clone())
        .setup(TABLE)
        .on(charge_or_fail.retry(retry))
        .lanes(2)
        .start(&system.broker)
        .await
        .unwrap();
    let publisher = system.publisher();
    for amount in 0..100 {
        publisher.publish(&order(&format!("order_{amount:03}"), amount)).await.unwrap();
    }
    handled(&running, 100).await;
    let wanted: Vec<_> = (0..100).map(|amount| (format!("order_{amount:03}"), amount)).collect();
    assert_eq!(charges(&running).await, wanted);
    assert_eq!(system.read("payments", 100).await.len(), 100);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_that_fails_inside_the_transaction_keeps_its_order() {
    let system = System::mem().await;
    async fn note(
        order: OrderCreated,
        tx: Tx,
        State(attempts): State<Ledger>,
    ) -> Result<(), StoreError> {
        let stumbles =
            order.amount % 5 == 0 && !attempts.of(&order.order_id).contains(&order.amount);
        attempts.add(&order.order_id, order.amount);
        charge(order, tx).await?;
        match stumbles {
            true => Err(StoreError::Unavailable { what: "not now".to_owned(), source: None }),
            false => Ok(()),
        }
    }
    let retry = Retry::forever().base(Duration::from_millis(1)).cap(Duration::from_millis(2));
    let running = Service::new("payment")
        .state(Ledger::default())
        .store(system.store.clone())
        .setup(TABLE)
        .on(note.retry(retry))
        .lanes(1)
        .start(&system.broker)
        .await
        .unwrap();
    let publisher = system.publisher();
    for amount in 0..50 {
        for key in ["a", "b", "c"] {
            publisher.publish(&order(key, amount)).await.unwrap();
        }
    }
    handled(&running, 150).await;
    let sql =
        format!("SELECT order_id, amount FROM charges ORDER BY {}", crate::backend::AS_INSERTED);
    let rows = running.store().unwrap().query(&sql, &[]).await.unwrap();
    for key in ["a", "b", "c"] {
        let of_key = rows.iter().filter(|row| row.get::<String>("order_id").unwrap() == key);
        let amounts: Vec<i64> = of_key.map(|row| row.get("amount").unwrap()).collect();
        assert_eq!(amounts, (0..50).collect::<Vec<_>>(), "key {key}");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_writer_commits_its_rows_with_its_events_or_neither() {
    let system = System::mem().await;
    let running =
        Service::new("order").store(system.store.clone()).setup(TABLE).start(&system.broker).await;
    let running = running.unwrap();
    let writer = running.writer().unwrap();
    let write = |id: &'static str, amount: i64| {
        writer.write(move |tx: Tx| async move {
            let params = [Param::from(id), Param::from(amount)];
            let sql = "INSERT INTO charges (order_id, amount) VALUES ($1, $2)";
            tx.execute(sql, &params).await.map_err(|error| error.to_string())?;
            if amount < 0 {
                return Err(format!("{id}: a negative amount"));
            }
            Ok((amount * 2, order(id, amount)))
        })
    };
    let (good, bad, other) = tokio::join!(write("a", 1), write("b", -1), write("c", 3));
    assert_eq!(good.as_ref().unwrap().value, 2);
    assert_eq!(bad.expect_err("refused").to_string(), "b: a negative amount");
    assert_eq!(other.unwrap().value, 6);
    assert_eq!(charges(&running).await, [("a".to_owned(), 1), ("c".to_owned(), 3)]);
    let published = system.read("orders", 2).await;
    let id = good.unwrap().event_ids[0].to_string();
    assert!(published.iter().any(|seen| seen.id == id), "{id} in {published:?}");
    eventually("nothing but these two", || async {
        (running.status().await.unwrap().outbox == 0).then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_read_waits_until_an_event_has_had_its_effect() {
    let system = System::mem().await;
    let service = Service::new("payment").store(system.store.clone()).setup(TABLE).on(charge);
    let running = service.start(&system.broker).await.unwrap();
    let published = system.publisher().publish(&order("a", 1)).await.unwrap();
    let limit = crate::support::PATIENCE;
    running.caught_up("charge", &published.event_id, limit).await.unwrap();
    assert_eq!(charges(&running).await.len(), 1);

    let never = dhara::EventId::parse("evt_12345").unwrap();
    let waited = running.caught_up("charge", &never, Duration::from_millis(1)).await;
    assert!(waited.expect_err("no such event").to_string().contains("was not there"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_service_that_comes_to_another_broker_leaves_nothing_out_there() {
    let system = System::mem().await;
    let mut expected = Vec::new();
    for (log, ids) in [("first", ["a", "b", "c"]), ("second", ["d", "e", "f"])] {
        let broker = system.log(log).await;
        for id in ids {
            let event_id = format!("evt_{id}");
            broker.publish(Batch::One(order_message(&event_id, id, 1))).await.unwrap();
            expected.push((id.to_owned(), 1));
        }
        for _ in 0..2 {
            let service = Service::new("payment").store(system.store.clone()).setup(TABLE);
            let running = service.on(charge).start(&broker).await.unwrap();
            eventually("all charged", || async {
                (charges(&running).await == expected).then_some(())
            })
            .await;
            running.stop().await.unwrap();
        }
        broker.close().await.unwrap();
    }
}

#[tokio::test]
async fn published_rows_that_could_not_be_removed_are_removed_later() {
    let system = System::mem().await;
    let service = Service::new("payment")
        .store(system.store.clone())
        .setup(TABLE)
        .setup("CREATE TABLE IF NOT EXISTS no_room (disk BIGINT)")
        .setup("INSERT INTO no_room VALUES (1)")
        .setup(crate::backend::REFUSES_REMOVAL)
        .on(charge);
    let running = service.start(&system.broker).await.unwrap();
    system.broker.publish(Batch::One(order_message("evt_1", "a", 1))).await.unwrap();
    assert_eq!(system.read("payments", 1).await.len(), 1);
    assert_eq!(running.status().await.unwrap().outbox, 1);
    let mend = |tx: Tx| async move {
        tx.execute("DELETE FROM no_room", &[]).await?;
        Ok::<_, StoreError>(((), ()))
    };
    running.writer().unwrap().write(mend).await.unwrap();
    eventually("the row to be removed", || async {
        (running.status().await.unwrap().outbox == 0).then_some(())
    })
    .await;
    running.stop().await.unwrap();
}
