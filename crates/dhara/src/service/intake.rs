//! Takes deliveries from the broker and spreads them over the lanes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::{Core, partition_of};
use super::item::Item;
use super::lane::Lane;
use crate::broker::{Assignment, BrokerError, Delivery, Signal, Subscription, TopicPartition};
use crate::world::timeout;

/// Takes deliveries from the broker and spreads them over the lanes.
pub(crate) struct Intake {
    pub(crate) core: Arc<Core>,
    pub(crate) subscription: Arc<dyn Subscription>,
    pub(crate) lanes: Arc<[Arc<Lane>]>,
    /// What is on its way to each lane; empty between two signals, and kept for its capacity.
    pub(crate) pending: Vec<VecDeque<Item>>,
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
        let batch = Arc::new(deliveries);
        let mut places = 0..;
        for run in batch.chunk_by(together) {
            let Some(first) = run.first() else { continue };
            let track = self.core.track(&partition_of(first), first.offset);
            track.begin(run.iter().map(|delivery| delivery.offset));
            for (delivery, place) in run.iter().zip(&mut places) {
                let number = self.lane_of(delivery);
                if let Some(pending) = self.pending.get_mut(number) {
                    pending.push_back(Item::new(batch.clone(), place, track.clone()));
                }
            }
        }
        for (lane, pending) in self.lanes.iter().zip(&mut self.pending) {
            if !pending.is_empty() {
                lane.add(pending);
            }
        }
    }

    fn lane_of(&self, delivery: &Delivery) -> usize {
        let hash = match &delivery.key {
            Some(key) => hash_of(key),
            // Without a key there is no order to keep: spread them evenly.
            None => delivery.offset,
        };
        usize::try_from(hash % self.lanes.len() as u64).unwrap_or(0)
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
    let mut hash: u64 = 0;
    let mut mix = |word: u64| {
        hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    };
    let (words, tail) = key.as_chunks::<8>();
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    match (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
        // The two halves overlap unless the tail has seven bytes at least.
        (Some(first), Some(last)) => {
            mix(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)));
        }
        _ => mix(tail.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))),
    }
    // The low bits of a product mix only low bits: take the high ones down.
    hash ^ (hash >> 32)
}
