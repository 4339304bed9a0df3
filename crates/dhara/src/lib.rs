//! Dhara: event-driven microservices, without their usual price.

mod answer;
pub mod broker;
pub mod event;
pub mod service;
pub mod store;

pub use answer::{Answer, BoxFuture};
pub use dhara_world as world;
