//! An order's life, and what it leaves in every service.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{Shop, assert_sound, number, order, text};

#[tokio::test]
async fn an_order_goes_through_all_five_services() {
    let shop = Shop::start().await;
    let body = json!({ "userId": "user_456", "email": "jo@example.org",
        "items": [{ "sku": "tea-sylhet", "quantity": 2 }, { "sku": "mug-dhaka", "quantity": 1 }] });
    let taken = shop.post("/orders", &body).await;
    assert_eq!(taken.status, StatusCode::CREATED, "{}", taken.body);
    assert_eq!(
        (&taken.body["status"], &taken.body["totalAmount"]),
        (&json!("pending"), &json!(128_000))
    );
    let (id, token) = (text(&taken.body, "orderId"), text(&taken.body, "token"));
    assert_eq!(taken.headers["location"], format!("/orders/{id}"));

    let ended = shop.ended(&id).await;
    assert_eq!((&ended["status"], &ended["userId"]), (&json!("confirmed"), &json!("user_456")));
    assert_eq!(ended["items"][1]["name"], "Mug \"I <3 Dhaka\"");
    let history = ended["history"].as_array().unwrap();
    let steps: Vec<_> = history.iter().map(|step| text(step, "eventType")).collect();
    assert_eq!((steps[0].as_str(), steps[3].as_str()), ("OrderCreated", "OrderConfirmed"));
    let mut answers = steps[1..3].to_vec();
    answers.sort();
    assert_eq!(answers, ["PaymentCompleted", "StockReserved"]);

    let analytics = shop.get(&format!("/analytics?token={token}")).await;
    assert_eq!(analytics["orders"]["created"], 1);
    let proof = shop.settled(1).await;
    assert_sound(&proof);
    assert_eq!((number(&proof, "sold"), number(&proof, "mails")), (3, 1));
    let analytics = shop.get("/analytics").await;
    assert_eq!(
        (&analytics["revenue"], &analytics["orders"]["confirmed"]),
        (&json!(128_000), &json!(1))
    );
    assert_eq!(analytics["byProduct"][0]["sku"], "tea-sylhet");
    assert_eq!(analytics["byMinute"].as_array().unwrap().len(), 1);
    let mails = std::fs::read_dir(shop.data().join("mail")).unwrap();
    let mail = std::fs::read_to_string(mails.last().unwrap().unwrap().path()).unwrap();
    assert!(
        mail.contains("To: user_456 <jo@example.org>") && mail.contains("is confirmed"),
        "{mail}"
    );
}

#[tokio::test]
async fn a_read_with_the_token_shows_the_order_at_once_every_time() {
    let shop = Shop::start().await;
    for n in 1..=100 {
        let taken = shop.post("/orders", &order("user_1", "tea-sylhet", 1)).await;
        let token = text(&taken.body, "token");
        let answer =
            shop.ask(Method::GET, "/analytics", &[("consistency-token", &token)], b"").await;
        assert_eq!(answer.body["orders"]["created"], n, "{}", answer.body);
    }
}

#[tokio::test]
async fn the_same_key_is_the_same_order_also_after_a_restart() {
    let mut shop = Shop::start().await;
    let key = [("idempotency-key", "cart-7")];
    let body = order("user_1", "tea-sylhet", 2);
    let many = (0..8).map(|_| shop.post_with("/orders", &key, &body));
    let answers = futures_util::future::join_all(many).await;
    let first = &answers[0];
    let same = |one: &Value, other: &Value| {
        ["orderId", "token", "totalAmount"].iter().all(|name| one[*name] == other[*name])
    };
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::CREATED);
        assert!(same(&answer.body, &first.body), "{} {}", answer.body, first.body);
    }
    shop.ended(&text(&first.body, "orderId")).await;
    let later = shop.post_with("/orders", &key, &body).await;
    assert_eq!(
        (same(&later.body, &first.body), &later.body["status"]),
        (true, &json!("confirmed"))
    );
    shop.terminate().await;
    shop.restart(&[]).await;
    let again = shop.post_with("/orders", &key, &body).await;
    assert_eq!((again.status, &again.body), (StatusCode::CREATED, &later.body));
    let other = shop.post_with("/orders", &key, &order("user_1", "tea-sylhet", 3)).await;
    assert_eq!(
        (other.status, &other.body["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("Idempotency-Key"))
    );
    let proof = shop.settled(1).await;
    assert_sound(&proof);
    assert_eq!((number(&proof, "accepted"), number(&proof, "charges")), (1, 1));
}

#[tokio::test]
async fn what_is_for_sale_is_in_stock() {
    let shop = Shop::start().await;
    let (products, stock) = (shop.get("/products").await, shop.get("/inventory").await);
    let skus = |value: &Value, list: &str| {
        let mut skus: Vec<_> =
            value[list].as_array().unwrap().iter().map(|row| text(row, "sku")).collect();
        skus.sort();
        skus
    };
    assert_eq!(skus(&products, "products"), skus(&stock, "items"));
    for product in products["products"].as_array().unwrap() {
        assert!(number(product, "price") > 0 && !text(product, "icon").is_empty(), "{product}");
    }
}

#[tokio::test]
async fn a_repeated_key_tells_how_the_order_stands_and_why() {
    let shop = Shop::start().await;
    let key = [("idempotency-key", "cart-8")];
    let body = order("user_broke", "tea-sylhet", 1);
    let first = shop.post_with("/orders", &key, &body).await;
    assert_eq!(first.body["status"], "pending");
    let ended = shop.ended(&text(&first.body, "orderId")).await;
    let again = shop.post_with("/orders", &key, &body).await;
    assert_eq!(again.body["status"], "rejected");
    assert_eq!(again.body["reason"], ended["reason"]);
}
