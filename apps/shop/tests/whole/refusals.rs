//! What the shop refuses, and how it says so.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{Answer, Shop, number, status_on};

fn assert_problem(what: &str, answer: &Answer, status: u16, field: Option<&str>) {
    let Answer { headers, body, .. } = answer;
    assert_eq!(answer.status.as_u16(), status, "{what}: {body}");
    assert_eq!(headers["content-type"], "application/problem+json", "{what}");
    assert_eq!((&body["status"], body["type"].is_string()), (&json!(status), true), "{what}");
    assert!(body["title"].is_string() && body["detail"].is_string(), "{what}: {body}");
    let named = body.get("field").and_then(Value::as_str);
    assert_eq!(named, field, "{what}: {body}");
}

#[tokio::test]
async fn every_refusal_names_the_member_that_is_wrong() {
    let shop = Shop::start().await;
    let item = |sku: Value, quantity: Value| json!({ "userId": "u", "items": [{ "sku": sku, "quantity": quantity }] });
    let sku = || json!("tea-sylhet");
    let with = |user: &str, email: &str| json!({ "userId": user, "email": email, "items": [{ "sku": "tea-sylhet", "quantity": 1 }] });
    let lines = vec![json!({ "sku": "tea-sylhet", "quantity": 1 }); 51];
    let quantity = Some("items[0].quantity");
    for (body, field) in [
        (item(json!("unicorn"), json!(1)), Some("items[0].sku")),
        (item(json!("<b>"), json!(1)), Some("items[0].sku")),
        (item(json!(7), json!(1)), Some("items[0].sku")),
        (item(sku(), json!(0)), quantity),
        (item(sku(), json!(-1)), quantity),
        (item(sku(), json!(1.5)), quantity),
        (item(sku(), json!(1_000_000_000)), quantity),
        (item(sku(), json!(u64::MAX)), quantity),
        (item(sku(), json!("2")), quantity),
        (item(sku(), Value::Null), quantity),
        (json!({ "userId": "u", "items": [{ "sku": "tea-sylhet" }] }), quantity),
        (json!({ "userId": "u", "items": [{ "quantity": 1 }] }), Some("items[0].sku")),
        (json!({ "userId": "u", "items": [7] }), Some("items[0]")),
        (json!({ "userId": "u", "items": [] }), Some("items")),
        (json!({ "userId": "u", "items": {} }), Some("items")),
        (json!({ "userId": "u", "items": lines }), Some("items")),
        (json!({ "userId": "u" }), Some("items")),
        (json!({ "items": [{ "sku": "tea-sylhet", "quantity": 1 }] }), Some("userId")),
        (json!({ "userId": 7, "items": [{ "sku": "tea-sylhet", "quantity": 1 }] }), Some("userId")),
        (
            json!({ "userId": "", "items": [{ "sku": "tea-sylhet", "quantity": 1 }] }),
            Some("userId"),
        ),
        (
            json!({ "userId": "u", "email": "x\r\nBcc: a@b.c", "items": [{ "sku": "tea-sylhet", "quantity": 1 }] }),
            Some("email"),
        ),
        (with("jo", "\"a b\"@x.com"), Some("email")),
        (with("jo", "a@[1.2.3.4]"), Some("email")),
        (with("jo\nBcc: a@b.c", "jo@example.org"), Some("userId")),
        (with("jo\0", "jo@example.org"), Some("userId")),
        (with("jo\u{9b}", "jo@example.org"), Some("userId")),
        (json!([]), None),
    ] {
        let answer = shop.post("/orders", &body).await;
        assert_problem(&body.to_string(), &answer, 422, field);
    }
    assert_eq!(number(&shop.get("/proof").await, "accepted"), 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let shop = Shop::start().await;
    let json_type = [("content-type", "application/json")];
    let post = |headers: &'static [(&str, &str)], body: Vec<u8>| {
        let shop = &shop;
        async move { shop.ask(Method::POST, "/orders", headers, &body).await }
    };
    let send =
        |body: &str| post(&[("content-type", "application/json; charset=utf-8")], body.into());
    assert_problem("cut off", &send("{\"userId\":").await, 400, None);
    assert_problem(
        "no UTF-8",
        &post(&[("content-type", "application/json")], b"{\"userId\":\"\xff\"}".to_vec()).await,
        400,
        None,
    );
    assert_problem("deep", &send(&"[".repeat(10_000)).await, 400, None);
    assert_problem("large", &send(&"x".repeat(70_000)).await, 413, None);
    let form = post(&[("content-type", "application/x-www-form-urlencoded")], b"a=b".to_vec());
    assert_problem("a form", &form.await, 415, Some("Content-Type"));
    let bare = post(&[], b"{}".to_vec());
    assert_problem("no type", &bare.await, 415, Some("Content-Type"));
    let chunked = "POST /orders HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n5\r\n{\"use\r\nno length\r\n";
    assert_eq!(status_on(&mut shop.connect(chunked).await).await, 400, "broken chunks");
    let long = "k".repeat(256);
    let keyed = [json_type[0], ("idempotency-key", long.as_str())];
    let answer = shop.ask(Method::POST, "/orders", &keyed, b"{}").await;
    assert_problem("a long key", &answer, 400, Some("Idempotency-Key"));
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let shop = Shop::start().await;
    for path in ["/orders/order_1", "/nowhere", "/orders/%3Cscript%3E"] {
        assert_problem(path, &shop.ask(Method::GET, path, &[], b"").await, 404, None);
    }
    assert_problem("a service", &shop.post("/services/sales/stop", &json!({})).await, 404, None);
    assert_problem("a method", &shop.ask(Method::DELETE, "/orders", &[], b"").await, 405, None);
    assert_problem(
        "a mode",
        &shop.post("/bank", &json!({ "mode": "angry" })).await,
        422,
        Some("mode"),
    );
    let rate = json!({ "mode": "failing", "failRate": 2.0 });
    assert_problem("a rate", &shop.post("/bank", &rate).await, 422, Some("failRate"));
    let token = shop.ask(Method::GET, "/analytics?token=", &[], b"").await;
    assert_problem("a token", &token, 400, Some("token"));
    let token = shop.ask(Method::GET, "/analytics?token=nonsense", &[], b"").await;
    assert_problem("another token", &token, 400, Some("token"));
    let twice = shop.ask(Method::GET, "/analytics?token=a&token=b", &[], b"").await;
    assert_problem("two tokens", &twice, 400, None);
    let path = shop.ask(Method::GET, "/orders/%ff", &[], b"").await;
    assert_problem("a path", &path, 400, None);
    let path = shop.post("/services/%ff/stop", &json!({})).await;
    assert_problem("a service's path", &path, 400, None);
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let shop = Shop::start().await;
    for foreign in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        for path in ["/services/payment/stop", "/bank", "/orders"] {
            let answer = shop.post_with(path, &[foreign], &json!({ "mode": "down" })).await;
            assert_problem(path, &answer, 403, None);
        }
    }
    // The bank's process may still be starting.
    let up = |health: &Value| health["bank"]["state"] == "up";
    let health = shop.until("the bank is up", "/health", up).await;
    assert_eq!(health["services"][4]["state"], "running");
    let origin = format!("http://{}", shop.address());
    let own = shop.post_with("/services/payment/stop", &[("origin", &origin)], &json!({})).await;
    assert_eq!(own.status, StatusCode::OK);
}
