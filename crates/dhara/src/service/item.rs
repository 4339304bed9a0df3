//! A delivery inside the runtime, and what is known of its partition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::broker::watermark::Watermark;
use crate::broker::{Delivery, Receipt, Topic, TopicPartition};

/// A set of the service's handlers: bit n stands for the handler that was added as the nth.
pub(crate) type Handlers = u64;

/// A delivery in hand.
#[derive(Debug)]
pub(crate) struct Item {
    /// The deliveries that came together, where they came: an event is moved no more.
    batch: Arc<Vec<Delivery>>,
    /// Which of them this is.
    place: usize,
    /// The handlers that have not finished with it; all where it was not looked at yet.
    pub(crate) remaining: Handlers,
    /// How often a handler, by its number, has failed with it.
    failures: Vec<(usize, u32)>,
    /// It belongs to a parked key and was taken out to be handled; see [`super::parked`].
    pub(crate) taken: bool,
    pub(crate) track: Arc<Track>,
}

impl Item {
    /// A delivery that was not looked at yet.
    #[inline]
    pub(crate) fn new(batch: Arc<Vec<Delivery>>, place: usize, track: Arc<Track>) -> Self {
        let (remaining, failures) = (Handlers::MAX, Vec::new());
        Self { batch, place, remaining, failures, taken: false, track }
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "an item is made of a place that its batch has")]
    pub(crate) fn delivery(&self) -> &Delivery {
        &self.batch[self.place]
    }

    /// Lets go of the deliveries that came with it: it may have to wait long after they are done.
    pub(crate) fn detach(&mut self) {
        if self.batch.len() > 1 {
            self.batch = Arc::new(vec![self.delivery().twin()]);
            self.place = 0;
        }
    }

    /// Which attempt of this handler the next one is, from 1.
    #[inline]
    pub(crate) fn attempt(&self, handler: usize) -> u32 {
        let failures = self.failures.iter().find(|(number, _)| *number == handler);
        failures.map_or(1, |(_, count)| count.saturating_add(1))
    }

    /// This handler has failed once more.
    pub(crate) fn note_failure(&mut self, handler: usize) {
        match self.failures.iter_mut().find(|(number, _)| *number == handler) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.failures.push((handler, 1)),
        }
    }

    pub(crate) fn order(&self) -> Order {
        let delivery = self.delivery();
        match &delivery.key {
            Some(key) => Order::Key(delivery.topic.clone(), key.clone()),
            None => Order::None(delivery.topic.clone(), self.track.partition, delivery.offset),
        }
    }
}

/// Ends deliveries: the positions of their partitions may move on. Gives what the broker is to be
/// told.
pub(crate) fn done(items: &[Item]) -> impl ExactSizeIterator<Item = Receipt> {
    for run in items.chunk_by(|one, next| Arc::ptr_eq(&one.track, &next.track)) {
        if let Some(first) = run.first() {
            first.track.done(run.iter().map(|item| item.delivery().offset));
        }
    }
    items.iter().map(|item| item.delivery().receipt.twin())
}

/// What an event must keep its order with: the events of its key, or no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    Key(Topic, Bytes),
    None(Topic, u32, u64),
}

/// How far the service has come in one partition: which of its deliveries are in hand.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) topic: Topic,
    pub(crate) partition: u32,
    /// How many deliveries are in hand.
    in_hand: AtomicU64,
    /// `None` where no position is stored.
    place: Option<Mutex<Place>>,
}

#[derive(Debug)]
struct Place {
    /// What is in hand; everything below its lowest is done.
    window: Watermark,
    /// The position that the store holds.
    stored: u64,
    /// Taken away: what is in hand is another member's.
    lost: bool,
}

impl Track {
    pub(crate) fn new(partition: TopicPartition, next: u64, is_stored: bool) -> Self {
        let place = || Place { window: Watermark::new(next), stored: next, lost: false };
        Self {
            topic: partition.topic,
            partition: partition.partition,
            in_hand: AtomicU64::new(0),
            place: is_stored.then(place).map(Mutex::new),
        }
    }

    fn place(&self) -> Option<MutexGuard<'_, Place>> {
        self.place.as_ref().map(|place| place.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Deliveries were taken in hand. Offsets of a partition only rise.
    pub(crate) fn begin(&self, offsets: impl ExactSizeIterator<Item = u64>) {
        self.in_hand.fetch_add(offsets.len() as u64, Ordering::Relaxed);
        if let Some(mut place) = self.place() {
            for offset in offsets {
                place.window.begin(offset, ());
            }
        }
    }

    /// Deliveries are done.
    pub(crate) fn done(&self, offsets: impl ExactSizeIterator<Item = u64>) {
        let count = offsets.len() as u64;
        if let Some(mut place) = self.place() {
            for offset in offsets {
                place.window.done(offset);
            }
        }
        self.in_hand.fetch_sub(count, Ordering::Release);
    }

    /// How many deliveries are in hand.
    pub(crate) fn in_hand(&self) -> u64 {
        self.in_hand.load(Ordering::Acquire)
    }

    /// The position, where the store does not hold it yet.
    pub(crate) fn unstored(&self) -> Option<u64> {
        let place = self.place()?;
        let next = place.window.lowest();
        (next > place.stored && !place.lost).then_some(next)
    }

    /// The store holds this position.
    pub(crate) fn stored(&self, next: u64) {
        if let Some(mut place) = self.place() {
            place.stored = place.stored.max(next);
        }
    }

    /// A delivery was dropped undone: nothing may be said of the position any more.
    pub(crate) fn forget(&self, offset: u64) {
        self.lose();
        self.done([offset].into_iter());
    }

    /// The partition was taken away.
    pub(crate) fn lose(&self) {
        if let Some(mut place) = self.place() {
            place.lost = true;
        }
    }

    pub(crate) fn partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(next: u64) -> Track {
        Track::new(TopicPartition { topic: Topic::from("t"), partition: 0 }, next, true)
    }

    #[test]
    fn an_item_that_is_to_wait_keeps_its_own_delivery_and_no_other() {
        let delivery = |offset| Delivery {
            topic: Topic::from("t"),
            partition: 0,
            offset,
            key: Some(Bytes::from_static(b"k")),
            body: Bytes::from_static(b"{}"),
            headers: Vec::new(),
            timestamp: crate::world::Timestamp::default(),
            attempt: 1,
            receipt: Receipt::new(3, 4, offset),
        };
        let batch = Arc::new(vec![delivery(5), delivery(6)]);
        let mut item = Item::new(batch.clone(), 1, Arc::new(track(5)));
        item.detach();
        assert_eq!(Arc::strong_count(&batch), 1, "the batch can go");
        assert_eq!(item.delivery().offset, 6);
        assert_eq!(item.delivery().receipt, Receipt::new(3, 4, 6));
        assert_eq!(item.order(), Order::Key(Topic::from("t"), Bytes::from_static(b"k")));
    }

    #[test]
    fn the_position_is_the_lowest_that_has_everything_below_it_done() {
        let track = track(10);
        track.begin([10, 11, 14, 15].into_iter());
        track.done([11, 15].into_iter());
        assert_eq!((track.unstored(), track.in_hand()), (None, 2));
        track.done([10].into_iter());
        assert_eq!(track.unstored(), Some(14), "12 and 13 do not exist, and 14 is still in hand");
        track.done([14].into_iter());
        assert_eq!((track.unstored(), track.in_hand()), (Some(16), 0));
        track.stored(16);
        assert_eq!(track.unstored(), None);
    }

    #[test]
    fn a_partition_that_was_lost_stores_no_position() {
        let track = track(0);
        track.begin([0].into_iter());
        track.lose();
        track.done([0].into_iter());
        assert_eq!(track.unstored(), None);
    }
}
