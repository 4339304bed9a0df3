//! Dhara: event-driven microservices, without their usual price.

mod answer;
pub mod broker;
pub mod event;
pub mod service;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use answer::{Answer, BoxFuture};
pub use dhara_world as world;
