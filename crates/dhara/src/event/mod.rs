//! Typed events and the envelope they travel in.
//!
//! An [`Event`] is a struct with a name, a topic and perhaps a key. An [`Encoder`] writes it into a
//! message whose body is the envelope: JSON that any language can read. An [`Envelope`] reads such a
//! body, or a CloudEvent, and gives the event back by its type.

mod cloud;
mod encode;
mod envelope;
mod error;
mod id;
mod message;
mod outgoing;
mod parse;
mod salvage;
mod scan;
mod time;
mod write;

use std::fmt::Display;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use encode::{Encoded, Encoder, Format, Origin};
pub use envelope::{Envelope, Limits};
pub use error::{DecodeError, EncodeError};
pub use id::{BadId, CorrelationId, EventId, IdKey};
pub use message::{Headers, Message, Topic};
pub use outgoing::{IntoEvents, Outgoing, WithId};

/// A fact that is published and handled: derive it with `#[derive(Event)]`.
///
/// An event is immutable. When its meaning changes, the new meaning is a new
/// [`VERSION`](Event::VERSION).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event: derive it with `#[derive(Event)]`",
    label = "this is not an event",
    note = "an event is a struct with `#[derive(Event, Serialize, Deserialize)]`"
)]
pub trait Event: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The event's name on the wire: `OrderCreated`.
    const TYPE: &'static str;
    /// The topic it is published to.
    const TOPIC: &'static str = Self::TYPE;
    /// The version of its meaning, from 1.
    const VERSION: u32 = 1;
    /// Whom it tells.
    const KIND: EventKind = EventKind::Domain;

    /// What decides its order: events of one key in one topic keep it. `None` has no order.
    fn key(&self) -> Option<impl Display + '_> {
        None::<&'static str>
    }
}

/// Whom an event tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A fact of the business: `OrderCreated`.
    #[default]
    Domain,
    /// Asks or tells another service: `NotificationRequested`.
    Integration,
    /// A fact of the machinery: `ServiceStarted`.
    System,
}

/// What `#[derive(Event)]` calls for the key, so that a type without a text is told at its field.
#[doc(hidden)]
pub fn key_text<K: Display + ?Sized>(key: &K) -> impl Display + '_ {
    key
}
