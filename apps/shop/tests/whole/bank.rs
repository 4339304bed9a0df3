//! Payment and the bank, stopped and mended.

use serde_json::{Value, json};

use super::support::{Shop, assert_sound, number};

fn row<'a>(health: &'a Value, name: &str) -> &'a Value {
    let rows = health["services"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap()
}

async fn place(shop: &Shop, orders: usize) {
    let place = (0..orders).map(|n| {
        let user = format!("user_{n}");
        async move { shop.order(&user, "tea-sylhet", 1).await }
    });
    futures_util::future::join_all(place).await;
}

#[tokio::test]
async fn orders_wait_while_payment_is_stopped_and_complete_when_it_runs_again() {
    let shop = Shop::start().await;
    shop.stop_service("payment").await;
    place(&shop, 30).await;
    shop.until("stock is reserved meanwhile", "/proof", |proof| proof["sold"] == 30).await;
    let proof = shop.until("all are in flight", "/proof", |proof| proof["inFlight"] == 30).await;
    assert_eq!((&proof["lost"], &proof["ok"]), (&json!(0), &json!(true)), "{proof}");
    let health = shop.get("/health").await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(
        (&row(&health, "payment")["state"], &row(&health, "payment")["lag"]),
        (&json!("stopped"), &json!(30))
    );

    shop.start_service("payment").await;
    let proof = shop.settled(30).await;
    assert_sound(&proof);
    assert_eq!(number(&proof, "confirmed"), 30);
}

#[tokio::test]
async fn each_service_can_be_stopped_and_started_and_orders_complete() {
    let shop = Shop::start().await;
    for (n, name) in ["inventory", "notification", "analytics", "order"].into_iter().enumerate() {
        shop.stop_service(name).await;
        if name == "order" {
            let answer = shop.post("/orders", &super::support::order("u", "tea-sylhet", 1)).await;
            assert_eq!(answer.status.as_u16(), 503, "{}", answer.body);
        } else {
            place(&shop, 5).await;
        }
        shop.start_service(name).await;
        let proof = shop.settled(5 * (n.min(2) as i64 + 1)).await;
        assert_sound(&proof);
        assert_eq!(number(&proof, "confirmed"), 5 * (n.min(2) as i64 + 1), "{name}");
    }
}

#[tokio::test]
async fn a_bank_that_is_down_slow_or_failing_delays_orders_and_charges_none_twice() {
    let shop = Shop::start().await;
    shop.bank(json!({ "mode": "down" })).await;
    place(&shop, 40).await;
    let proof = shop.until("all are in flight", "/proof", |proof| proof["inFlight"] == 40).await;
    assert_eq!((number(&proof, "charges"), number(&proof, "lost")), (0, 0));
    shop.bank(json!({ "mode": "failing", "failRate": 0.5 })).await;
    place(&shop, 40).await;
    shop.until("some get through", "/proof", |proof| number(proof, "confirmed") >= 5).await;
    shop.bank(json!({ "mode": "slow", "slowMs": 100 })).await;
    place(&shop, 40).await;
    shop.until("more get through", "/proof", |proof| number(proof, "confirmed") >= 100).await;
    shop.bank(json!({ "mode": "up" })).await;
    let proof = shop.settled(120).await;
    assert_sound(&proof);
    assert_eq!(number(&proof, "confirmed"), 120);
    assert_eq!(shop.get("/dead-letters").await["deadLetters"], json!([]));
}

#[tokio::test]
async fn payment_can_be_stopped_while_it_waits_for_a_bank_that_is_down() {
    let shop = Shop::start().await;
    shop.bank(json!({ "mode": "down" })).await;
    place(&shop, 100).await;
    shop.until("payment is at work", "/health", |h| number(row(h, "payment"), "inHand") > 0).await;
    shop.stop_service("payment").await;
    shop.start_service("payment").await;
    shop.bank(json!({ "mode": "up" })).await;
    let proof = shop.settled(100).await;
    assert_sound(&proof);
    assert_eq!(number(&proof, "confirmed"), 100);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_break_off_a_stop() {
    let shop = Shop::start().await;
    shop.bank(json!({ "mode": "slow", "slowMs": 1500 })).await;
    place(&shop, 10).await;
    shop.until("payment is at work", "/health", |h| number(row(h, "payment"), "inHand") > 0).await;
    let stop = "POST /services/payment/stop HTTP/1.1\r\nhost: shop\r\n\r\n";
    let client = shop.connect(stop).await;
    let state = |state: &'static str| move |h: &Value| row(h, "payment")["state"] == state;
    shop.until("health shows it at once", "/health", state("stopping")).await;
    drop(client);
    shop.until("it stops all the same", "/health", state("stopped")).await;
    shop.bank(json!({ "mode": "up" })).await;
    shop.start_service("payment").await;
    let proof = shop.settled(10).await;
    assert_sound(&proof);
    assert_eq!(number(&proof, "confirmed"), 10);
}

#[tokio::test]
async fn stops_and_starts_at_the_same_moment_leave_what_they_say() {
    let shop = Shop::start().await;
    for _ in 0..20 {
        let calls = ["stop", "start", "stop", "start"].map(|verb| {
            let (shop, path) = (&shop, format!("/services/order/{verb}"));
            async move { shop.post(&path, &json!({})).await }
        });
        futures_util::future::join_all(calls).await;
        let runs = row(&shop.get("/health").await, "order")["state"] == "running";
        let taken = shop.post("/orders", &super::support::order("u", "tea-sylhet", 1)).await;
        let expected = if runs { 201 } else { 503 };
        assert_eq!(taken.status.as_u16(), expected, "running {runs}: {}", taken.body);
    }
    shop.start_service("order").await;
}
