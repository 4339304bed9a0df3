//! Services that are broken on purpose: the proof has to find it.

use super::support::{Shop, number};

async fn place(shop: &Shop, orders: usize, sku: &str) {
    for n in 0..orders {
        shop.order(&format!("user_{n}"), sku, 1).await;
    }
}

#[tokio::test]
async fn an_ack_without_effect_shows_as_lost() {
    let mut shop = Shop::with_faults("forget").await;
    place(&shop, 60, "tea-sylhet").await;
    let ended = |proof: &serde_json::Value| {
        let known = number(proof, "confirmed") + number(proof, "lost");
        known == 60 && number(proof, "inFlight") == 0
    };
    let proof = shop.until("the lost ones are found", "/proof", ended).await;
    assert!(number(&proof, "lost") > 0 && proof["ok"] == false, "{proof}");
    let named = proof["lostOrders"].as_array().unwrap();
    assert_eq!(named.len() as i64, number(&proof, "lost").min(20));
    let order = shop.get(&format!("/orders/{}", named[0].as_str().unwrap())).await;
    assert_eq!(order["status"], "pending");

    shop.kill().await;
    shop.restart(&[]).await;
    let again = shop.until("they are found again", "/proof", ended).await;
    assert_eq!(again["lost"], proof["lost"]);
}

#[tokio::test]
async fn two_charges_under_two_keys_show_as_charged_twice() {
    let shop = Shop::with_faults("charge-twice").await;
    place(&shop, 10, "tea-sylhet").await;
    let proof = shop.until("they are found", "/proof", |proof| proof["chargedTwice"] == 10).await;
    assert_eq!((number(&proof, "charges"), proof["ok"] == false), (20, true), "{proof}");
}

#[tokio::test]
async fn stock_that_was_not_there_shows_as_oversold() {
    let shop = Shop::with_faults("oversell").await;
    place(&shop, 13, "muslin-scarf").await;
    let proof = shop.until("it is found", "/proof", |proof| proof["oversold"] == 3).await;
    assert_eq!((number(&proof, "sold"), proof["ok"] == false), (13, true), "{proof}");
}
