//! Keys that wait behind a failed delivery.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::world::Instant;

use super::item::{Item, Order};
use super::track::Track;

/// The parked keys of one lane.
///
/// A key is parked from the failure of one of its deliveries until nothing of it waits any more.
/// Later deliveries of the key join it, in the order of their offsets. One at a time is taken out
/// and handled again, the first only when its wait is over; while any is out, none is taken.
#[derive(Debug, Default)]
pub(crate) struct Parking {
    keys: HashMap<Order, Parked>,
}

#[derive(Debug, Default)]
struct Parked {
    /// By offset: all of one key are in one partition.
    waiting: BTreeMap<u64, Item>,
    due: Option<Instant>,
    /// How many of the key are being handled or committed.
    out: usize,
}

impl Parking {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn holds(&self, order: &Order) -> bool {
        self.keys.contains_key(order)
    }

    /// How many deliveries wait.
    pub(crate) fn waiting(&self) -> usize {
        self.keys.values().map(|parked| parked.waiting.len()).sum()
    }

    /// A delivery waits behind what is there of its key; where nothing is, it is next.
    pub(crate) fn join(&mut self, mut item: Item) {
        let at_once = || Parked { due: Some(Instant::now()), ..Parked::default() };
        let parked = self.keys.entry(item.order()).or_insert_with(at_once);
        if std::mem::take(&mut item.history.taken) {
            parked.out = parked.out.saturating_sub(1);
        }
        item.detach();
        parked.waiting.insert(item.delivery().offset, item);
    }

    /// A delivery failed: its key is parked until `due`.
    pub(crate) fn failed(&mut self, item: Item, due: Instant) {
        let order = item.order();
        self.join(item);
        if let Some(parked) = self.keys.get_mut(&order) {
            parked.due = Some(due);
        }
    }

    /// A delivery of this key that is on its way counts as taken out; the key is parked.
    pub(crate) fn take_along(&mut self, item: &mut Item) {
        if !std::mem::replace(&mut item.history.taken, true) {
            self.keys.entry(item.order()).or_default().out += 1;
        }
    }

    /// Takes out the first delivery of a key whose wait is over.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Item> {
        let ready = |parked: &&mut Parked| parked.ready().is_some_and(|due| due <= now);
        let parked = self.keys.values_mut().find(ready)?;
        let (_, mut item) = parked.waiting.pop_first()?;
        item.history.taken = true;
        parked.out += 1;
        parked.due = None;
        Some(item)
    }

    /// When the next key's wait is over.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.keys.values().filter_map(Parked::ready).min()
    }

    /// These deliveries are through: what waits behind one of them that was taken out is next.
    pub(crate) fn finished(&mut self, items: &[Item], now: Instant) {
        for item in items.iter().filter(|item| item.history.taken) {
            let order = item.order();
            let Some(parked) = self.keys.get_mut(&order) else { continue };
            parked.out = parked.out.saturating_sub(1);
            parked.due = parked.due.or(Some(now));
            if parked.out == 0 && parked.waiting.is_empty() {
                self.keys.remove(&order);
            }
        }
    }

    /// Gives up what waits of one partition.
    pub(crate) fn take_partition(&mut self, track: &Arc<Track>) -> Vec<Item> {
        let mut taken = Vec::new();
        for parked in self.keys.values_mut() {
            let of_it = parked.waiting.extract_if(.., |_, item| Arc::ptr_eq(item.track(), track));
            taken.extend(of_it.map(|(_, item)| item));
        }
        self.keys.retain(|_, parked| parked.out > 0 || !parked.waiting.is_empty());
        taken
    }
}

impl Parked {
    fn ready(&self) -> Option<Instant> {
        (self.out == 0 && !self.waiting.is_empty()).then_some(self.due).flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::arrived::{Arrived, Place};
    use super::super::item::History;
    use super::*;
    use crate::broker::{Delivery, Receipt, Topic, TopicPartition};
    use crate::world::Timestamp;

    fn item(key: &'static str, offset: u64) -> Item {
        let topic = Topic::from("orders");
        let partition = TopicPartition { topic: topic.clone(), partition: 0 };
        let delivery = Delivery {
            topic,
            partition: 0,
            offset,
            key: Some(Bytes::from(key)),
            body: Bytes::new(),
            headers: Vec::new(),
            timestamp: Timestamp::default(),
            attempt: 1,
            receipt: Receipt::new(0, 0, offset),
        };
        let track = Arc::new(Track::new(partition, 0, true));
        Item::new(
            Arrived::new(vec![delivery], vec![track]),
            Place { delivery: 0, track: 0 },
            History::default(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_in_order_behind_its_failed_delivery() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut parking = Parking::default();
        parking.failed(item("a", 1), later);
        parking.join(item("a", 5));
        parking.join(item("a", 3));
        assert!(parking.take_due(now).is_none(), "its wait is not over");
        assert_eq!(parking.next_due(), Some(later));

        let mut offsets = Vec::new();
        while let Some(item) = parking.take_due(later) {
            assert!(parking.take_due(later).is_none(), "one of a key at a time");
            offsets.push(item.delivery().offset);
            parking.finished(&[item], later);
        }
        assert_eq!(offsets, [1, 3, 5]);
        assert!(parking.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_on_its_way_when_the_key_was_parked_holds_the_retry_back() {
        let now = Instant::now();
        let mut parking = Parking::default();
        parking.failed(item("a", 1), now);
        let mut on_its_way = item("a", 2);
        parking.take_along(&mut on_its_way);
        assert!(parking.take_due(now).is_none());
        parking.join(on_its_way);
        assert_eq!(parking.take_due(now).map(|item| item.delivery().offset), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_delivery_of_the_key_that_finishes_does_not_shorten_the_wait() {
        let now = Instant::now();
        let mut parking = Parking::default();
        parking.failed(item("a", 2), now + Duration::from_secs(9));
        parking.finished(&[item("a", 1)], now);
        assert!(parking.take_due(now).is_none());
        assert!(parking.holds(&item("a", 7).order()));
    }
}
