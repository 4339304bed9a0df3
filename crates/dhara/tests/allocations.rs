//! What an event costs in allocations. One test, since the counter counts every thread's.

use std::alloc::System;

use dhara::world::World;
use dhara::{CorrelationId, Encoder, Envelope, Event, EventId, Origin};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Clone, Event, Serialize, Deserialize)]
#[event(topic = "orders", key = order_id)]
#[serde(rename_all = "camelCase")]
struct OrderCreated {
    order_id: String,
    items: Vec<Item>,
    total_amount: i64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Item {
    sku: String,
    quantity: u32,
}

/// How many allocations `work` made, those that grew included.
fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let region = Region::new(ALLOCATOR);
    let result = work();
    let stats = region.change();
    (stats.allocations + stats.reallocations, result)
}

#[test]
fn encoding_allocates_by_the_chunk_and_decoding_what_the_type_needs() {
    const EVENTS: usize = 10_000;
    let world = World::real();
    let item = |sku: &str| Item { sku: sku.to_owned(), quantity: 2 };
    let items = vec![item("tea"), item("coffee"), item("cup")];
    let order = OrderCreated { order_id: "order_789".to_owned(), items, total_amount: 1500 };
    let correlation = CorrelationId::from(world.uuid());
    let cause = EventId::from(world.uuid());
    let origin = Origin {
        source: "order-service",
        correlation_id: Some(&correlation),
        causation_id: Some(&cause),
        ..Origin::default()
    };
    let mut encoder = Encoder::new(world);
    let first = encoder.encode(&order, &origin).unwrap().message;

    let mut kept = Vec::with_capacity(EVENTS);
    let (encoding, ()) = allocations(|| {
        for _ in 0..EVENTS {
            kept.push(encoder.encode(&order, &origin).unwrap().message);
        }
    });
    let bytes: usize = kept.iter().map(|m| m.body.len() + m.key.as_ref().unwrap().len()).sum();
    // A chunk of 64 KiB, never filled to the last byte, is its bytes and the count of those who hold
    // it.
    let chunks = bytes / (60 << 10) + 2;
    assert!(encoding <= 2 * chunks, "{encoding} allocations for {chunks} chunks");

    let body = first.body.as_ref();
    let (parsing, envelope) = allocations(|| Envelope::parse(body).unwrap());
    assert_eq!(parsing, 0, "an envelope borrows from its body");

    // The order's id, the items and the three names.
    let data = envelope.raw_data().unwrap().unwrap().get();
    let (bare, _) = allocations(|| serde_json::from_str::<OrderCreated>(data).unwrap());
    let (decoding, _) = allocations(|| envelope.data::<OrderCreated>().unwrap());
    assert_eq!((bare, decoding), (5, 5));
}
