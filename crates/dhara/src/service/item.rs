//! A delivery inside the runtime, and what is known of its partition.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::broker::watermark::Watermark;
use crate::broker::{Delivery, Receipt, Topic, TopicPartition};

/// A set of the service's handlers: bit n stands for the handler that was added as the nth.
pub(crate) type Handlers = u64;

/// A delivery in hand.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) delivery: Delivery,
    /// The handlers that have not finished with it; all where it was not looked at yet.
    pub(crate) remaining: Handlers,
    /// How often it was tried and failed.
    pub(crate) failures: u32,
    /// It belongs to a parked key and was taken out to be handled; see [`super::parked`].
    pub(crate) taken: bool,
    pub(crate) track: Arc<Track>,
}

impl Item {
    pub(crate) fn order(&self) -> Order {
        match &self.delivery.key {
            Some(key) => Order::Key(self.delivery.topic.clone(), key.clone()),
            None => {
                Order::None(self.delivery.topic.clone(), self.track.partition, self.delivery.offset)
            }
        }
    }
}

/// Ends deliveries: the positions of their partitions may move on. Gives what the broker is to be
/// told.
pub(crate) fn done(items: &mut [Item]) -> impl ExactSizeIterator<Item = Receipt> {
    for run in items.chunk_by(|one, next| Arc::ptr_eq(&one.track, &next.track)) {
        if let Some(first) = run.first() {
            first.track.done(run.iter().map(|item| item.delivery.offset));
        }
    }
    items.iter_mut().map(|item| item.delivery.receipt.take())
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
    state: Mutex<TrackState>,
}

#[derive(Debug)]
struct TrackState {
    /// What is in hand; everything below its lowest is done.
    in_hand: Watermark,
    /// The position that the store holds.
    stored: u64,
    /// Taken away: what is in hand is another member's.
    lost: bool,
}

impl Track {
    pub(crate) fn new(partition: TopicPartition, next: u64) -> Self {
        let state = TrackState { in_hand: Watermark::new(next), stored: next, lost: false };
        Self { topic: partition.topic, partition: partition.partition, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, TrackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deliveries were taken in hand. Offsets of a partition only rise.
    pub(crate) fn begin(&self, offsets: impl Iterator<Item = u64>) {
        let mut state = self.lock();
        for offset in offsets {
            state.in_hand.begin(offset, ());
        }
    }

    /// Deliveries are done.
    pub(crate) fn done(&self, offsets: impl Iterator<Item = u64>) {
        let mut state = self.lock();
        for offset in offsets {
            state.in_hand.done(offset);
        }
    }

    /// How many deliveries are in hand.
    pub(crate) fn in_hand(&self) -> usize {
        self.lock().in_hand.open_mut().count()
    }

    /// The position, where the store does not hold it yet.
    pub(crate) fn unstored(&self) -> Option<u64> {
        let state = self.lock();
        let next = state.in_hand.lowest();
        (next > state.stored && !state.lost).then_some(next)
    }

    /// The store holds this position.
    pub(crate) fn stored(&self, next: u64) {
        let mut state = self.lock();
        state.stored = state.stored.max(next);
    }

    /// A delivery was dropped undone: nothing may be said of the position any more.
    pub(crate) fn forget(&self, offset: u64) {
        let mut state = self.lock();
        state.in_hand.done(offset);
        state.lost = true;
    }

    /// The partition was taken away.
    pub(crate) fn lose(&self) {
        self.lock().lost = true;
    }

    pub(crate) fn partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(next: u64) -> Track {
        Track::new(TopicPartition { topic: Topic::from("t"), partition: 0 }, next)
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
