//! What the auditor has understood so far, in a ledger of its own.

use std::collections::HashMap;
use std::path::Path;

use dhara::world::World;
use rusqlite::{Connection, OptionalExtension, params};

use crate::ledger::{Ledger, LedgerError};

/// The places of an order's last event: for each topic, the partition and the offset.
pub(super) type Places = [Option<(u32, u64)>; 4];

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS figures (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS tails (
        topic INTEGER, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)
    );
    CREATE TABLE IF NOT EXISTS shelves (
        sku TEXT PRIMARY KEY, received INTEGER NOT NULL, sold INTEGER NOT NULL,
        oversold INTEGER NOT NULL
    );
    -- Orders of which something is still to come. 'at_n' is the offset of the order's last event in
    -- the topic number n, 'in_n' the partition, both -1 where there is none.
    CREATE TABLE IF NOT EXISTS open_orders (
        order_id TEXT PRIMARY KEY,
        accepted INTEGER NOT NULL, ended INTEGER NOT NULL,
        in_0 INTEGER NOT NULL, at_0 INTEGER NOT NULL, in_1 INTEGER NOT NULL, at_1 INTEGER NOT NULL,
        in_2 INTEGER NOT NULL, at_2 INTEGER NOT NULL, in_3 INTEGER NOT NULL, at_3 INTEGER NOT NULL
    ) WITHOUT ROWID;
";

/// Forgets the places in another broker than BROKER: its offsets count from 0 again.
const TURN_TO: &str = "
    CREATE TABLE IF NOT EXISTS broker (id TEXT PRIMARY KEY);
    DELETE FROM tails WHERE NOT EXISTS (SELECT 1 FROM broker WHERE id = BROKER);
    UPDATE open_orders SET in_0 = -1, at_0 = -1, in_1 = -1, at_1 = -1,
        in_2 = -1, at_2 = -1, in_3 = -1, at_3 = -1
        WHERE NOT EXISTS (SELECT 1 FROM broker WHERE id = BROKER);
    DELETE FROM broker;
    INSERT INTO broker SELECT BROKER WHERE BROKER IS NOT NULL;
";

/// What was learnt of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) accepted: bool,
    pub(super) ended: bool,
    pub(super) places: Places,
}

/// How the orders stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    pub(super) accepted: u64,
    pub(super) confirmed: u64,
    pub(super) rejected: u64,
    /// Accepted, not ended, and an event of it was found on its way.
    pub(super) in_flight: u64,
    /// Accepted, not ended, and an event of it is in the dead letters of a service that it needs.
    pub(super) dead_lettered: u64,
    /// Accepted, not ended, and nothing of it was found.
    pub(super) lost: u64,
    /// The first of them.
    pub(super) lost_orders: Vec<String>,
    /// Not waited for by a customer, with an event still on its way: a refund, a release, a mail,
    /// or the beginning of an order that is about to be accepted.
    pub(super) settling: u64,
    /// Ended, though the customer was never told that it was accepted: the shop was killed between.
    pub(super) unanswered: u64,
}

/// Where an event of an order was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In an outbox, or undelivered, being retried or parked.
    UnderWay,
    /// In dead letters: it waits for somebody to look at it.
    DeadLetter,
    Nowhere,
}

/// The auditor's ledger.
#[derive(Clone)]
pub(super) struct Book(Ledger);

impl Book {
    /// Opens it, for the broker of this id; `None` for one that begins anew with each process.
    pub(super) fn open(
        world: &World,
        dir: &Path,
        broker: Option<&str>,
    ) -> Result<Self, LedgerError> {
        let id = broker.map_or("NULL".to_owned(), |id| format!("'{}'", id.replace('\'', "''")));
        let schema = [SCHEMA, &TURN_TO.replace("BROKER", &id)].concat();
        Ok(Self(Ledger::open(world, &dir.join("audit.db"), &schema)?))
    }

    /// A figure, 0 where it was never added to.
    pub(super) async fn figure(&self, name: &'static str) -> Result<i64, LedgerError> {
        self.0.write(move |tx| figure(tx, name)).await
    }

    /// How far the tails of the topics were read: by topic number and partition.
    pub(super) async fn tails(&self) -> Result<HashMap<(usize, u32), u64>, LedgerError> {
        self.0
            .write(|tx| {
                let mut statement =
                    tx.prepare_cached("SELECT topic, partition, next FROM tails")?;
                let rows = statement.query_map([], |row| {
                    Ok(((row.get::<_, usize>(0)?, row.get(1)?), row.get(2)?))
                })?;
                rows.collect()
            })
            .await
    }

    /// Keeps what was learnt, with how far the sources were read for it.
    pub(super) async fn keep(&self, lesson: &mut Lesson) -> Result<(), LedgerError> {
        let settled = lesson.settled.clone();
        let lesson = std::mem::replace(lesson, Lesson { settled, ..Lesson::default() });
        self.0.write(move |tx| keep(tx, &lesson)).await
    }

    /// Sorts the open orders by what is still to come of them, and closes those that are done.
    ///
    /// `found` tells where an event of the order was found.
    pub(super) async fn sort(
        &self,
        found: impl Fn(&str, &Places) -> Found + Send + 'static,
    ) -> Result<Orders, LedgerError> {
        self.0
            .write(move |tx| {
                let orders = sort(tx, found)?;
                let counted =
                    |name| figure(tx, name).map(|value| u64::try_from(value).unwrap_or(0));
                let (accepted, confirmed) = (counted("accepted")?, counted("confirmed")?);
                Ok(Orders { accepted, confirmed, rejected: counted("rejected")?, ..orders })
            })
            .await
    }

    /// Runs other work in the ledger.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.0.write(work).await
    }
}

/// What a look has learnt and not yet kept.
#[derive(Default)]
pub(super) struct Lesson {
    orders: HashMap<String, Known>,
    /// Figures that grow.
    added: HashMap<&'static str, i64>,
    /// Figures that are set.
    cursors: HashMap<&'static str, i64>,
    /// How far the topics were read, by topic number and partition.
    pub(super) tails: HashMap<(usize, u32), u64>,
    /// For each topic and partition, what all groups have done: nothing below it is on its way.
    pub(super) settled: HashMap<(usize, u32), u64>,
}

impl Lesson {
    /// Whether so much was learnt that it is time to keep it.
    pub(super) fn is_long(&self) -> bool {
        self.orders.len() >= 20_000
    }

    pub(super) fn order(&mut self, order_id: String) -> &mut Known {
        self.orders.entry(order_id).or_default()
    }

    pub(super) fn add(&mut self, figure: &'static str, value: i64) {
        *self.added.entry(figure).or_default() += value;
    }

    pub(super) fn set_cursor(&mut self, name: &'static str, value: i64) {
        self.cursors.insert(name, value);
    }
}

fn keep(tx: &Connection, lesson: &Lesson) -> rusqlite::Result<()> {
    for (name, value) in &lesson.added {
        set_figure(tx, name, figure(tx, name)? + value)?;
    }
    for (name, value) in &lesson.cursors {
        set_figure(tx, name, *value)?;
    }
    for ((topic, partition), next) in &lesson.tails {
        tx.prepare_cached("INSERT OR REPLACE INTO tails VALUES (?1, ?2, ?3)")?
            .execute(params![topic, partition, next])?;
    }
    for (order_id, known) in &lesson.orders {
        keep_order(tx, order_id, known, &lesson.settled)?;
    }
    Ok(())
}

/// Whether an event at these places is not yet done by every group that reads it.
pub(super) fn unsettled(places: &Places, settled: &HashMap<(usize, u32), u64>) -> bool {
    places.iter().enumerate().any(|(topic, place)| {
        place.is_some_and(|(partition, offset)| {
            offset >= settled.get(&(topic, partition)).copied().unwrap_or(0)
        })
    })
}

fn keep_order(
    tx: &Connection,
    order_id: &str,
    known: &Known,
    settled: &HashMap<(usize, u32), u64>,
) -> rusqlite::Result<()> {
    let done = known.accepted && known.ended && !unsettled(&known.places, settled);
    // Most orders begin and end between two looks: they leave no row.
    if done && !has(tx, order_id)? {
        return Ok(());
    }
    let place = |topic: usize| {
        let place = known.places.get(topic).copied().flatten();
        place.map_or((-1, -1), |(partition, offset)| {
            (i64::from(partition), i64::try_from(offset).unwrap_or(i64::MAX))
        })
    };
    let [zero, one, two, three] = [place(0), place(1), place(2), place(3)];
    tx.prepare_cached(
        "INSERT INTO open_orders VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (order_id) DO UPDATE SET
           accepted = max(accepted, excluded.accepted), ended = max(ended, excluded.ended),
           in_0 = max(in_0, excluded.in_0), at_0 = max(at_0, excluded.at_0),
           in_1 = max(in_1, excluded.in_1), at_1 = max(at_1, excluded.at_1),
           in_2 = max(in_2, excluded.in_2), at_2 = max(at_2, excluded.at_2),
           in_3 = max(in_3, excluded.in_3), at_3 = max(at_3, excluded.at_3)",
    )?
    .execute(params![
        order_id,
        known.accepted,
        known.ended,
        zero.0,
        zero.1,
        one.0,
        one.1,
        two.0,
        two.1,
        three.0,
        three.1
    ])?;
    Ok(())
}

fn has(tx: &Connection, order_id: &str) -> rusqlite::Result<bool> {
    tx.prepare_cached("SELECT 1 FROM open_orders WHERE order_id = ?1")?.exists([order_id])
}

fn sort(tx: &Connection, found: impl Fn(&str, &Places) -> Found) -> rusqlite::Result<Orders> {
    let mut orders = Orders::default();
    let mut done = Vec::new();
    let mut statement = tx.prepare_cached("SELECT * FROM open_orders")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let order_id = row.get_ref(0)?.as_str()?;
        let (accepted, ended): (bool, bool) = (row.get(1)?, row.get(2)?);
        let mut places = Places::default();
        for (topic, place) in places.iter_mut().enumerate() {
            let (partition, offset): (i64, i64) =
                (row.get(3 + 2 * topic)?, row.get(4 + 2 * topic)?);
            *place = u32::try_from(partition).ok().zip(u64::try_from(offset).ok());
        }
        match (accepted, ended, found(order_id, &places)) {
            (true, false, Found::UnderWay) => orders.in_flight += 1,
            (true, false, Found::DeadLetter) => orders.dead_lettered += 1,
            (true, false, Found::Nowhere) => {
                orders.lost += 1;
                if orders.lost_orders.len() < 20 {
                    orders.lost_orders.push(order_id.to_owned());
                }
            }
            (_, _, Found::UnderWay) => orders.settling += 1,
            (false, true, _) => orders.unanswered += 1,
            // Nothing is left of it: it has ended, or its receipt will open it again.
            (true, true, _) | (false, false, _) => done.push(order_id.to_owned()),
        }
    }
    for order_id in done {
        tx.prepare_cached("DELETE FROM open_orders WHERE order_id = ?1")?.execute([order_id])?;
    }
    Ok(orders)
}

fn figure(tx: &Connection, name: &str) -> rusqlite::Result<i64> {
    let mut statement = tx.prepare_cached("SELECT value FROM figures WHERE name = ?1")?;
    let value = statement.query_row([name], |row| row.get(0)).optional()?;
    Ok(value.unwrap_or(0))
}

fn set_figure(tx: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO figures VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn known(accepted: bool, ended: bool, offset: Option<u64>) -> Known {
        Known { accepted, ended, places: [offset.map(|offset| (3, offset)), None, None, None] }
    }

    async fn learn(book: &Book, known: Known) {
        let mut lesson = Lesson::default();
        *lesson.order("order_1".to_owned()) = known;
        book.keep(&mut lesson).await.unwrap();
    }

    async fn sorted(book: &Book, settled: u64) -> Orders {
        let settled = HashMap::from([((0, 3), settled)]);
        let found = move |_: &str, places: &Places| match unsettled(places, &settled) {
            true => Found::UnderWay,
            false => Found::Nowhere,
        };
        book.sort(found).await.unwrap()
    }

    #[tokio::test]
    async fn an_accepted_order_is_in_flight_while_its_event_is_undelivered_and_lost_after() {
        let dir = Folder::new("book");
        let book = Book::open(&World::real(), dir.path(), Some("it's a log")).unwrap();
        learn(&book, known(true, false, Some(7))).await;
        let before = sorted(&book, 7).await;
        assert_eq!((before.in_flight, before.lost), (1, 0));
        let after = sorted(&book, 8).await;
        assert_eq!((after.in_flight, after.lost, after.lost_orders.len()), (0, 1, 1));

        learn(&book, known(false, true, None)).await;
        let ended = sorted(&book, 8).await;
        assert_eq!(ended, Orders::default(), "what has ended is closed");
    }

    #[tokio::test]
    async fn places_in_another_broker_are_forgotten() {
        let dir = Folder::new("book");
        let open = |broker| Book::open(&World::real(), dir.path(), broker).unwrap();
        for (before, after, kept) in [
            (Some("it's a log"), Some("it's a log"), true),
            (Some("it's a log"), Some("another"), false),
            (Some("another"), None, false),
            (None, None, false),
            (None, Some("another"), false),
        ] {
            let mut lesson = Lesson { tails: HashMap::from([((0, 3), 8)]), ..Lesson::default() };
            *lesson.order("order_1".to_owned()) = known(true, false, Some(7));
            open(before).keep(&mut lesson).await.unwrap();
            let book = open(after);
            assert_eq!(book.tails().await.unwrap().is_empty(), !kept, "{before:?}, {after:?}");
            let orders = sorted(&book, 0).await;
            assert_eq!((orders.in_flight, orders.lost), (u64::from(kept), u64::from(!kept)));
        }
    }

    #[tokio::test]
    async fn an_event_that_is_seen_after_its_order_was_closed_opens_nothing() {
        let dir = Folder::new("book");
        let book = Book::open(&World::real(), dir.path(), Some("it's a log")).unwrap();
        learn(&book, known(true, true, None)).await;
        learn(&book, known(false, false, Some(7))).await;
        assert_eq!(sorted(&book, 7).await.settling, 1);
        assert_eq!(sorted(&book, 8).await, Orders::default());
    }

    #[tokio::test]
    async fn a_receipt_that_comes_after_the_end_closes_the_order() {
        let dir = Folder::new("book");
        let book = Book::open(&World::real(), dir.path(), Some("it's a log")).unwrap();
        for (known, unanswered) in [(known(false, true, Some(7)), 1), (known(true, false, None), 0)]
        {
            learn(&book, known).await;
            let orders = sorted(&book, 8).await;
            assert_eq!((orders.unanswered, orders.lost), (unanswered, 0));
        }
    }
}
