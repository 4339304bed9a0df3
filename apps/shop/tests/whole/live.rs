//! The stream of events.

use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;

use super::support::{Shop, text};

/// Reads messages until `enough`; gives for each its kind, its id and its data.
async fn read(
    shop: &Shop,
    cursor: Option<&str>,
    enough: impl Fn(&[(String, String, Value)]) -> bool,
) -> Vec<(String, String, Value)> {
    let headers: Vec<_> = cursor.map(|cursor| ("last-event-id", cursor)).into_iter().collect();
    let response = shop.send(Method::GET, "/events", &headers, b"").await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let (mut rest, mut messages) = (String::new(), Vec::new());
    let reading = async {
        while !enough(&messages) {
            let frame = body.frame().await.expect("the stream goes on").unwrap();
            rest.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
            while let Some((message, after)) = rest.split_once("\n\n") {
                let field = |name: &str| {
                    let line = message.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or("").to_owned()
                };
                let data = serde_json::from_str(&field("data: ")).unwrap_or(Value::Null);
                messages.push((field("event: "), field("id: "), data));
                rest = after.to_owned();
            }
        }
    };
    let limit = std::time::Duration::from_secs(30);
    tokio::time::timeout(limit, reading).await.expect("the messages come");
    messages
}

fn events(messages: &[(String, String, Value)]) -> Vec<String> {
    let events = messages.iter().filter(|(kind, ..)| kind == "event");
    events.map(|(_, _, data)| text(&data["event"], "eventId")).collect()
}

#[tokio::test]
async fn a_client_sees_an_orders_events_and_goes_on_where_it_was() {
    let mut shop = Shop::start().await;
    let id = shop.order("user_1", "tea-sylhet", 1).await;
    shop.ended(&id).await;
    let all = |seen: &[(String, String, Value)]| events(seen).len() == 5;
    let first =
        read(&shop, None, |seen| all(seen) && seen.iter().any(|(k, ..)| k == "status")).await;
    let created = &first.iter().find(|(kind, ..)| kind == "event").unwrap().2;
    assert_eq!((&created["topic"], &created["key"]), (&"orders".into(), &id.clone().into()));
    assert_eq!(created["event"]["eventType"], "OrderCreated");
    let health = &first.iter().find(|(kind, ..)| kind == "status").unwrap().2;
    assert_eq!(health["services"].as_array().unwrap().len(), 5);

    let third = &first.iter().filter(|(kind, ..)| kind == "event").nth(2).unwrap().1;
    let rest = read(&shop, Some(third), |seen| events(seen).len() == 2).await;
    assert_eq!(events(&rest), events(&first)[3..]);

    let last = first.iter().rfind(|(kind, ..)| kind == "event").unwrap().1.clone();
    shop.terminate().await;
    shop.restart(&[]).await;
    let id = shop.order("user_1", "tea-sylhet", 1).await;
    let next = read(&shop, Some(&last), all).await;
    let keys =
        next.iter().filter(|(kind, ..)| kind == "event").map(|(_, _, data)| text(data, "key"));
    assert!(keys.eq(std::iter::repeat_n(id, 5)), "only what is new: {next:?}");
}
