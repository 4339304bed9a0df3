//! Sets stock aside for orders, and never more than there is.
//!
//! `stock` says how much there is and how much of it is set aside; `stock_movements` is the ledger
//! of every change to it, from which the auditor counts.

pub(crate) mod http;
mod opening;

use std::sync::Arc;

use dhara::store::{Param, Store, StoreError, Tx};
use dhara::world::World;
use dhara::{Service, State};

use crate::events::{
    OrderCreated, OrderRejected, Portion, Reserved, Sku, StockRejected, StockReleased,
    StockReserved,
};
use crate::sabotage::Sabotage;

pub(crate) const NAME: &str = "inventory";

const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS stock (
        sku TEXT NOT NULL PRIMARY KEY,
        stock INTEGER NOT NULL,
        reserved INTEGER NOT NULL
    )",
    // `kind` is 'received', 'reserved' or 'released'.
    "CREATE TABLE IF NOT EXISTS stock_movements (
        seq INTEGER PRIMARY KEY,
        order_id TEXT,
        sku TEXT NOT NULL,
        quantity INTEGER NOT NULL,
        kind TEXT NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS stock_movements_by_order ON stock_movements (order_id)",
];

/// The service, ready to start.
pub(crate) fn service(
    world: &World,
    store: &Arc<dyn Store>,
    sabotage: Sabotage,
) -> Service<Sabotage> {
    let service = Service::new(NAME).world(world).store(store.clone()).state(sabotage);
    let service = TABLES.into_iter().fold(service, Service::setup);
    let service = opening::statements().into_iter().fold(service, Service::setup);
    service.on(reserve).on(release)
}

async fn reserve(
    order: OrderCreated,
    tx: Tx,
    State(sabotage): State<Sabotage>,
) -> Result<Reserved, StoreError> {
    let OrderCreated { order_id, items, .. } = order;
    for (index, line) in items.iter().enumerate() {
        if take(&tx, &line.sku, line.quantity, sabotage).await? {
            continue;
        }
        for taken in items.iter().take(index) {
            give_back(&tx, &taken.sku, i64::from(taken.quantity)).await?;
        }
        let reason = format!("too little stock of {}", line.sku);
        let sku = line.sku.clone();
        return Ok(Reserved::Rejected(StockRejected { order_id, reason, sku }));
    }
    let items: Vec<_> =
        items.into_iter().map(|line| Portion { sku: line.sku, quantity: line.quantity }).collect();
    record(&tx, &order_id.0, &items, "reserved").await?;
    Ok(Reserved::Reserved(StockReserved { order_id, items }))
}

/// Sets `quantity` aside where as much is free: `false` where it is not, and nothing has changed.
async fn take(tx: &Tx, sku: &Sku, quantity: u32, sabotage: Sabotage) -> Result<bool, StoreError> {
    let statement = match sabotage.oversell {
        false => {
            "UPDATE stock SET reserved = reserved + $2 WHERE sku = $1 AND stock - reserved >= $2"
        }
        true => "UPDATE stock SET reserved = reserved + $2 WHERE sku = $1",
    };
    let changed = tx.execute(statement, &[Param::from(&sku.0), Param::from(quantity)]).await?;
    Ok(changed == 1)
}

async fn give_back(tx: &Tx, sku: &Sku, quantity: i64) -> Result<(), StoreError> {
    let statement = "UPDATE stock SET reserved = reserved - $2 WHERE sku = $1";
    tx.execute(statement, &[Param::from(&sku.0), Param::from(quantity)]).await?;
    Ok(())
}

async fn record(tx: &Tx, order_id: &str, items: &[Portion], kind: &str) -> Result<(), StoreError> {
    for Portion { sku, quantity } in items {
        // The one way to number rows that every store understands.
        let insert = "INSERT INTO stock_movements (seq, order_id, sku, quantity, kind) \
                      VALUES ((SELECT coalesce(max(seq), 0) + 1 FROM stock_movements), \
                      $1, $2, $3, $4)";
        let (sku, quantity) = (Param::from(&sku.0), Param::from(*quantity));
        tx.execute(insert, &[order_id.into(), sku, quantity, kind.into()]).await?;
    }
    Ok(())
}

async fn release(order: OrderRejected, tx: Tx) -> Result<Option<StockReleased>, StoreError> {
    if !order.release {
        return Ok(None);
    }
    let query = "SELECT sku, quantity, kind FROM stock_movements WHERE order_id = $1 ORDER BY seq";
    let rows = tx.query(query, &[Param::from(&order.order_id.0)]).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.get::<String>("kind")? != "reserved" {
            // It was released before, for another event that said the same.
            return Ok(None);
        }
        items.push(Portion { sku: Sku(row.get("sku")?), quantity: row.get("quantity")? });
    }
    for Portion { sku, quantity } in &items {
        give_back(&tx, sku, i64::from(*quantity)).await?;
    }
    record(&tx, &order.order_id.0, &items, "released").await?;
    Ok(Some(StockReleased { order_id: order.order_id, items }))
}
