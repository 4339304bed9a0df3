//! Whatever an envelope holds comes back as it was, in each format and from one format to another.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test's helpers may fail it")]

use std::borrow::Cow;

use dhara::world::Timestamp;
use dhara::{CorrelationId, Envelope, EventId, Limits};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// Texts with all that JSON has to escape, and what it need not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z-]{1,30}",
        "[\\x01-\\x7f\"\\\\/éধা😀\u{2028}]{1,20}",
        proptest::collection::vec(any::<char>(), 1..12)
            .prop_map(|chars| chars.into_iter().filter(|c| *c != '\0').collect())
            .prop_filter("empty", |text: &String| !text.is_empty()),
    ]
}

fn id_text() -> impl Strategy<Value = String> {
    prop_oneof!["evt_[0-9a-f]{32}", text()]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((text(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

#[derive(Clone, Debug)]
struct Parts {
    ids: (String, Option<String>, Option<String>),
    texts: (String, String, Option<String>, Option<String>),
    micros: u64,
    version: u32,
    extra: Vec<(String, Value)>,
    data: Option<Value>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let option = |texts| proptest::option::of(texts);
    let ids = (id_text(), option(id_text().boxed()), option(id_text().boxed()));
    let texts = (text(), text(), option(text().boxed()), option(text().boxed()));
    let micros = prop_oneof![
        (1_u64..253_402_300_800).prop_map(|second| second * 1_000_000),
        (1_u64..253_402_300_800_000).prop_map(|milli| milli * 1_000),
        1_u64..253_402_300_800_000_000,
    ];
    let extra = proptest::collection::btree_map("x[a-z]{1,8}", json(), 0..5)
        .prop_map(|members| members.into_iter().rev().collect());
    let version = prop_oneof![Just(1), 1_u32..=u32::MAX];
    (ids, texts, micros, version, extra, proptest::option::of(json())).prop_map(
        |(ids, texts, micros, version, extra, data)| Parts {
            ids,
            texts,
            micros,
            version,
            extra,
            data,
        },
    )
}

/// The members of [`Parts`] as a body, in an order and with a spacing of the test's choice.
fn body(parts: &Parts, turn: usize, space: &str) -> String {
    let (id, correlation, causation) = &parts.ids;
    let (event_type, source, subject, traceparent) = &parts.texts;
    let time = rfc3339(parts.micros);
    let mut members: Vec<(&str, Option<Value>)> = vec![
        ("eventType", Some(event_type.as_str().into())),
        ("timestamp", Some(time.into())),
        ("source", Some(source.as_str().into())),
        ("version", (parts.version != 1).then(|| parts.version.into())),
        ("subject", subject.clone().map(Value::from)),
        ("correlationId", correlation.clone().map(Value::from)),
        ("causationId", causation.clone().map(Value::from)),
        ("traceparent", traceparent.clone().map(Value::from)),
        ("data", parts.data.clone()),
    ];
    let turn = turn % members.len();
    members.rotate_left(turn);
    members.insert(0, ("eventId", Some(id.as_str().into())));
    let extra = parts.extra.iter().map(|(name, value)| (name.as_str(), Some(value.clone())));
    let at = turn.min(members.len());
    let after = members.split_off(at);
    let members = members.into_iter().chain(extra).chain(after);
    let texts: Vec<String> = members
        .filter_map(|(name, value)| Some((name, value?)))
        .map(|(name, value)| format!("{space}{name:?}{space}:{space}{value}{space}"))
        .collect();
    format!("{space}{{{}}}{space}", texts.join(","))
}

fn rfc3339(micros: u64) -> String {
    let mut out = Vec::new();
    let mut envelope = Envelope::parse(MINIMAL.as_bytes()).unwrap();
    envelope.timestamp = Timestamp::from_micros(micros);
    envelope.write(&mut out);
    let written: Value = serde_json::from_slice(&out).unwrap();
    written["timestamp"].as_str().unwrap().to_owned()
}

const MINIMAL: &str =
    r#"{"eventId":"a","eventType":"b","timestamp":"2026-11-22T10:30:00Z","source":"c"}"#;

#[track_caller]
fn assert_holds(envelope: &Envelope<'_>, parts: &Parts) {
    let text = |cow: &Option<Cow<'_, str>>| cow.as_deref().map(str::to_owned);
    assert_eq!(envelope.id, EventId::parse(&parts.ids.0).unwrap());
    let correlation = parts.ids.1.as_deref().map(|id| CorrelationId::parse(id).unwrap());
    assert_eq!(envelope.correlation_id, correlation);
    assert_eq!(envelope.causation_id.as_ref().map(ToString::to_string), parts.ids.2);
    assert_eq!(envelope.event_type, parts.texts.0);
    assert_eq!(envelope.source, parts.texts.1);
    assert_eq!(text(&envelope.subject), parts.texts.2);
    assert_eq!(text(&envelope.traceparent), parts.texts.3);
    assert_eq!(envelope.timestamp.as_micros(), parts.micros);
    assert_eq!(envelope.version, parts.version);
    let raw = envelope.raw_data().unwrap().map(|raw| raw.get().to_owned());
    assert_eq!(raw, parts.data.as_ref().map(ToString::to_string));
}

fn extra(envelope: &Envelope<'_>) -> Vec<(String, String)> {
    let member = |(name, value): &(Cow<'_, str>, Cow<'_, RawValue>)| {
        (name.to_string(), value.get().to_owned())
    };
    envelope.extra.iter().map(member).collect()
}

proptest! {
    #[test]
    fn a_body_in_any_order_reads_and_is_written_and_reads_again(
        parts in parts(), turn in 0_usize..9, space in prop_oneof![Just(""), Just(" "), Just("\n\t")]
    ) {
        let body = body(&parts, turn, space);
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        assert_holds(&envelope, &parts);
        let members: Vec<_> = parts.extra.iter().map(|(n, v)| (n.clone(), v.to_string())).collect();
        prop_assert_eq!(extra(&envelope), members.clone());
        let mut written = Vec::new();
        envelope.write(&mut written);
        let again = Envelope::parse(&written).unwrap();
        assert_holds(&again, &parts);
        prop_assert_eq!(extra(&again), members);
        let mut twice = Vec::new();
        again.write(&mut twice);
        prop_assert_eq!(written, twice);
    }

    #[test]
    fn a_cloud_event_says_the_same(parts in parts()) {
        let body = body(&parts, 0, "");
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        let mut cloud = Vec::new();
        envelope.write_cloud_event(&mut cloud);
        let read = Envelope::parse(&cloud).unwrap();
        assert_holds(&read, &parts);
        prop_assert_eq!(extra(&read), extra(&envelope));
        let mut native = Vec::new();
        read.write(&mut native);
        prop_assert_eq!(String::from_utf8(native).unwrap(), written(&envelope));

        let headers = envelope.to_binary_headers();
        let data = envelope.raw_data().unwrap().map_or("", RawValue::get).as_bytes();
        let read = Envelope::parse_message(&headers, data, &Limits::default()).unwrap();
        assert_holds(&read, &parts);
        // A header knows no JSON: what was no string comes back as the string of its JSON.
        let names = |of: &Envelope<'_>| extra(of).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        prop_assert_eq!(names(&read), names(&envelope));
    }
}

fn written(envelope: &Envelope<'_>) -> String {
    let mut out = Vec::new();
    envelope.write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_structured_cloud_event_has_the_names_of_its_specification() {
    let body = r#"{"eventId":"evt_12345","eventType":"OrderCreated","timestamp":"2026-11-22T10:30:00Z",
        "source":"order-service","version":2,"subject":"order_789","correlationId":"c","causationId":"e",
        "traceparent":"00-1-2-01","tenant":"dhaka","data":{"a":1}}"#;
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    let mut cloud = Vec::new();
    envelope.write_cloud_event(&mut cloud);
    assert_eq!(
        String::from_utf8(cloud).unwrap(),
        r#"{"specversion":"1.0","id":"evt_12345","source":"order-service","type":"OrderCreated","time":"2026-11-22T10:30:00Z","subject":"order_789","eventversion":2,"correlationid":"c","causationid":"e","traceparent":"00-1-2-01","datacontenttype":"application/json","tenant":"dhaka","data":{"a":1}}"#
    );
    let headers: Vec<String> = envelope
        .to_binary_headers()
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect();
    assert_eq!(
        headers,
        [
            "ce_specversion: 1.0",
            "ce_id: evt_12345",
            "ce_source: order-service",
            "ce_type: OrderCreated",
            "ce_time: 2026-11-22T10:30:00Z",
            "ce_subject: order_789",
            "ce_eventversion: 2",
            "ce_correlationid: c",
            "ce_causationid: e",
            "ce_traceparent: 00-1-2-01",
            "content-type: application/json",
            "ce_tenant: dhaka",
        ]
    );
}

#[test]
fn a_cloud_event_of_another_producer_reads() {
    let body = br#"{"data":{"a":1},"type":"com.example.thing","source":"/a/b?c","id":"A234-1234",
        "specversion":"1.0","datacontenttype":"text/json","comexampleother":5,"eventversion":"3"}"#;
    let envelope = Envelope::parse(body).unwrap();
    assert_eq!(envelope.id.to_string(), "A234-1234");
    assert_eq!(envelope.timestamp, Timestamp::default());
    assert_eq!(envelope.version, 3);
    let mut again = Vec::new();
    envelope.write_cloud_event(&mut again);
    let (read, given): (Value, Value) =
        (serde_json::from_slice(&again).unwrap(), serde_json::from_slice(body).unwrap());
    for member in ["data", "type", "source", "id", "datacontenttype", "comexampleother"] {
        assert_eq!(read[member], given[member], "{member}");
    }
    assert_eq!(read.get("time"), None);
}

#[test]
fn a_member_whose_name_the_other_format_uses_is_not_written_twice() {
    let body = MINIMAL.replace('}', r#","type":"x","specversion":"1.0","other":1}"#);
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    assert_eq!(envelope.extra.len(), 3);
    let mut cloud = Vec::new();
    envelope.write_cloud_event(&mut cloud);
    let read = Envelope::parse(&cloud).unwrap();
    assert_eq!(read.event_type, "b");
    assert_eq!(extra(&read), [("other".to_owned(), "1".to_owned())]);
}

#[test]
fn numbers_that_no_type_of_ours_holds_survive() {
    let number = "123456789012345678901234567890.000000000000000000001e+999";
    let body = MINIMAL.replace('}', &format!(r#","precise":{number},"data":{number}}}"#));
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    assert_eq!(written(&envelope), body);
    assert_eq!(to_raw_value(&envelope.extra[0].1).unwrap().get(), number);
}
