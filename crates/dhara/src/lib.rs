//! Event-driven microservices, without their usual price.
//!
//! Services are plain async functions over typed events. They run in one process on an embedded
//! durable log, with nothing to install.
//!
//! ```no_run
//! use dhara::{Event, Service, world::World};
//!
//! #[derive(serde::Serialize, serde::Deserialize, Event)]
//! #[event(topic = "orders", key = order_id)]
//! struct OrderCreated { order_id: String, total_amount: i64 }
//!
//! #[derive(serde::Serialize, serde::Deserialize, Event)]
//! #[event(topic = "payments", key = order_id)]
//! struct PaymentCompleted { order_id: String, amount: i64 }
//!
//! async fn charge(order: OrderCreated) -> PaymentCompleted {
//!     PaymentCompleted { order_id: order.order_id, amount: order.total_amount }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let broker = dhara::broker::open("file:data", &World::real()).await?;
//!     Service::new("payment").on(charge).run(&broker).await?;
//!     Ok(())
//! }
//! ```
//!
//! A handler's arguments say what it needs: the event, [`State`], [`Tx`], [`Meta`]. The event that
//! it returns is published, and the delivery is acked after that, never before. With a store
//! ([`Service::store`]) an event has one effect, however often it is delivered.
//!
//! This crate is not a web framework, and not a client for what others publish in formats of their
//! own: its events are JSON in Dhara's envelope or CloudEvents 1.0.

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
