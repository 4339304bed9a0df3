//! Each attribute that is wrong says what to write instead.

use dhara::Event;

#[derive(Event)]
#[event(topics = "orders")] //~ an event has no attribute `topics`; there are `topic`, `key`, `version`, `kind` and `name`
struct Unknown;

#[derive(Event)]
#[event(type = "OrderCreated")] //~ the name on the wire is `name = "..."`
struct Type;

#[derive(Event)]
#[event(key = order)] //~ the event has no field `order`; it has `order_id`, `total`
struct NoSuchField {
    order_id: String,
    total: i64,
}

#[derive(Event)]
#[event(key = order_id)] //~ the event has no field `order_id`; it has none
struct NoField;

#[derive(Event)]
#[event(key = 1)] //~ the event has no field `1`; it has `0`
struct NoSuchPlace(String);

#[derive(Event)]
#[event(key = order_id)] //~ a key cannot be optional
struct OptionalKey {
    order_id: Option<String>,
}

#[derive(Event)]
#[event(key = "order_id")] //~ a field is named without quotes: write `key = order_id`
struct QuotedKey {
    order_id: String,
}

#[derive(Event)]
#[event(key = order.id)] //~ the key is one field of the struct
struct NestedKey {
    order: String,
}

#[derive(Event)]
#[event(key)] //~ a value is missing: write `key = order_id`
struct BareKey {
    order_id: String,
}

#[derive(Event)]
#[event(topic = "")] //~ the topic is empty: name one, or leave `topic` out
struct EmptyTopic;

#[derive(Event)]
#[event(topic = "new orders")] //~ a topic cannot have ' ' in its name
struct BadTopic;

#[derive(Event)]
#[event(topic = orders)] //~ a string literal is wanted: write `topic = "orders"`
struct UnquotedTopic;

#[derive(Event)]
struct Bestätigt; //~ a topic cannot have 'ä' in its name: write `topic = "..."`

#[derive(Event)]
#[event(version = 0)] //~ versions count from 1
struct VersionZero;

#[derive(Event)]
#[event(version = "2")] //~ a whole number is wanted: write `version = 2`
struct VersionText;

#[derive(Event)]
#[event(kind = external)] //~ an event's kind is `domain`, `integration` or `system`
struct UnknownKind;

#[derive(Event)]
#[event(name = "")] //~ the event's name is empty
struct EmptyName;

#[derive(Event)]
#[event(topic = "orders", topic = "payments")] //~ this attribute is given twice
struct Twice;

fn main() {}
