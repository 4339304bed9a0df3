//! Takes deliveries from the broker and spreads them over the lanes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::arrived::{Arrived, Place, Share};
use super::core::{Core, partition_of};
use super::lane::Lane;
use crate::broker::{Assignment, BrokerError, Delivery, Signal, Subscription, TopicPartition};
use crate::world::timeout;

/// Takes deliveries from the broker and spreads them over the lanes.
pub(crate) struct Intake {
    pub(crate) core: Arc<Core>,
    pub(crate) subscription: Arc<dyn Subscription>,
    pub(crate) lanes: Arc<[Arc<Lane>]>,
    /// What is on its way to each lane; empty between two signals.
    pub(crate) pending: Vec<Vec<Place>>,
    /// Positions that the store held when the service started.
    pub(crate) stored: HashMap<TopicPartition, u64>,
}

impl Intake {
    pub(crate) async fn run(mut self) {
        loop {
            let signal = tokio::select! {
                biased;
                () = self.core.stopped() => return,
                signal = self.subscription.next() => signal,
            };
            match signal {
                Ok(Signal::Deliveries(deliveries)) => self.spread(deliveries),
                Ok(Signal::Assigned(assignments)) => self.assigned(assignments),
                Ok(Signal::Revoked(partitions)) => self.revoked(partitions),
                Ok(Signal::Lost(partitions)) => self.lost(&partitions),
                Ok(Signal::Closed) => return self.core.fail(&BrokerError::Closed),
                Err(error) if error.is_transient() => {
                    tracing::warn!(service = %self.core.name, %error, "no deliveries, trying again");
                    self.core.note(&error.to_string());
                    if self.core.pause(Duration::from_millis(200)).await {
                        return;
                    }
                }
                Err(error) => return self.core.fail(&error),
            }
        }
    }

    fn spread(&mut self, deliveries: Vec<Delivery>) {
        self.core.counters.in_hand.fetch_add(deliveries.len() as u64, Ordering::Relaxed);
        let together = |one: &Delivery, next: &Delivery| {
            one.partition == next.partition && one.topic == next.topic
        };
        let mut tracks = Vec::new();
        let mut numbers = 0..;
        for (run, track) in deliveries.chunk_by(together).zip(0..) {
            let Some(first) = run.first() else { continue };
            let whole = self.core.track(&partition_of(first), first.offset);
            whole.begin(run.iter().map(|delivery| delivery.offset));
            tracks.push(whole);
            for (each, delivery) in run.iter().zip(&mut numbers) {
                let lane = self.lane_of(each);
                if let Some(pending) = self.pending.get_mut(lane) {
                    pending.push(Place { delivery, track });
                }
            }
        }
        let batch = Arrived::new(deliveries, tracks);
        for (lane, pending) in self.lanes.iter().zip(&mut self.pending) {
            if !pending.is_empty() {
                // There will be as many again, so that the next ones need not make room one by one.
                let next = Vec::with_capacity(pending.capacity());
                lane.add(Share::new(batch.clone(), std::mem::replace(pending, next)));
            }
        }
    }

    fn lane_of(&self, delivery: &Delivery) -> usize {
        let lanes = self.lanes.len() as u64;
        let lane = match &delivery.key {
            // The hash is taken as a fraction of its range, and the lane is as far among the lanes.
            Some(key) => high_half(u128::from(hash_of(key)) * u128::from(lanes)),
            // Without a key there is no order to keep: spread them evenly.
            None => delivery.offset % lanes.max(1),
        };
        usize::try_from(lane).unwrap_or(0)
    }

    /// The position in the store is the truth, but for a broker that lost what it points to.
    fn assigned(&self, assignments: Vec<Assignment>) {
        for Assignment { partition, offset, .. } in assignments {
            let stored = self.stored.get(&partition).copied().unwrap_or(0);
            if stored <= offset {
                self.core.assign(partition, offset);
                continue;
            }
            let next = match self.subscription.seek(&partition, stored) {
                Ok(()) => stored,
                Err(error) => {
                    tracing::warn!(service = %self.core.name, %partition, stored, offset, %error,
                        "the broker cannot go to the store's position; the inbox sorts out what comes again");
                    offset
                }
            };
            self.core.assign(partition, next);
        }
    }

    /// Waits, beside the other work, until nothing of these partitions is in hand.
    fn revoked(&self, partitions: Vec<TopicPartition>) {
        let (core, subscription) = (self.core.clone(), self.subscription.clone());
        let lanes = self.lanes.clone();
        drop(self.core.world.spawn(async move {
            for partition in &partitions {
                let Some(track) = core.unassign(partition) else { continue };
                loop {
                    let progressed = core.progressed.notified();
                    // What fails again in the meantime is parked again: look once more each time.
                    lanes.iter().for_each(|lane| lane.forget_waiting(&track));
                    if track.in_hand() == 0 || core.is_stopping() {
                        break;
                    }
                    let _ = timeout(Duration::from_millis(100), progressed).await;
                }
            }
            core.flush_acks(subscription.as_ref()).await;
            if let Err(error) = subscription.release(&partitions).await {
                tracing::warn!(service = %core.name, %error, "partitions were not handed over");
            }
        }));
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(track) = self.core.unassign(partition) {
                track.lose();
                self.lanes.iter().for_each(|lane| lane.forget_waiting(&track));
            }
        }
    }
}

/// A quick hash over words; the lanes need an even spread, not more.
fn hash_of(key: &[u8]) -> u64 {
    let add = |hash, word: &[u8; 8]| mixed(hash ^ u64::from_le_bytes(*word));
    match (key.split_first_chunk(), key.last_chunk()) {
        // The last eight bytes overlap the word before them, where they are no word of their own.
        (Some((first, rest)), Some(last)) => {
            let (words, _) = rest.as_chunks();
            add(words.iter().fold(add(0, first), add), last)
        }
        _ => mixed(key.iter().fold(1, |word, byte| word << 8 | u64::from(*byte))),
    }
}

/// Each bit decides over bits everywhere: those that a product lifts out of a word come back to it.
#[inline]
fn mixed(word: u64) -> u64 {
    let product = u128::from(word) * 0x9e37_79b9_7f4a_7c15;
    // The low half as it is.
    high_half(product) ^ product as u64
}

#[inline]
fn high_half(product: u128) -> u64 {
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_all_lanes_wherever_in_them_their_numbers_stand() {
        for (before, after) in (0..20).flat_map(|before| (0..20).map(move |after| (before, after)))
        {
            for lanes in [2, 3, 4, 8, 10] {
                let mut counts = vec![0; lanes];
                for number in 0..1_000 {
                    let key = format!("{:x<before$}{number:03}{:y<after$}", "", "");
                    let lane = high_half(u128::from(hash_of(key.as_bytes())) * lanes as u128);
                    counts[lane as usize] += 1;
                }
                let fair = 1_000 / lanes;
                let even = |count: &usize| (fair / 2..fair * 3 / 2).contains(count);
                assert!(counts.iter().all(even), "{before} {after}: {counts:?}");
            }
        }
    }
}
