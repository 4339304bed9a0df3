//! An enum of events holds one event in each variant.

use dhara::Events;

struct Paid;

#[derive(Events)]
struct Single(Paid); //~ for a single event write `#[derive(Event)]`

#[derive(Events)]
enum Empty {} //~ the enum has no variants

#[derive(Events)]
enum Nothing {
    Paid(Paid),
    Nothing, //~ each variant holds exactly one event
}

#[derive(Events)]
enum Two {
    Both(Paid, Paid), //~ each variant holds exactly one event
}

#[derive(Events)]
enum Named {
    Paid { paid: Paid }, //~ each variant holds exactly one event
}

#[derive(Events)]
enum Again {
    First(Paid),
    Second(Paid), //~ another variant holds this type already
}

#[derive(Events)]
enum Generic<T> { //~ an enum of events has no parameters
    First(T),
}

fn main() {}
