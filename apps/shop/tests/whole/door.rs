//! Connections that take long, too many of them, and how the shop closes all the same.

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;
use tokio::net::TcpStream;

use super::support::{Shop, assert_sound, eventually, status_on};

const SLOW_BODY: &str = "POST /orders HTTP/1.1\r\nhost: shop\r\ncontent-length: 100\r\n\
                         content-type: application/json\r\n\r\n{";
const EVENTS: &str = "GET /events HTTP/1.1\r\nhost: shop\r\n\r\n";

#[tokio::test]
async fn it_ends_in_time_whatever_clients_do() {
    let mut shop = Shop::start().await;
    let _slow = shop.connect(SLOW_BODY).await;
    let _head = shop.connect("GET / HT").await;
    let _deaf = shop.connect(&EVENTS.repeat(50)).await;
    let id = shop.order("user_1", "tea-sylhet", 1).await;
    shop.ended(&id).await;
    let began = Instant::now();
    shop.terminate().await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    shop.restart(&[]).await;
    assert_sound(&shop.settled(1).await);
}

#[tokio::test]
async fn told_twice_it_ends_at_once_and_says_so() {
    let mut shop = Shop::start().await;
    let _slow = shop.connect(SLOW_BODY).await;
    shop.tell_to_end().await;
    eventually("the door closes", async || TcpStream::connect(shop.address()).await.is_err()).await;
    let began = Instant::now();
    shop.tell_to_end().await;
    let status = shop.end().await;
    assert_eq!(status.code(), Some(130), "{}", shop.said());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn more_listeners_than_there_is_room_for_do_not_starve_the_shop() {
    let shop = Shop::with_descriptors(320).await;
    let mut streams = Vec::new();
    for _ in 0..400 {
        streams.push(shop.connect(EVENTS).await);
    }
    let mut heard = 0;
    for stream in &mut streams {
        match status_on(stream).await {
            200 => heard += 1,
            other => assert_eq!(other, 503),
        }
    }
    assert_eq!(heard, 32, "half of the 64 that are not kept for the shop itself");
    for n in 0..20 {
        shop.order(&format!("user_{n}"), "tea-sylhet", 1).await;
    }
    assert_sound(&shop.settled(20).await);
    assert_eq!(shop.get("/health").await["status"], "ok");
    drop(streams);
    eventually("there is room again", async || {
        shop.send(Method::GET, "/events", &[], b"").await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn an_ordinary_day_leaves_nothing_on_the_standard_error() {
    let mut shop = Shop::start().await;
    shop.stop_service("payment").await;
    let id = shop.order("user_1", "tea-sylhet", 1).await;
    shop.start_service("payment").await;
    shop.ended(&id).await;
    shop.bank(json!({ "mode": "slow", "slowMs": 50 })).await;
    let id = shop.order("user_broke", "tea-sylhet", 1).await;
    shop.ended(&id).await;
    shop.terminate().await;
    shop.restart(&[]).await;
    shop.settled(2).await;
    shop.terminate().await;
    assert_eq!(shop.said(), "");
}

#[tokio::test]
async fn what_goes_wrong_is_told_on_the_standard_error_a_line_for_each() {
    let shop = Shop::start().await;
    shop.bank(json!({ "mode": "down" })).await;
    shop.order("user_1", "tea-sylhet", 1).await;
    eventually("it is told", async || shop.said().contains("the bank is down")).await;
    for line in shop.said().lines() {
        assert!(line.starts_with("20") && line.contains(" WARN "), "{line}");
    }
}
