//! Deliveries that came together, and the share of them that a lane is given.

use std::sync::Arc;

use super::item::{History, Item};
use super::track::Track;
use crate::broker::{Delivery, Receipt};

/// Deliveries that came together, where they came: an event is moved no more.
#[derive(Debug)]
pub(crate) struct Arrived {
    deliveries: Vec<Delivery>,
    /// The tracks of their partitions.
    tracks: Vec<Arc<Track>>,
}

/// Which of the deliveries that came together, and which of the tracks is that of its partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) delivery: u32,
    pub(crate) track: u32,
}

impl Arrived {
    pub(crate) fn new(deliveries: Vec<Delivery>, tracks: Vec<Arc<Track>>) -> Arc<Self> {
        Arc::new(Self { deliveries, tracks })
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a place is made for a batch that has it")]
    pub(crate) fn delivery(&self, place: Place) -> &Delivery {
        &self.deliveries[place.delivery as usize]
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a place is made for a batch that has it")]
    pub(crate) fn track(&self, place: Place) -> &Arc<Track> {
        &self.tracks[place.track as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// The deliveries at `places`, in a batch of their own, where they lie side by side.
    fn only(&self, places: &mut [Place]) -> Arc<Self> {
        let twins = places.iter().map(|place| self.delivery(*place).twin()).collect();
        for (number, place) in (0..).zip(places) {
            place.delivery = number;
        }
        Self::new(twins, self.tracks.clone())
    }
}

/// Deliveries that came together and that one lane handles, in order. What has befallen them so far
/// has befallen all of them.
#[derive(Debug)]
pub(crate) struct Share {
    batch: Arc<Arrived>,
    /// Those before `next` are handled.
    places: Vec<Place>,
    next: usize,
    pub(crate) history: History,
}

impl Share {
    /// Deliveries that were not looked at yet.
    pub(crate) fn new(batch: Arc<Arrived>, places: Vec<Place>) -> Self {
        Self { batch, places, next: 0, history: History::default() }
    }

    fn places(&self) -> &[Place] {
        self.places.get(self.next..).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places().is_empty()
    }

    /// The deliveries that are not handled yet.
    #[inline]
    pub(crate) fn deliveries(&self) -> impl ExactSizeIterator<Item = &Delivery> {
        self.places().iter().map(|place| self.batch.delivery(*place))
    }

    /// Takes out the first of them, at most `count`.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Item> {
        let some = self.places().get(..count).unwrap_or(self.places());
        let item = |place: &Place| Item::new(self.batch.clone(), *place, self.history.clone());
        let items: Vec<Item> = some.iter().map(item).collect();
        self.next += items.len();
        items
    }

    /// Takes out those of one partition.
    pub(crate) fn take_partition(&mut self, track: &Arc<Track>) -> Vec<Item> {
        let batch = &self.batch;
        let of_it = |place: &mut Place| Arc::ptr_eq(batch.track(*place), track);
        let taken = self.places.extract_if(self.next.., of_it);
        taken.map(|place| Item::new(batch.clone(), place, self.history.clone())).collect()
    }

    /// Ends the first `count`: the positions of their partitions may move on. Gives what the broker is
    /// to be told.
    pub(crate) fn done(&mut self, count: usize) -> impl ExactSizeIterator<Item = Receipt> {
        let Self { batch, places, next, .. } = self;
        let some = places.get(*next..*next + count).unwrap_or_default();
        for run in some.chunk_by(|one, next| one.track == next.track) {
            if let Some(first) = run.first() {
                let offsets = run.iter().map(|place| batch.delivery(*place).offset);
                batch.track(*first).done(offsets);
            }
        }
        *next += some.len();
        some.iter().map(|place| batch.delivery(*place).receipt.twin())
    }

    /// Lets go of the deliveries that came with them: they may have to wait long after those are done.
    pub(crate) fn detach(&mut self) {
        if self.batch.len() > self.places.len() {
            self.batch = self.batch.only(&mut self.places);
        }
    }
}

impl From<Item> for Share {
    fn from(item: Item) -> Self {
        let Item { batch, place, history } = item;
        Self { batch, places: vec![place], next: 0, history }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::broker::{Topic, TopicPartition};
    use crate::world::Timestamp;

    fn delivery(partition: u32, offset: u64) -> Delivery {
        Delivery {
            topic: Topic::from("t"),
            partition,
            offset,
            key: None,
            body: Bytes::new(),
            headers: Vec::new(),
            timestamp: Timestamp::default(),
            attempt: 1,
            receipt: Receipt::new(partition, 0, offset),
        }
    }

    /// The first of partition 0 and both of partition 1, of a batch that has a second of partition 0.
    fn share() -> (Share, Vec<Arc<Track>>) {
        let deliveries = vec![delivery(0, 5), delivery(0, 6), delivery(1, 7), delivery(1, 8)];
        let track = |partition, next| {
            let partition = TopicPartition { topic: Topic::from("t"), partition };
            let track = Arc::new(Track::new(partition, next, true));
            track.begin([next, next + 1].into_iter());
            track
        };
        let tracks = vec![track(0, 5), track(1, 7)];
        let batch = Arrived::new(deliveries, tracks.clone());
        let places = [(0, 0), (2, 1), (3, 1)];
        let places = places.map(|(delivery, track)| Place { delivery, track });
        (Share::new(batch, places.to_vec()), tracks)
    }

    fn offsets(share: &Share) -> Vec<u64> {
        share.deliveries().map(|delivery| delivery.offset).collect()
    }

    #[test]
    fn a_share_that_is_to_wait_keeps_its_own_deliveries_and_no_other() {
        let (mut share, tracks) = share();
        let batch = share.batch.clone();
        share.detach();
        assert_eq!(Arc::strong_count(&batch), 1, "the batch can go");
        assert_eq!(share.batch.len(), 3);
        assert_eq!(offsets(&share), [5, 7, 8]);
        let items = share.take(3);
        assert!(Arc::ptr_eq(items[0].track(), &tracks[0]));
        assert!(Arc::ptr_eq(items[2].track(), &tracks[1]));
    }

    #[test]
    fn what_is_done_moves_each_partition_on_and_is_no_longer_in_the_share() {
        let (mut share, tracks) = share();
        let told: Vec<u64> = share.done(2).map(|receipt| receipt.tag()).collect();
        assert_eq!(told, [5, 7]);
        assert_eq!(offsets(&share), [8]);
        assert_eq!(tracks[0].unstored(), Some(6));
        assert_eq!(tracks[1].unstored(), Some(8));
        assert_eq!(share.take(9).len(), 1, "no more than there is");
        assert!(share.is_empty());
    }

    #[test]
    fn a_partition_that_is_taken_away_leaves_the_rest_in_the_share() {
        let (mut share, tracks) = share();
        let taken = share.take_partition(&tracks[1]);
        let taken: Vec<u64> = taken.iter().map(|item| item.delivery().offset).collect();
        assert_eq!(taken, [7, 8]);
        assert_eq!(offsets(&share), [5]);
    }
}
