//! An event is a struct of concrete types.

use dhara::Event;

#[derive(Event)]
struct Generic<T> { //~ an event has no type parameters or lifetimes
    value: T,
}

#[derive(Event)]
struct Borrowed<'a> { //~ an event has no type parameters or lifetimes
    value: &'a str,
}

#[derive(Event)]
enum Charged { //~ `#[derive(Events)]` on the enum that holds them
    Completed,
    Failed,
}

#[derive(Event)]
union Bits { //~ an event is a struct; a union cannot be one
    whole: u32,
    part: u8,
}

fn main() {}
