//! Dhara: event-driven microservices, without their usual price.

mod answer;
pub mod broker;
pub mod event;
pub mod service;
pub mod store;

pub use answer::{Answer, BoxFuture};
pub use dhara_derive::{Event, Events};
pub use dhara_world as world;
pub use event::{CorrelationId, Event, EventId, IntoEvents};
pub use service::{
    Failure, FailureKind, FromContext, FromState, HandlerError, HandlerExt, Meta, Publisher, Retry,
    Running, Service, State, Writer,
};
pub use store::Tx;
