//! Bodies that are broken in every way we know: each is an error that names member and reason, and
//! the event where its id can be found; none is a panic, a full stack or much memory.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test's helpers may fail it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhara::broker::{Headers, Topic};
use dhara::world::{Random, World};
use dhara::{DecodeError, Encoder, Envelope, Event, Limits, Origin};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(topic = "orders", key = order_id)]
#[serde(rename_all = "camelCase")]
struct OrderCreated {
    order_id: String,
    items: Vec<Item>,
    total_amount: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    sku: String,
    quantity: u8,
}

const DATA: &str =
    r#"{"orderId":"order_789","items":[{"sku":"tea","quantity":2}],"totalAmount":1500}"#;

/// An envelope in Dhara's own order, with `data` as it is given.
fn own(data: &str) -> String {
    format!(
        r#"{{"eventId":"evt_12345","eventType":"OrderCreated","timestamp":"2026-11-22T10:30:00Z","source":"order-service","data":{data}}}"#
    )
}

/// The envelope of `own` with one of its texts replaced.
fn with(from: &str, to: &str) -> String {
    let body = own(DATA);
    assert!(body.contains(from), "{from}");
    body.replacen(from, to, 1)
}

fn decode(body: &[u8]) -> Result<OrderCreated, DecodeError> {
    Envelope::parse(body)?.data()
}

fn error(body: &[u8]) -> DecodeError {
    decode(body).expect_err(&String::from_utf8_lossy(&body[..body.len().min(300)]))
}

#[track_caller]
fn assert_error(body: &str, member: &str, reason: &str) -> DecodeError {
    let error = error(body.as_bytes());
    assert_eq!(error.member_name().unwrap_or(""), member, "{error}");
    assert!(error.reason().contains(reason), "{error}");
    assert!(error.to_string().contains(member), "{error}");
    error
}

#[track_caller]
fn assert_names_event(error: &DecodeError) {
    let id = error.event_id().map(ToString::to_string);
    assert_eq!(id.as_deref(), Some("evt_12345"), "{error}");
}

#[test]
fn members_of_the_wrong_type_and_value_are_named_with_the_event() {
    let cases = [
        (r#""eventType":"OrderCreated""#, r#""eventType":7"#, "eventType", "is a number"),
        (r#""eventType":"OrderCreated""#, r#""eventType":"""#, "eventType", "is empty"),
        (r#""eventType":"OrderCreated""#, r#""eventType":null"#, "eventType", "is missing"),
        (r#""source":"order-service""#, r#""source":["a"]"#, "source", "is an array"),
        (r#""source":"order-service""#, r#""source":true"#, "source", "is a boolean"),
        (r#""source":"order-service""#, r#""source":"a\u0000b""#, "source", "NUL"),
        (r#""timestamp":"2026-11-22T10:30:00Z""#, r#""timestamp":{}"#, "timestamp", "an object"),
        ("2026-11-22T10:30:00Z", "yesterday", "timestamp", "RFC 3339"),
        ("2026-11-22T10:30:00Z", "2026-02-30T10:30:00Z", "timestamp", "calendar"),
        (r#""source""#, r#""version":0,"source""#, "version", "from 1"),
        (r#""source""#, r#""version":-1,"source""#, "version", "from 1"),
        (r#""source""#, r#""version":1.5,"source""#, "version", "from 1"),
        (r#""source""#, r#""version":4294967296,"source""#, "version", "from 1 to 4294967295"),
        (r#""source""#, r#""correlationId":5,"source""#, "correlationId", "is a number"),
        (r#""source""#, r#""causationId":"a\u0000","source""#, "causationId", "NUL"),
        (r#""source""#, r#""subject":"\ud800","source""#, "subject", "surrogate"),
        (r#""source""#, r#""source":"a","source""#, "source", "given twice"),
        (r#""source""#, r#""other":1,"other":2,"source""#, "other", "given twice"),
        (r#""source""#, r#""other":1e,"source""#, "other", "number"),
        (r#""source""#, r#""other":nul,"source""#, "other", "is wrong"),
        (r#""quantity":2"#, r#""quantity":256"#, "data.items[0].quantity", "`256`, expected u8"),
        (r#""quantity":2"#, r#""quantity":-1"#, "data.items[0].quantity", "`-1`, expected u8"),
        (r#""quantity":2"#, r#""quantity":"2""#, "data.items[0].quantity", "expected u8"),
        (r#""quantity":2"#, r#""quantity":1e400"#, "data.items[0].quantity", "out of range"),
        (r#""sku":"tea""#, r#""sku":{"a":1}"#, "data.items[0].sku", "expected a string"),
        (r#""sku":"tea""#, r#""sku":"\ud800""#, "data.items[0].sku", "surrogate"),
        (r#""sku":"tea""#, r#""sku":"\udc00\ud800""#, "data.items[0].sku", "surrogate"),
        (r#""sku":"tea","#, "", "data.items[0]", "missing field `sku`"),
        (r#""sku":"tea""#, r#""sku":"a","sku":"b""#, "data.items[0]", "duplicate field `sku`"),
        (r#""totalAmount":1500"#, r#""totalAmount":99999999999999999999"#, "data.totalAmount", ""),
        (r#","totalAmount":1500"#, "", "data", "missing field `totalAmount`"),
        (DATA, "null", "data", "expected struct OrderCreated"),
        (DATA, "[1,2]", "data[0]", "expected a string"),
        (r#","data":"#, r#","extra":"#, "data", "is missing"),
    ];
    for (from, to, member, reason) in cases {
        let error = assert_error(&with(from, to), member, reason);
        assert_names_event(&error);
    }
}

#[test]
fn an_id_that_is_bad_itself_cannot_be_named_but_the_member_is() {
    for (to, reason) in [
        (r#""eventId":7"#, "is a number"),
        (r#""eventId":"""#, "is empty"),
        (r#""eventId":"a\u0000""#, "NUL"),
        (r#""eventId":null"#, "is missing"),
        (r#""eventId":"\ud834""#, "surrogate"),
        (r#""event":"evt_12345""#, "is missing"),
    ] {
        let error = assert_error(&with(r#""eventId":"evt_12345""#, to), "eventId", reason);
        assert_eq!(error.event_id(), None, "{error}");
    }
}

#[test]
fn the_id_is_found_behind_the_member_that_is_bad() {
    let body = r#"{"timestamp":5,"data":{"eventId":"no"},"eventId":"evt_12345"}"#;
    assert_names_event(&assert_error(body, "timestamp", "is a number"));
    let cloud = r#"{"specversion":"1.0","time":"then","data":{"id":"no"},"id":"evt_12345"}"#;
    assert_names_event(&assert_error(cloud, "time", "RFC 3339"));
}

#[test]
fn a_body_cut_off_anywhere_is_an_error_with_the_id_once_it_was_there() {
    let spaced =
        own(DATA).replace(',', " ,\n ").replace(':', " : ").replace("10 : 30 : 00", "10:30:00");
    for body in [own(DATA), spaced] {
        decode(body.as_bytes()).unwrap();
        let id_ends = body.find("evt_12345").unwrap() + "evt_12345\"".len();
        for end in 0..body.len() {
            let error = error(&body.as_bytes()[..end]);
            assert_eq!(error.event_id().is_some(), end >= id_ends, "{end}: {error}");
        }
    }
}

#[test]
fn what_follows_the_body_is_an_error() {
    for tail in ["}", "]", "x", "{}", "\0", ",", "\"a\":1}"] {
        let error = error((own(DATA) + tail).as_bytes());
        assert_names_event(&error);
    }
    assert_eq!(decode((own(DATA) + " \r\n\t").as_bytes()).unwrap().total_amount, 1500);
}

#[test]
fn what_is_no_object_is_an_error() {
    for body in [
        "",
        " ",
        "null",
        "[]",
        "7",
        "\"a\"",
        "{",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{,}",
        "\u{feff}{}",
        "{}",
    ] {
        let error = error(body.as_bytes());
        assert_eq!(error.event_id(), None, "{error}");
    }
}

#[test]
fn bytes_that_are_no_utf8_are_told_with_their_place() {
    let mut body = own(DATA).into_bytes();
    let place = own(DATA).find("tea").unwrap();
    body[place + 1] = 0xff;
    let error = error(&body);
    assert!(error.reason().contains(&format!("not UTF-8 at byte {}", place + 1)), "{error}");
    assert_names_event(&error);
}

#[test]
fn raw_nul_bytes_are_an_error_wherever_they_stand() {
    let body = own(DATA);
    for place in 0..=body.len() {
        let mut bytes = body.clone().into_bytes();
        bytes.insert(place, 0);
        error(&bytes);
    }
}

/// 10,000 levels of one bracket or another.
fn deep(open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(10_000), close.repeat(10_000))
}

#[test]
fn ten_thousand_levels_are_refused_wherever_they_are() {
    for nest in [deep("[", "]"), deep(r#"{"a":"#, "}"), deep(r#"[{"a":"#, "}]"), "[".repeat(10_000)]
    {
        let bodies = [
            nest.clone(),
            own(&nest),
            with(r#""totalAmount""#, &format!(r#""ignored":{nest},"totalAmount""#)),
            with(r#""source""#, &format!(r#""unknown":{nest},"source""#)),
            with(r#""source""#, &format!(r#""version":{nest},"source""#)),
            with(r#""order-service""#, &nest),
        ];
        for body in bodies {
            let error = error(body.as_bytes());
            assert!(error.reason().contains("deeper than 128"), "{error}");
            assert_eq!(error.event_id().is_some(), body.contains("evt_12345"), "{error}");
        }
    }
}

#[test]
fn the_last_level_that_is_allowed_reads() {
    for (levels, fits) in [(126, true), (127, false)] {
        let nest = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let body = with(r#""totalAmount""#, &format!(r#""ignored":{nest},"totalAmount""#));
        assert_eq!(decode(body.as_bytes()).is_ok(), fits, "{levels}");
    }
    let brackets = "[{".repeat(1000);
    let body = with(r#""tea""#, &format!("{brackets:?}"));
    assert_eq!(
        decode(body.as_bytes()).unwrap().items[0].sku,
        brackets,
        "in a string they are text"
    );
}

#[test]
fn fifty_megabytes_are_refused_unless_the_limit_allows_them() {
    let body = with("tea", &"x".repeat(50_000_000));
    let error = error(body.as_bytes());
    assert!(error.reason().contains("bytes, which is over the limit of 16777216"), "{error}");
    assert_names_event(&error);
    let limits = Limits { max_bytes: 64 << 20, ..Limits::default() };
    let envelope = Envelope::parse_within(body.as_bytes(), &limits).unwrap();
    assert_eq!(envelope.data::<OrderCreated>().unwrap().items[0].sku.len(), 50_000_000);
}

#[test]
fn more_unknown_members_than_are_kept_are_refused() {
    let members = |count: usize| (0..count).map(|n| format!(r#""m{n}":{n},"#)).collect::<String>();
    let body = |count| with(r#""source""#, &format!(r#"{}"source""#, members(count)));
    assert_eq!(Envelope::parse(body(256).as_bytes()).unwrap().extra.len(), 256);
    assert_names_event(&assert_error(&body(257), "m256", "more than 256"));
    assert_error(&body(500_000), "m256", "more than 256");
}

#[test]
fn where_the_body_was_found_stands_in_the_error() {
    let error =
        error(with("2026-11-22T10:30:00Z", "then").as_bytes()).at(&Topic::from("orders"), 3, 17);
    let text = error.to_string();
    assert_eq!(error.place(), Some((&Topic::from("orders"), 3, 17)));
    assert_eq!(
        text,
        "event evt_12345 at orders/3 offset 17 cannot be read: member `timestamp` is no RFC 3339 \
         timestamp such as 2026-11-22T10:30:00Z"
    );
}

#[test]
fn an_event_over_the_limit_is_not_encoded_and_the_next_one_is() {
    let mut encoder = Encoder::new(World::real()).max_bytes(1000);
    let origin = Origin { source: "order", ..Origin::default() };
    let mut order = OrderCreated { order_id: "x".repeat(900), items: vec![], total_amount: 0 };
    let error = encoder.encode(&order, &origin).unwrap_err().to_string();
    assert!(error.contains("event OrderCreated has 1"), "{error}");
    assert!(error.contains("over the limit of 1000"), "{error}");
    order.order_id.clear();
    encoder.encode(&order, &origin).unwrap();
}

type Changes<'a> = &'a [(&'a str, &'a [u8])];

fn cloud_headers(changes: Changes<'_>) -> Headers {
    let mut headers: Vec<(&str, &[u8])> = vec![
        ("ce_specversion", b"1.0"),
        ("ce_id", b"evt_12345"),
        ("ce_type", b"OrderCreated"),
        ("ce_source", b"order-service"),
    ];
    headers.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    headers.extend(changes);
    let copy = |(name, value): (&str, &[u8])| (Arc::from(name), Bytes::copy_from_slice(value));
    headers.into_iter().map(copy).collect()
}

#[test]
fn bad_binary_cloud_events_are_told_as_well() {
    let read = |headers: &Headers, body: &[u8]| {
        let envelope = Envelope::parse_message(headers, body, &Limits::default())?;
        envelope.data::<OrderCreated>()
    };
    assert_eq!(read(&cloud_headers(&[]), DATA.as_bytes()).unwrap().total_amount, 1500);
    let cases: [(Changes<'_>, &str, &str); 6] = [
        (&[("ce_specversion", b"0.3")], "specversion", "only CloudEvents 1.0"),
        (&[("ce_type", b"")], "type", "is empty"),
        (&[("ce_time", b"now")], "time", "RFC 3339"),
        (&[("ce_subject", b"\xff")], "subject", "not UTF-8"),
        (&[("ce_eventversion", b"two")], "eventversion", "from 1"),
        (&[("ce_traceparent", b"a"), ("ce_traceparent", b"b")], "traceparent", "given twice"),
    ];
    for (changes, member, reason) in cases {
        let error = read(&cloud_headers(changes), DATA.as_bytes()).unwrap_err();
        assert_eq!(error.member_name(), Some(member), "{error}");
        assert!(error.reason().contains(reason), "{error}");
        assert_names_event(&error);
    }
    for body in [&b"{"[..], b"", b"\xff", deep("[", "]").as_bytes()] {
        assert_names_event(&read(&cloud_headers(&[]), body).unwrap_err());
    }
}

/// Bodies of each format with some bytes changed, cut out, doubled or moved, for a while. Whatever
/// still reads is written as something that reads.
#[test]
fn bodies_damaged_at_random_read_or_are_an_error() {
    let seconds = std::env::var("DHARA_FUZZ_SECONDS").map_or(2, |text| text.parse().unwrap());
    let random = Random::from_seed(11);
    let extra = with(r#""source""#, r#""version":2,"other":[1.5e3,"\u00e9"],"source""#);
    let mut cloud = Vec::new();
    Envelope::parse(extra.as_bytes()).unwrap().write_cloud_event(&mut cloud);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) {
        for whole in [own(DATA).as_bytes(), extra.as_bytes(), &cloud] {
            let body = damaged(whole, &random);
            let Ok(envelope) = Envelope::parse(&body) else { continue };
            let _ = envelope.data::<OrderCreated>();
            let (mut native, mut cloud) = (Vec::new(), Vec::new());
            if envelope.raw_data().is_ok() {
                envelope.write(&mut native);
                envelope.write_cloud_event(&mut cloud);
                for again in [&native, &cloud] {
                    let read = Envelope::parse(again).map(|read| read.id.to_string());
                    assert_eq!(read.unwrap(), envelope.id.to_string(), "{}", body.escape_ascii());
                }
            }
        }
    }
}

fn damaged(body: &[u8], random: &Random) -> Vec<u8> {
    let mut body = body.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(body.len() as u64 + 1) as usize;
        let end = body.len().min(at + random.below(12) as usize);
        let piece = body[at..end].to_vec();
        match random.below(4) {
            0 => drop(body.splice(at..end, [])),
            1 => drop(body.splice(at..at, piece)),
            2 => drop(body.splice(at..end, piece.into_iter().rev())),
            _ => body.insert(at, random.next_u64() as u8),
        }
    }
    body
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&body);
    }

    #[test]
    fn no_json_like_bytes_make_it_panic(
        body in r#"(\{|\}|\[|\]|,|:|"|\\|\\u[0-9a-f]{0,4}|eventId|"eventId":"a"|"data":|specversion|1e9|-|null| |é){0,60}"#
    ) {
        let _ = decode(body.as_bytes());
    }

    /// A byte changed anywhere is noticed, or gives another event that is whole; the id is never
    /// made up.
    #[test]
    fn one_wrong_byte_never_makes_it_panic(place in 0_usize..230, byte in any::<u8>()) {
        let mut body = own(DATA).into_bytes();
        let place = place.min(body.len() - 1);
        body[place] = byte;
        if let Err(error) = decode(&body)
            && let Some(id) = error.event_id()
        {
            let id = serde_json::to_string(&id).unwrap();
            prop_assert!(String::from_utf8_lossy(&body).contains(&id));
        }
    }
}

#[test]
fn a_cloud_event_with_binary_data_says_what_is_read_instead() {
    let body = br#"{"specversion":"1.0","id":"evt_1","source":"x","type":"OrderCreated",
        "data_base64":"eyJvcmRlcklkIjoiYSJ9"}"#;
    let error = Envelope::parse(body).unwrap().data::<OrderCreated>().unwrap_err();
    assert!(error.to_string().contains("data_base64"), "{error}");
    assert_eq!(error.event_id().unwrap().to_string(), "evt_1");
}
