//! Keeps count: orders, revenue, by product, by minute.

pub(crate) mod http;

use std::sync::Arc;

use dhara::store::{Param, Store, StoreError, Tx};
use dhara::world::{Timestamp, World};
use dhara::{Meta, Service};

use crate::events::{OrderConfirmed, OrderCreated, OrderRejected};
use crate::time_text::minute_of;

pub(crate) const NAME: &str = "analytics";

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS minutes (
        minute INTEGER NOT NULL PRIMARY KEY,
        created INTEGER NOT NULL,
        confirmed INTEGER NOT NULL,
        rejected INTEGER NOT NULL,
        revenue BIGINT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS products (
        sku TEXT NOT NULL PRIMARY KEY,
        quantity INTEGER NOT NULL,
        revenue BIGINT NOT NULL
    )",
];

/// The service, ready to start.
pub(crate) fn service(world: &World, store: &Arc<dyn Store>) -> Service {
    let service = Service::new(NAME).world(world).store(store.clone());
    let service = TABLES.into_iter().fold(service, Service::setup);
    service.on(order_created).on(order_confirmed).on(order_rejected)
}

async fn order_created(_order: OrderCreated, meta: Meta, tx: Tx) -> Result<(), StoreError> {
    count(&tx, meta.timestamp, [1, 0, 0, 0]).await
}

async fn order_confirmed(order: OrderConfirmed, meta: Meta, tx: Tx) -> Result<(), StoreError> {
    count(&tx, meta.timestamp, [0, 1, 0, order.total_amount]).await?;
    for line in &order.items {
        let upsert = "INSERT INTO products (sku, quantity, revenue) VALUES ($1, $2, $3) \
                      ON CONFLICT (sku) DO UPDATE SET \
                      quantity = products.quantity + excluded.quantity, \
                      revenue = products.revenue + excluded.revenue";
        let revenue = line.unit_price * i64::from(line.quantity);
        let (sku, quantity) = (Param::from(&line.sku.0), Param::from(line.quantity));
        tx.execute(upsert, &[sku, quantity, revenue.into()]).await?;
    }
    Ok(())
}

async fn order_rejected(_order: OrderRejected, meta: Meta, tx: Tx) -> Result<(), StoreError> {
    count(&tx, meta.timestamp, [0, 0, 1, 0]).await
}

/// Adds to the minute's figures: created, confirmed, rejected, revenue.
async fn count(tx: &Tx, at: Timestamp, figures: [i64; 4]) -> Result<(), StoreError> {
    let upsert = "INSERT INTO minutes (minute, created, confirmed, rejected, revenue) \
                  VALUES ($1, $2, $3, $4, $5) ON CONFLICT (minute) DO UPDATE SET \
                  created = minutes.created + excluded.created, \
                  confirmed = minutes.confirmed + excluded.confirmed, \
                  rejected = minutes.rejected + excluded.rejected, \
                  revenue = minutes.revenue + excluded.revenue";
    let minute = i64::try_from(minute_of(at)).unwrap_or(i64::MAX);
    let [created, confirmed, rejected, revenue] = figures.map(Param::from);
    tx.execute(upsert, &[minute.into(), created, confirmed, rejected, revenue]).await?;
    Ok(())
}
