//! What an event's fields have to be able to do.

use dhara::Event;
use serde::{Deserialize, Serialize};

struct OrderId(u64);

#[derive(Event, Serialize, Deserialize)]
#[event(key = order_id)]
struct KeyWithoutText {
    #[serde(skip, default = "one")]
    order_id: OrderId, //~ `OrderId` doesn't implement `std::fmt::Display`
}

fn one() -> OrderId {
    OrderId(1)
}

#[derive(Event)]
struct WithoutSerde { //~ Serialize
    order_id: u64,
}

fn main() {}
