//! Events as they should be. This file is the harness's own check that it finds the right libraries.

use dhara::{Event, Events, IntoEvents};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
#[event(topic = "orders", key = order_id)]
struct OrderCreated {
    order_id: String,
    note: Option<String>,
}

#[derive(Event, Serialize, Deserialize)]
#[event(key = 0, version = 2, kind = integration, name = "order.rejected")]
#[event(topic = "orders")]
struct OrderRejected(u64, String);

#[derive(Event, Serialize, Deserialize)]
struct Ticked;

#[derive(Events)]
enum Decided {
    Created(OrderCreated),
    Rejected(OrderRejected),
}

fn publishable<T: IntoEvents>() {}

fn main() {
    publishable::<OrderCreated>();
    publishable::<()>();
    publishable::<Option<Decided>>();
    publishable::<(Ticked, Vec<Decided>)>();
}
