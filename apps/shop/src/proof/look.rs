//! One look at all places in which an order can be.

use std::collections::HashSet;

use dhara::store::{Param, ServiceStore};

use super::book::{Book, Found, Lesson, Orders, Places, unsettled};
use super::{AuditError, Sources, trail};

/// How many rows are read at a time.
const PAGE: i64 = 10_000;

/// The numbers of the topics in `TOPICS`.
const ORDERS: usize = 0;
const ANSWERS: [usize; 2] = [1, 2];
const NOTIFICATIONS: usize = 3;

/// Looks at the places in the order in which an order travels through them.
pub(super) async fn look(sources: &Sources, book: &Book) -> Result<Orders, AuditError> {
    let mut found = HashSet::new();
    let mut lesson = Lesson::default();
    let order = sources.store("order")?;
    // Ends are read beside the receipts, so that what has ended long ago is done with at once.
    while read_receipts(sources, book, &mut lesson).await? {
        read_ends(order, book, &mut lesson).await?;
        book.keep(&mut lesson).await?;
    }
    read_outbox(order, &mut found).await?;
    trail::read(sources, book, ORDERS, &mut lesson).await?;
    for service in ["payment", "inventory"] {
        read_outbox(sources.store(service)?, &mut found).await?;
    }
    for topic in ANSWERS {
        trail::read(sources, book, topic, &mut lesson).await?;
    }
    let mut dead = HashSet::new();
    // A mail or a statistic that was given up keeps no order from its end.
    for service in ["order", "payment", "inventory"] {
        read_dead_letters(sources.store(service)?, &mut dead).await?;
    }
    while read_ends(order, book, &mut lesson).await? {
        book.keep(&mut lesson).await?;
    }
    // What follows an end: its order is settling, and no more in flight.
    read_outbox(order, &mut found).await?;
    trail::read(sources, book, NOTIFICATIONS, &mut lesson).await?;
    book.keep(&mut lesson).await?;
    let settled = lesson.settled;
    let found = move |order_id: &str, places: &Places| {
        if found.contains(order_id) || unsettled(places, &settled) {
            Found::UnderWay
        } else if dead.contains(order_id) {
            Found::DeadLetter
        } else {
            Found::Nowhere
        }
    };
    Ok(book.sort(found).await?)
}

/// Reads a page of receipts; whether there are more.
async fn read_receipts(
    sources: &Sources,
    book: &Book,
    lesson: &mut Lesson,
) -> Result<bool, AuditError> {
    let cursor = book.figure("receipts").await?;
    let page = sources.receipts.after(cursor, PAGE).await?;
    let count = i64::try_from(page.len()).unwrap_or(PAGE);
    lesson.add("accepted", count);
    for (number, order_id) in page {
        lesson.set_cursor("receipts", number);
        lesson.order(order_id).accepted = true;
    }
    Ok(count == PAGE)
}

/// Reads which orders have ended from a page of the streams; whether there are more.
async fn read_ends(
    store: &dyn ServiceStore,
    book: &Book,
    lesson: &mut Lesson,
) -> Result<bool, AuditError> {
    let cursor = book.figure("ends").await?;
    // An order's stream has four or five events.
    let limit = PAGE * 5;
    let query = "SELECT seq, stream, kind FROM order_events WHERE seq > $1 ORDER BY seq LIMIT $2";
    let rows = store.query(query, &[Param::from(cursor), Param::from(limit)]).await?;
    for row in &rows {
        lesson.set_cursor("ends", row.get("seq")?);
        let figure = match row.get::<String>("kind")?.as_str() {
            "OrderConfirmed" => "confirmed",
            "OrderRejected" => "rejected",
            _ => continue,
        };
        lesson.add(figure, 1);
        lesson.order(row.get("stream")?).ended = true;
    }
    Ok(i64::try_from(rows.len()).unwrap_or(limit) == limit)
}

async fn read_outbox(
    store: &dyn ServiceStore,
    found: &mut HashSet<String>,
) -> Result<(), AuditError> {
    let mut after = 0;
    loop {
        let rows = store.outbox_after(after, 1000).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.sequence;
        let keys = rows.iter().filter_map(|row| row.key.as_deref());
        found.extend(keys.map(|key| String::from_utf8_lossy(key).into_owned()));
    }
}

async fn read_dead_letters(
    store: &dyn ServiceStore,
    found: &mut HashSet<String>,
) -> Result<(), AuditError> {
    for row in store.query("SELECT key FROM dhara_dead_letters", &[]).await? {
        if let Some(key) = row.get::<Option<Vec<u8>>>("key")? {
            found.insert(String::from_utf8_lossy(&key).into_owned());
        }
    }
    Ok(())
}

/// How many events nobody could handle.
pub(super) async fn dead_letters(sources: &Sources) -> Result<u64, AuditError> {
    let mut count = 0;
    for (_, store) in &sources.stores {
        let rows = store.query("SELECT count(*) AS count FROM dhara_dead_letters", &[]).await?;
        count += rows.first().map_or(Ok(0), |row| row.get::<u64>("count"))?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::TOPICS;

    #[test]
    fn the_topics_are_numbered_as_they_stand_in_the_list() {
        let names = TOPICS.map(|(name, _)| name);
        assert_eq!(names[ORDERS], "orders");
        assert_eq!(ANSWERS.map(|topic| names[topic]), ["payments", "inventory"]);
        assert_eq!(names[NOTIFICATIONS], "notifications");
    }
}
