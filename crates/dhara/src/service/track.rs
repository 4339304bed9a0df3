//! What is known of a partition whose deliveries are handled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::broker::watermark::Watermark;
use crate::broker::{Topic, TopicPartition};

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
            place.window.done_all(offsets, |()| true);
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
