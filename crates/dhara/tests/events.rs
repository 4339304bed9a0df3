//! Events through the public API: what is encoded reads back, and looks as the design says.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail it")]

use std::sync::Arc;

use dhara::world::{Clock, Random, Timestamp, World, disk::RealDisk};
use dhara::{
    CorrelationId, Encoder, Envelope, Event, EventId, EventKind, Events, Format, IntoEvents,
    Limits, Origin, Outgoing,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(topic = "orders", key = order_id)]
#[serde(rename_all = "camelCase")]
struct OrderCreated {
    order_id: String,
    total_amount: i64,
}

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(topic = "payments", key = 0, version = 2, kind = integration, name = "PaymentDone")]
struct Paid(u64, String);

#[derive(Clone, Copy, Debug, PartialEq, Event, Serialize, Deserialize)]
struct Ticked;

#[derive(Events)]
enum Charged {
    Done(Paid),
    Order(OrderCreated),
}

fn world() -> World {
    let clock = Clock::manual(Timestamp::from_micros(1_795_343_400_000_000));
    World::new(clock, Random::from_seed(7), Arc::new(RealDisk))
}

fn order() -> OrderCreated {
    OrderCreated { order_id: "order_789".to_owned(), total_amount: 1500 }
}

fn origin() -> Origin<'static> {
    Origin { source: "order-service", ..Origin::default() }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn an_event_is_written_as_the_design_shows_it() {
    let encoded = Encoder::new(world()).encode(&order(), &origin()).unwrap();
    let id = &encoded.id;
    let expected = format!(
        r#"{{"eventId":"{id}","eventType":"OrderCreated","timestamp":"2026-11-22T10:30:00Z","source":"order-service","correlationId":"{id}","data":{{"orderId":"order_789","totalAmount":1500}}}}"#
    );
    let message = encoded.message;
    assert_eq!(text(&message.body), expected);
    assert_eq!(text(&message.key.unwrap()), "order_789");
    assert_eq!(message.topic.as_str(), "orders");
    assert_eq!(message.timestamp.as_millis(), 1_795_343_400_000);
    assert!(message.headers.is_empty());
}

#[test]
fn the_sample_of_the_design_reads() {
    let body = br#"{ "eventId": "evt_12345", "eventType": "OrderCreated",
        "timestamp": "2026-11-22T10:30:00Z", "source": "OrderService",
        "data": { "orderId": "order_789", "totalAmount": 1500 } }"#;
    let envelope = Envelope::parse(body).unwrap();
    assert_eq!(envelope.id.to_string(), "evt_12345");
    assert_eq!(envelope.event_type, "OrderCreated");
    assert_eq!(envelope.source, "OrderService");
    assert_eq!(envelope.timestamp.as_millis(), 1_795_343_400_000);
    assert_eq!(envelope.version, 1);
    assert_eq!(envelope.correlation_id, None);
    assert_eq!(envelope.data::<OrderCreated>().unwrap(), order());
}

#[test]
fn an_event_that_another_caused_carries_its_correlation_and_causation() {
    let correlation = CorrelationId::parse("checkout 42").unwrap();
    let cause = EventId::parse("evt_12345").unwrap();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let origin = Origin {
        source: "payment",
        correlation_id: Some(&correlation),
        causation_id: Some(&cause),
        traceparent: Some(trace),
        subject: Some("a \"quoted\" subject"),
    };
    let paid = Paid(7, "ok".to_owned());
    let encoded = Encoder::new(world()).encode(&paid, &origin).unwrap();
    let envelope = Envelope::parse(&encoded.message.body).unwrap();
    assert_eq!(envelope.id, encoded.id);
    assert_eq!(envelope.event_type, "PaymentDone");
    assert_eq!(envelope.version, 2);
    assert_eq!(envelope.correlation_id, Some(correlation.clone()));
    assert_eq!(envelope.causation_id, Some(cause.clone()));
    assert_eq!(envelope.traceparent.as_deref(), Some(trace));
    assert_eq!(envelope.subject.as_deref(), origin.subject);
    assert_eq!(envelope.data::<Paid>().unwrap(), paid);
    assert_eq!(text(&encoded.message.key.unwrap()), "7");
    let mut again = Vec::new();
    envelope.write(&mut again);
    assert_eq!(text(&again), text(&encoded.message.body));
}

#[test]
fn the_derive_says_what_its_attributes_say() {
    assert_eq!((OrderCreated::TYPE, OrderCreated::TOPIC), ("OrderCreated", "orders"));
    assert_eq!((OrderCreated::VERSION, OrderCreated::KIND), (1, EventKind::Domain));
    assert_eq!((Paid::TYPE, Paid::TOPIC), ("PaymentDone", "payments"));
    assert_eq!((Paid::VERSION, Paid::KIND), (2, EventKind::Integration));
    assert_eq!((Ticked::TYPE, Ticked::TOPIC), ("Ticked", "Ticked"));
    assert!(Ticked.key().is_none());
}

#[test]
fn none_one_many_and_one_of_several_are_published_in_order() {
    let (mut encoder, mut messages, mut ids) = (Encoder::new(world()), Vec::new(), Vec::new());
    let mut out = Outgoing::new(&mut encoder, origin(), &mut messages).with_ids(&mut ids);
    ().into_events(&mut out).unwrap();
    order().into_events(&mut out).unwrap();
    None::<Ticked>.into_events(&mut out).unwrap();
    Some(Ticked).into_events(&mut out).unwrap();
    vec![order(), order()].into_events(&mut out).unwrap();
    (Ticked, Charged::from(order()), Charged::Done(Paid(1, String::new())))
        .into_events(&mut out)
        .unwrap();
    let topics: Vec<&str> = messages.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, ["orders", "Ticked", "orders", "orders", "Ticked", "orders", "payments"]);
    let read: Vec<EventId> =
        messages.iter().map(|message| Envelope::parse(&message.body).unwrap().id).collect();
    assert_eq!(read, ids);
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn each_format_reads_back_the_same() {
    for format in [Format::Native, Format::CloudEvents, Format::CloudEventsBinary] {
        let mut encoder = Encoder::new(world()).format("payments", format);
        let paid = Paid(9, "ধারা".to_owned());
        let encoded = encoder.encode(&paid, &origin()).unwrap();
        let message = encoded.message;
        let envelope =
            Envelope::parse_message(&message.headers, &message.body, &Limits::default()).unwrap();
        assert_eq!(envelope.id, encoded.id, "{format:?}");
        assert_eq!(envelope.event_type, "PaymentDone");
        assert_eq!(envelope.version, 2);
        assert_eq!(envelope.timestamp, message.timestamp);
        assert_eq!(envelope.source, "order-service");
        assert_eq!(envelope.data::<Paid>().unwrap(), paid);
        assert!(envelope.extra.is_empty(), "{:?}", envelope.extra);
    }
}
