//! The bank's books: charges, refunds, idempotency keys.

use std::path::{Path, PathBuf};

use dhara::world::World;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use crate::ledger::{self, Ledger, LedgerError};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS charges (
        id INTEGER PRIMARY KEY,
        idempotency_key TEXT NOT NULL UNIQUE,
        reference TEXT NOT NULL,
        account TEXT NOT NULL,
        amount INTEGER NOT NULL,
        currency TEXT NOT NULL,
        refunded INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS charges_by_reference ON charges (reference);
    CREATE TABLE IF NOT EXISTS charged_twice (reference TEXT PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS totals (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        charges INTEGER NOT NULL, charged INTEGER NOT NULL,
        refunds INTEGER NOT NULL, refunded INTEGER NOT NULL,
        charged_twice INTEGER NOT NULL
    );
    INSERT INTO totals SELECT 1, 0, 0, 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM totals);
";

/// What a customer's account is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Charge {
    /// What the merchant calls it: the order's id.
    pub(crate) reference: String,
    /// Whose account.
    pub(crate) account: String,
    /// In minor units of the currency.
    pub(crate) amount: i64,
    pub(crate) currency: String,
}

/// What became of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Charged {
    New(i64),
    /// The key was used for this charge before.
    Repeated(i64),
    /// The key was used for another charge before.
    KeyReused,
}

/// The refund of all charges of one reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refund {
    /// The first charge that it refunds.
    pub(crate) charge: i64,
    pub(crate) amount: i64,
    /// Whether this call refunded anything.
    pub(crate) new: bool,
}

/// What the books say in sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) charges: u64,
    pub(crate) charged_amount: i64,
    pub(crate) refunds: u64,
    pub(crate) refunded_amount: i64,
    /// References with more than one charge, whatever the keys.
    pub(crate) charged_twice: u64,
    /// The first 20 of them.
    pub(crate) charged_twice_references: Vec<String>,
}

/// The open books.
#[derive(Clone)]
pub(crate) struct Books(Ledger);

/// The ledger's file in the bank's folder.
pub(crate) fn books_path(dir: &Path) -> PathBuf {
    dir.join("ledger.db")
}

impl Books {
    pub(crate) fn open(world: &World, dir: &Path) -> Result<Self, LedgerError> {
        Ok(Self(Ledger::open(world, &books_path(dir), SCHEMA)?))
    }

    /// Charges once for each key; the answer comes when it is on disk.
    pub(crate) async fn charge(&self, key: String, charge: Charge) -> Result<Charged, LedgerError> {
        self.0.write(move |tx| write_charge(tx, &key, &charge)).await
    }

    /// Refunds what was charged under `reference` and is not refunded yet; `None` where nothing was
    /// ever charged.
    pub(crate) async fn refund(&self, reference: String) -> Result<Option<Refund>, LedgerError> {
        self.0.write(move |tx| write_refund(tx, &reference)).await
    }

    pub(crate) async fn summary(&self) -> Result<Summary, LedgerError> {
        self.0.write(summary).await
    }

    /// What the books in `dir` say, read beside the bank or while it is away.
    pub(crate) fn read(dir: &Path) -> Result<Summary, LedgerError> {
        ledger::read(&books_path(dir), summary)
    }
}

fn write_charge(tx: &Connection, key: &str, charge: &Charge) -> rusqlite::Result<Charged> {
    let known = tx
        .prepare_cached(
            "SELECT id, reference, account, amount, currency FROM charges
             WHERE idempotency_key = ?1",
        )?
        .query_row([key], |row| {
            let (reference, account) = (row.get(1)?, row.get(2)?);
            let (amount, currency) = (row.get(3)?, row.get(4)?);
            Ok((row.get(0)?, Charge { reference, account, amount, currency }))
        })
        .optional()?;
    if let Some((id, known)) = known {
        return Ok(if known == *charge { Charged::Repeated(id) } else { Charged::KeyReused });
    }
    let earlier = tx
        .prepare_cached("SELECT 1 FROM charges WHERE reference = ?1")?
        .exists([&charge.reference])?;
    if earlier {
        tx.prepare_cached("INSERT OR IGNORE INTO charged_twice VALUES (?1)")?
            .execute([&charge.reference])?;
        tx.prepare_cached(
            "UPDATE totals SET charged_twice = (SELECT count(*) FROM charged_twice)",
        )?
        .execute([])?;
    }
    tx.prepare_cached(
        "INSERT INTO charges (idempotency_key, reference, account, amount, currency)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        key,
        charge.reference,
        charge.account,
        charge.amount,
        charge.currency
    ])?;
    let id = tx.last_insert_rowid();
    tx.prepare_cached("UPDATE totals SET charges = charges + 1, charged = charged + ?1")?
        .execute([charge.amount])?;
    Ok(Charged::New(id))
}

fn write_refund(tx: &Connection, reference: &str) -> rusqlite::Result<Option<Refund>> {
    let (charge, amount, open, open_amount) = tx
        .prepare_cached(
            "SELECT min(id), coalesce(sum(amount), 0), coalesce(sum(refunded = 0), 0),
                    coalesce(sum(CASE WHEN refunded = 0 THEN amount END), 0)
             FROM charges WHERE reference = ?1",
        )?
        .query_row([reference], |row| {
            let charge: Option<i64> = row.get(0)?;
            let (amount, open, open_amount): (i64, i64, i64) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((charge, amount, open, open_amount))
        })?;
    let Some(charge) = charge else { return Ok(None) };
    if open > 0 {
        tx.prepare_cached("UPDATE charges SET refunded = 1 WHERE reference = ?1")?
            .execute([reference])?;
        tx.prepare_cached("UPDATE totals SET refunds = refunds + ?1, refunded = refunded + ?2")?
            .execute([open, open_amount])?;
    }
    Ok(Some(Refund { charge, amount, new: open > 0 }))
}

fn summary(tx: &Connection) -> rusqlite::Result<Summary> {
    let references = tx
        .prepare_cached("SELECT reference FROM charged_twice ORDER BY reference LIMIT 20")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    tx.prepare_cached("SELECT charges, charged, refunds, refunded, charged_twice FROM totals")?
        .query_row([], |row| {
            Ok(Summary {
                charges: row.get(0)?,
                charged_amount: row.get(1)?,
                refunds: row.get(2)?,
                refunded_amount: row.get(3)?,
                charged_twice: row.get(4)?,
                charged_twice_references: references,
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn charge(reference: &str, amount: i64) -> Charge {
        let (account, currency) = ("user_456".to_owned(), "BDT".to_owned());
        Charge { reference: reference.to_owned(), account, amount, currency }
    }

    #[tokio::test]
    async fn a_repeated_key_charges_once_and_two_keys_are_told_of() {
        let dir = Folder::new("books");
        let books = Books::open(&World::real(), dir.path()).unwrap();
        let first = books.charge("k1".into(), charge("order_1", 1500)).await.unwrap();
        let again = books.charge("k1".into(), charge("order_1", 1500)).await.unwrap();
        let other = books.charge("k1".into(), charge("order_1", 1501)).await.unwrap();
        assert_eq!(first, Charged::New(1));
        assert_eq!(again, Charged::Repeated(1));
        assert_eq!(other, Charged::KeyReused);
        assert_eq!(books.summary().await.unwrap().charged_twice, 0);

        books.charge("k2".into(), charge("order_1", 1500)).await.unwrap();
        books.charge("k3".into(), charge("order_1", 1500)).await.unwrap();
        let sum = books.summary().await.unwrap();
        assert_eq!((sum.charges, sum.charged_amount, sum.charged_twice), (3, 4500, 1));
        assert_eq!(sum.charged_twice_references, ["order_1"]);
        assert_eq!(Books::read(dir.path()).unwrap(), sum);
    }

    #[tokio::test]
    async fn a_refund_is_given_once() {
        let dir = Folder::new("books");
        let books = Books::open(&World::real(), dir.path()).unwrap();
        assert_eq!(books.refund("order_1".into()).await.unwrap(), None);
        books.charge("k1".into(), charge("order_1", 700)).await.unwrap();
        let first = books.refund("order_1".into()).await.unwrap();
        let again = books.refund("order_1".into()).await.unwrap();
        assert_eq!(first, Some(Refund { charge: 1, amount: 700, new: true }));
        assert_eq!(again, Some(Refund { charge: 1, amount: 700, new: false }));
        let sum = books.summary().await.unwrap();
        assert_eq!((sum.refunds, sum.refunded_amount), (1, 700));
    }
}
