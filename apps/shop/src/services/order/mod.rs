//! Takes orders, and leads each of them to its end.
//!
//! An order is a stream of events ([`stream`]); its state is their replay ([`aggregate`]). It waits
//! for what payment and inventory have to say, then it is confirmed or rejected ([`saga`]).

mod aggregate;
mod catalogue;
pub(crate) mod http;
mod place;
mod request;
mod saga;
mod stream;

use std::sync::Arc;

use dhara::Service;
use dhara::store::Store;
use dhara::world::World;

pub(crate) const NAME: &str = "order";

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS order_events (
        seq INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        version INTEGER NOT NULL,
        kind TEXT NOT NULL,
        event_id TEXT NOT NULL,
        source TEXT NOT NULL,
        at BIGINT NOT NULL,
        data TEXT NOT NULL,
        UNIQUE (stream, version)
    )",
    "CREATE TABLE IF NOT EXISTS order_keys (
        idempotency_key TEXT NOT NULL PRIMARY KEY,
        order_id TEXT NOT NULL
    )",
];

/// The service, ready to start.
pub(crate) fn service(world: &World, store: &Arc<dyn Store>) -> Service<World> {
    let service = Service::new(NAME).world(world).store(store.clone()).state(world.clone());
    let service = TABLES.into_iter().fold(service, Service::setup);
    service
        .on(saga::payment_completed)
        .on(saga::payment_failed)
        .on(saga::payment_refunded)
        .on(saga::stock_reserved)
        .on(saga::stock_rejected)
        .on(saga::stock_released)
}
