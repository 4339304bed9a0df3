//! A delivery inside the runtime.

use std::sync::Arc;

use bytes::Bytes;

use super::arrived::{Arrived, Place};
use super::track::Track;
use crate::broker::{Delivery, Receipt, Topic};

/// A set of the service's handlers: bit n stands for the handler that was added as the nth.
pub(crate) type Handlers = u64;

/// A delivery in hand.
#[derive(Debug)]
pub(crate) struct Item {
    pub(super) batch: Arc<Arrived>,
    pub(super) place: Place,
    pub(crate) history: History,
}

/// What has befallen a delivery so far.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// The handlers that have not finished with it; all where it was not looked at yet.
    pub(crate) remaining: Handlers,
    /// How often a handler, by its number, has failed with it.
    failures: Vec<(usize, u32)>,
    /// It belongs to a parked key and was taken out to be handled; see [`super::parked`].
    pub(crate) taken: bool,
}

impl Default for History {
    fn default() -> Self {
        Self { remaining: Handlers::MAX, failures: Vec::new(), taken: false }
    }
}

impl History {
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
}

impl Item {
    pub(super) fn new(batch: Arc<Arrived>, place: Place, history: History) -> Self {
        Self { batch, place, history }
    }

    pub(crate) fn delivery(&self) -> &Delivery {
        self.batch.delivery(self.place)
    }

    pub(crate) fn track(&self) -> &Arc<Track> {
        self.batch.track(self.place)
    }

    /// Lets go of the deliveries that came with it: it may have to wait long after they are done.
    pub(crate) fn detach(&mut self) {
        if self.batch.len() > 1 {
            let (deliveries, tracks) = (vec![self.delivery().twin()], vec![self.track().clone()]);
            self.batch = Arrived::new(deliveries, tracks);
            self.place = Place { delivery: 0, track: 0 };
        }
    }

    pub(crate) fn order(&self) -> Order {
        Order::of(self.delivery())
    }
}

/// Ends deliveries: the positions of their partitions may move on. Gives what the broker is to be
/// told.
pub(crate) fn done(items: &[Item]) -> impl ExactSizeIterator<Item = Receipt> {
    for run in items.chunk_by(|one, next| Arc::ptr_eq(one.track(), next.track())) {
        if let Some(first) = run.first() {
            first.track().done(run.iter().map(|item| item.delivery().offset));
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

impl Order {
    pub(crate) fn of(delivery: &Delivery) -> Self {
        match &delivery.key {
            Some(key) => Self::Key(delivery.topic.clone(), key.clone()),
            None => Self::None(delivery.topic.clone(), delivery.partition, delivery.offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::TopicPartition;

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
        let partition = TopicPartition { topic: Topic::from("t"), partition: 0 };
        let track = Track::new(partition, 5, true);
        let batch = Arrived::new(vec![delivery(5), delivery(6)], vec![Arc::new(track)]);
        let place = Place { delivery: 1, track: 0 };
        let mut item = Item::new(batch.clone(), place, History::default());
        item.detach();
        assert_eq!(Arc::strong_count(&batch), 1, "the batch can go");
        assert_eq!(item.delivery().offset, 6);
        assert_eq!(item.delivery().receipt, Receipt::new(3, 4, 6));
        assert_eq!(item.order(), Order::Key(Topic::from("t"), Bytes::from_static(b"k")));
    }
}
