//! Kill -9 at any moment, and start again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dhara::world::Random;
use hyper::{Method, StatusCode};
use tokio::sync::RwLock;

use super::support::{Shop, assert_sound, count, number, order};

/// How many customers order at a time.
const CUSTOMERS: u64 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_accepted_completes_when_the_shop_is_killed_under_load() {
    let kills = count("DHARA_KILLS", 50);
    let random = Random::from_entropy();
    let shop = Arc::new(RwLock::new(Shop::start().await));
    let over = Arc::new(AtomicBool::new(false));
    let customers: Vec<_> =
        (0..CUSTOMERS).map(|n| tokio::spawn(buy(shop.clone(), n, over.clone()))).collect();
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(20 + random.below(700))).await;
        let mut shop = shop.write().await;
        shop.kill().await;
        shop.restart(&[]).await;
    }
    over.store(true, Ordering::Relaxed);
    let mut accepted = 0;
    for customer in customers {
        accepted += customer.await.unwrap();
    }
    let shop = shop.read().await;
    let proof = shop.settled(accepted).await;
    assert_sound(&proof);
    assert!(accepted > 0 && number(&proof, "accepted") >= accepted, "{accepted} of {proof}");
}

/// Orders until it is over; gives the number of orders that this customer knows to be accepted.
/// What got no answer is asked for again, under the same key.
async fn buy(shop: Arc<RwLock<Shop>>, customer: u64, over: Arc<AtomicBool>) -> i64 {
    let mut accepted = 0;
    while !over.load(Ordering::Relaxed) {
        let key = format!("customer-{customer}-{accepted}");
        let (user, sku) = match accepted % 8 {
            6 => ("user_broke", "mug-dhaka"),
            7 => ("user_1", "muslin-scarf"),
            _ => ("user_2", "tea-sylhet"),
        };
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let body = order(user, sku, 1).to_string();
        // The lock is not held while waiting: whoever kills must not wait for an answer.
        let sent = {
            let shop = shop.read().await;
            let sent = shop.send(Method::POST, "/orders", &headers, body.as_bytes());
            tokio::time::timeout(Duration::from_millis(500), sent).await
        };
        if let Ok(Ok(response)) = sent {
            assert_eq!(response.status(), StatusCode::CREATED);
            accepted += 1;
        }
    }
    accepted
}
