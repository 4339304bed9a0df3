//! The five services. They share [`crate::events`] and nothing else: none of them imports another.

pub(crate) mod analytics;
pub(crate) mod inventory;
pub(crate) mod notification;
pub(crate) mod order;
pub(crate) mod payment;
