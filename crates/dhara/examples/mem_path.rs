//! The way of an event from `publish` to its handler over `mem:`, beside the bare work that no
//! framework could save: encode it, give it an id, decode it.
//!
//! `mem_path bare 10000` and `mem_path path 10000` are meant to be run under a tool that counts
//! instructions and allocations; the difference between N and 2N events is free of the start-up.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dhara::event::{Encoder, Envelope, Origin};
use dhara::world::World;
use dhara::{Event, Publisher, Service, State};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    sku: String,
    quantity: u32,
    unit_price: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "orders", key = order_id)]
struct OrderCreated {
    order_id: String,
    user_id: String,
    items: Vec<Item>,
    total_amount: i64,
}

fn order(number: u64) -> OrderCreated {
    let item = |sku: &str| Item { sku: sku.to_owned(), quantity: 2, unit_price: 1_500 };
    OrderCreated {
        order_id: format!("order_{:06}", number % 1_000),
        user_id: "user_456".to_owned(),
        items: vec![item("tea-assam"), item("cup-clay"), item("kettle-iron")],
        total_amount: 9_000,
    }
}

/// How many events are published before the handlers get their turn.
const BURST: u64 = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_else(|| "path".to_owned());
    let events: u64 = arguments.next().unwrap_or_else(|| "10000".to_owned()).parse()?;
    // The orders are made beforehand: making them is nobody's cost here.
    let orders: Vec<OrderCreated> = (0..BURST).map(order).collect();
    match mode.as_str() {
        "bare" => bare(&orders, events)?,
        "path" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(path(&orders, events))?;
        }
        other => return Err(format!("unknown mode {other:?}: use bare or path").into()),
    }
    println!("{mode}: {events} events");
    Ok(())
}

fn bare(orders: &[OrderCreated], events: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut encoder = Encoder::new(World::real());
    let origin = Origin { source: "bench", ..Origin::default() };
    let total = Cell::new(0);
    for order in orders.iter().cycle().take(usize::try_from(events)?) {
        let encoded = encoder.encode(order, &origin)?;
        let body: Bytes = encoded.message.body;
        let decoded: OrderCreated = Envelope::parse(&body)?.data()?;
        total.set(total.get() + decoded.total_amount);
    }
    assert!(total.get() > 0, "every event was decoded");
    Ok(())
}

#[derive(Clone)]
struct Handled(Arc<AtomicU64>);

async fn count(order: OrderCreated, State(handled): State<Handled>) {
    assert!(order.total_amount > 0, "the event is whole");
    handled.0.fetch_add(1, Ordering::Relaxed);
}

async fn path(orders: &[OrderCreated], events: u64) -> Result<(), Box<dyn std::error::Error>> {
    let world = World::real();
    let broker = dhara::broker::open("mem:", &world).await?;
    let handled = Arc::new(AtomicU64::new(0));
    let service = Service::new("bench").state(Handled(handled.clone())).on(count).lanes(4);
    let running = service.start(&broker).await?;
    let publisher = Publisher::new(&world, &broker, "bench");
    for start in (0..events).step_by(usize::try_from(BURST)?) {
        let burst = BURST.min(events - start);
        for order in orders.iter().take(usize::try_from(burst)?) {
            publisher.publish(order).await?;
        }
        while handled.load(Ordering::Relaxed) < start + burst {
            tokio::task::yield_now().await;
        }
    }
    running.stop().await?;
    Ok(())
}
