//! The ledger of stock, counted.

use std::collections::HashMap;

use dhara::store::{Param, ServiceStore};
use rusqlite::{Connection, OptionalExtension, params};

use super::AuditError;
use super::book::Book;

const PAGE: i64 = 10_000;

/// What the ledger of stock says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shelves {
    pub(super) stock: i64,
    pub(super) sold: i64,
    /// Pieces that were sold though they were not there, at whichever moment it was worst.
    pub(super) oversold: i64,
}

/// What is known of one product.
#[derive(Clone, Copy, Default)]
struct Shelf {
    received: i64,
    sold: i64,
    oversold: i64,
}

impl Shelf {
    fn apply(&mut self, kind: &str, quantity: i64) {
        match kind {
            "received" => self.received += quantity,
            "reserved" => self.sold += quantity,
            _ => self.sold -= quantity,
        }
        self.oversold = self.oversold.max(self.sold - self.received);
    }
}

/// Counts what the ledger of stock has got since the last time.
pub(super) async fn count(store: &dyn ServiceStore, book: &Book) -> Result<Shelves, AuditError> {
    let mut cursor = book.figure("stock").await?;
    let query =
        "SELECT seq, sku, quantity, kind FROM stock_movements WHERE seq > $1 ORDER BY seq LIMIT $2";
    loop {
        let rows = store.query(query, &[Param::from(cursor), Param::from(PAGE)]).await?;
        let count = rows.len();
        let mut movements = Vec::with_capacity(count);
        for row in &rows {
            cursor = row.get("seq")?;
            movements.push((row.get("sku")?, row.get("kind")?, row.get("quantity")?));
        }
        if count > 0 {
            book.write(move |tx| learn(tx, cursor, movements)).await?;
        }
        if i64::try_from(count).unwrap_or(0) < PAGE {
            break;
        }
    }
    Ok(book.write(sum).await?)
}

fn learn(
    tx: &Connection,
    cursor: i64,
    movements: Vec<(String, String, i64)>,
) -> rusqlite::Result<()> {
    let mut shelves: HashMap<String, Shelf> = HashMap::new();
    for (sku, kind, quantity) in movements {
        let shelf = match shelves.get_mut(&sku) {
            Some(shelf) => shelf,
            None => {
                let known = known(tx, &sku)?;
                shelves.entry(sku).or_insert(known)
            }
        };
        shelf.apply(&kind, quantity);
    }
    for (sku, Shelf { received, sold, oversold }) in shelves {
        tx.prepare_cached("INSERT OR REPLACE INTO shelves VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![sku, received, sold, oversold])?;
    }
    tx.prepare_cached("INSERT OR REPLACE INTO figures VALUES ('stock', ?1)")?.execute([cursor])?;
    Ok(())
}

fn known(tx: &Connection, sku: &str) -> rusqlite::Result<Shelf> {
    let row = tx
        .prepare_cached("SELECT received, sold, oversold FROM shelves WHERE sku = ?1")?
        .query_row([sku], |row| {
            Ok(Shelf { received: row.get(0)?, sold: row.get(1)?, oversold: row.get(2)? })
        })
        .optional()?;
    Ok(row.unwrap_or_default())
}

fn sum(tx: &Connection) -> rusqlite::Result<Shelves> {
    let query = "SELECT coalesce(sum(received), 0), coalesce(sum(sold), 0), \
                 coalesce(sum(max(oversold, 0)), 0) FROM shelves";
    tx.prepare_cached(query)?.query_row([], |row| {
        Ok(Shelves { stock: row.get(0)?, sold: row.get(1)?, oversold: row.get(2)? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_oversold_once_stays_known_after_it_is_put_back() {
        let mut shelf = Shelf::default();
        shelf.apply("received", 10);
        shelf.apply("reserved", 10);
        assert_eq!(shelf.oversold, 0);
        shelf.apply("reserved", 3);
        shelf.apply("released", 3);
        assert_eq!((shelf.sold, shelf.oversold), (10, 3));
    }
}
