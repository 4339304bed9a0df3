//! What is no event is told so, with what to derive.

use dhara::{Event, Events, IntoEvents};

struct Order;

#[derive(Events)]
enum Decided {
    Created(Order), //~ `Order` is not an event, nor several: derive it with `#[derive(Event)]`
}

fn event<T: Event>() {}

fn publishable<T: IntoEvents>() {}

fn main() {
    event::<Order>(); //~ `Order` is not an event: derive it with `#[derive(Event)]`
    publishable::<Order>(); //~ publishable are an event
    publishable::<Vec<Order>>(); //~ `Vec<Order>` is not an event, nor several
    publishable::<String>(); //~ `String` is not an event, nor several
}
