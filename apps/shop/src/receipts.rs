//! The record of every order that a customer was told is accepted.
//!
//! It is written where the answer 201 is sent, before it is sent, and nowhere else; the services do
//! not know it. What it holds and no order stream has brought to an end is what the proof looks for.

use dhara::world::World;
use std::path::Path;

use crate::events::OrderId;
use crate::ledger::{Ledger, LedgerError};

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS receipts (
    seq INTEGER PRIMARY KEY,
    order_id TEXT NOT NULL UNIQUE
)";

/// The open record.
#[derive(Clone)]
pub(crate) struct Receipts(Ledger);

impl Receipts {
    pub(crate) fn open(world: &World, dir: &Path) -> Result<Self, LedgerError> {
        Ok(Self(Ledger::open(world, &dir.join("receipts.db"), SCHEMA)?))
    }

    /// Records that this order was accepted; once, however often it is said.
    pub(crate) async fn add(&self, order_id: &OrderId) -> Result<(), LedgerError> {
        let order_id = order_id.0.clone();
        let insert = "INSERT OR IGNORE INTO receipts (order_id) VALUES (?1)";
        self.0.write(move |tx| tx.prepare_cached(insert)?.execute([order_id]).map(drop)).await
    }

    /// At most `limit` receipts after number `after`, with their numbers.
    pub(crate) async fn after(
        &self,
        after: i64,
        limit: i64,
    ) -> Result<Vec<(i64, String)>, LedgerError> {
        let query = "SELECT seq, order_id FROM receipts WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        self.0
            .write(move |tx| {
                let mut statement = tx.prepare_cached(query)?;
                let rows =
                    statement.query_map([after, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect()
            })
            .await
    }
}
