//! Dhara: event-driven microservices, without their usual price.

// The derive macros write paths that begin with `::dhara`, in this crate's own tests as well.
extern crate self as dhara;

mod answer;
pub mod broker;
pub mod event;
pub mod service;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use answer::{Answer, BoxFuture};
pub use dhara_derive::{Event, Events};
pub use dhara_world as world;
pub use event::{
    CorrelationId, DecodeError, EncodeError, Encoded, Encoder, Envelope, Event, EventId, EventKind,
    Format, IntoEvents, Limits, Origin, Outgoing, WithId,
};
pub use service::{
    Failure, FailureKind, FromContext, FromState, HandlerError, HandlerExt, Meta, Publisher, Retry,
    Running, Service, State, WriteError, Writer, Written,
};
pub use store::Tx;
