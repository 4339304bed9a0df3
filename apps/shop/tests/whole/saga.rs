//! What ends otherwise than hoped, and is undone.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::support::{Shop, assert_sound, count, number, text};

fn available(inventory: &Value, sku: &str) -> i64 {
    let items = inventory["items"].as_array().unwrap();
    number(items.iter().find(|item| item["sku"] == sku).unwrap(), "available")
}

fn types(order: &Value) -> HashSet<String> {
    order["history"].as_array().unwrap().iter().map(|step| text(step, "eventType")).collect()
}

fn mail_about(shop: &Shop, order_id: &str) -> String {
    let mails = std::fs::read_dir(shop.data().join("mail")).unwrap();
    let texts = mails.map(|mail| std::fs::read_to_string(mail.unwrap().path()).unwrap());
    texts.map(|text| text.replace("=\r\n", "")).find(|text| text.contains(order_id)).unwrap()
}

#[tokio::test]
async fn stock_is_released_when_the_bank_says_no() {
    let shop = Shop::start().await;
    let before = available(&shop.get("/inventory").await, "tea-sylhet");
    let id = shop.order("user_broke", "tea-sylhet", 3).await;
    let order = shop.ended(&id).await;
    assert_eq!(order["status"], "rejected");
    assert!(text(&order, "reason").contains("insufficient funds"), "{order}");
    let path = format!("/orders/{id}");
    shop.until("the release is heard of", &path, |o| types(o).contains("StockReleased")).await;
    let proof = shop.settled(1).await;
    assert_sound(&proof);
    assert_eq!((number(&proof, "charges"), number(&proof, "sold")), (0, 0));
    assert_eq!(available(&shop.get("/inventory").await, "tea-sylhet"), before);
    let mail = mail_about(&shop, &id);
    assert!(mail.contains("insufficient funds") && mail.contains("not charged"), "{mail}");
}

#[tokio::test]
async fn money_goes_back_when_stock_is_missing() {
    let shop = Shop::start().await;
    let body = json!({ "userId": "u", "items": [
        { "sku": "tea-sylhet", "quantity": 1 }, { "sku": "muslin-scarf", "quantity": 2 }] });
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(text(&shop.post("/orders", &body).await.body, "orderId"));
    }
    let mut rejected = Vec::new();
    for id in &ids {
        let order = shop.ended(id).await;
        if order["status"] == "rejected" {
            assert!(text(&order, "reason").contains("muslin-scarf"), "{order}");
            rejected.push(id);
        }
    }
    assert_eq!(rejected.len(), 1, "five times two of ten are there");
    let path = format!("/orders/{}", rejected[0]);
    shop.until("the refund is heard of", &path, |o| types(o).contains("PaymentRefunded")).await;
    let proof = shop.settled(6).await;
    assert_sound(&proof);
    assert_eq!((number(&proof, "charges"), number(&proof, "refunds")), (6, 1));
    assert_eq!(number(&proof, "sold"), 15);
    let mail = mail_about(&shop, rejected[0]);
    assert!(mail.contains("on their way back"), "{mail}");
}

#[tokio::test]
async fn a_thousand_orders_race_for_ten_scarves() {
    for _ in 0..count("DHARA_RACES", 1) {
        let shop = Shop::start().await;
        let orders = (0..1000).map(|n| {
            let shop = &shop;
            async move { shop.order(&format!("user_{n}"), "muslin-scarf", 1).await }
        });
        futures_util::future::join_all(orders).await;
        let proof = shop.settled(1000).await;
        assert_sound(&proof);
        assert_eq!((number(&proof, "confirmed"), number(&proof, "rejected")), (10, 990));
        assert_eq!((number(&proof, "sold"), number(&proof, "refunds")), (10, 990));
        assert_eq!(available(&shop.get("/inventory").await, "muslin-scarf"), 0);
    }
}
