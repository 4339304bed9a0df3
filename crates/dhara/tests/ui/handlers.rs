//! What cannot be a handler, and what the compiler says of it.

use dhara::{Event, Service, State};
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize)]
struct Ticked;

struct NotAnEvent;

#[derive(Clone)]
struct Gateway;

#[derive(Debug)]
struct OwnError;

async fn takes_no_event(_: NotAnEvent) {}

async fn takes_what_nobody_has(_: Ticked, _: NotAnEvent) {}

async fn returns_no_event(_: Ticked) -> NotAnEvent {
    NotAnEvent
}

async fn fails_without_saying_how(_: Ticked) -> Result<(), OwnError> {
    Ok(())
}

async fn takes_state(_: Ticked, _: State<Gateway>) {}

fn is_not_async(_: Ticked) {}

fn main() {
    let _ = Service::new("a").on(takes_no_event); //~ `NotAnEvent` is not an event
    let _ = Service::new("b").on(takes_what_nobody_has); //~ `NotAnEvent` cannot be an argument of a handler of a service with state `()`
    let _ = Service::new("c").on(returns_no_event); //~ a handler cannot return `NotAnEvent`
    let _ = Service::new("d").on(fails_without_saying_how); //~ with an error that implements `dhara::Failure`
    let _ = Service::new("e").on(takes_state); //~ the service's state `()` has no `Gateway`
    let _ = Service::new("f").on(is_not_async); //~ is not a handler
    let _ = Service::new("g").state(Gateway).on(takes_state);
    //~? a handler is an `async fn` whose first argument is an event by value
    //~? needs `Service::new(..).state(value)` before `.on(..)`
    //~? with an error that implements `dhara::Failure`
}
