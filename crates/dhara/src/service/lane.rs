//! A lane: handles the events of its keys one at a time.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::arrived::Share;
use super::commit::{CommitQueue, Work};
use super::core::{Core, Verdict};
use super::endpoint::{Desk, Results, Run};
use super::item::{Handlers, Item, Order, done};
use super::parked::Parking;
use super::track::Track;
use crate::broker::Message;
use crate::event::{DecodeError, Envelope, EventId};

/// A lane: handles the events of its keys one at a time, in order.
///
/// Fresh deliveries and those whose retry is due are taken by the lane's one task. Where the
/// service has a store, what came of them goes through the lane's commit queue, which has one unit
/// on its way at a time; so the effects of one key are committed in the order of its events.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) core: Arc<Core>,
    state: Mutex<LaneState>,
    wake: Notify,
    /// The buffers of handlers that run inside a transaction.
    pub(crate) tx_desk: Mutex<Option<Desk>>,
}

#[derive(Debug, Default)]
pub(crate) struct LaneState {
    fresh: VecDeque<Share>,
    pub(crate) parking: Parking,
    pub(crate) commits: CommitQueue,
}

/// What the lane's task works with, kept from one taking to the next for its buffers.
struct Hands {
    /// Empty but while a run is handled.
    envelopes: Vec<Envelope<'static>>,
    results: Results,
    desk: Desk,
}

/// How many deliveries a buffer may have room for when it is kept.
const MOST_KEPT: usize = 1024;

impl Lane {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, state: Mutex::default(), wake: Notify::new(), tx_desk: Mutex::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds fresh deliveries.
    pub(crate) fn add(&self, mut share: Share) {
        let mut state = self.lock();
        if !state.fresh.is_empty() {
            // A lane that is behind may be so for long: it keeps no batch alive but for its own.
            share.detach();
        }
        state.fresh.push_back(share);
        drop(state);
        self.wake();
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Works until the service stops. What is in hand then is left unacked, but for what is on its
    /// way to be committed.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut hands = Hands {
            envelopes: Vec::new(),
            results: Results::default(),
            desk: Desk::new(&self.core.world),
        };
        while let Some(mut share) = self.take().await {
            self.process(&mut hands, &mut share).await;
            if hands.envelopes.capacity() > MOST_KEPT {
                hands.envelopes = Vec::new();
            }
        }
    }

    /// Takes what is to be handled next; `None` when the service stops.
    async fn take(&self) -> Option<Share> {
        loop {
            let woken = self.wake.notified();
            let due = {
                let mut state = self.lock();
                if self.core.is_stopping() {
                    return None;
                }
                if let Some(item) = state.parking.take_due(self.core.world.instant()) {
                    return Some(item.into());
                }
                if let Some(share) = state.fresh.pop_front() {
                    return Some(share);
                }
                state.parking.next_due()
            };
            match due {
                Some(due) => tokio::select! {
                    () = woken => (),
                    () = self.core.world.sleep_until(due) => (),
                    () = self.core.stopped() => return None,
                },
                None => tokio::select! {
                    () = woken => (),
                    () = self.core.stopped() => return None,
                },
            }
        }
    }

    async fn process(self: &Arc<Self>, hands: &mut Hands, share: &mut Share) {
        while !share.is_empty() && !self.core.is_stopping() {
            let parking = !share.history.taken && !self.lock().parking.is_empty();
            if parking && self.join_parked(share) {
                continue;
            }
            // Where a key is parked, the failure of one delivery may concern the next.
            self.handle_run(hands, share, parking).await;
        }
    }

    /// Parks the first delivery where its key is parked.
    fn join_parked(&self, share: &mut Share) -> bool {
        let mut state = self.lock();
        let first = share.deliveries().next();
        if !first.is_some_and(|first| state.parking.holds(&Order::of(first))) {
            return false;
        }
        share.take(1).into_iter().for_each(|first| state.parking.join(first));
        true
    }

    /// Handles a run of deliveries from the first on: by the handlers outside the transaction now,
    /// by the others when it is committed.
    async fn handle_run(self: &Arc<Self>, hands: &mut Hands, share: &mut Share, alone: bool) {
        let Hands { envelopes: kept, results, desk } = hands;
        let mut envelopes = emptied(std::mem::take(kept));
        let handlers = match self.read_run(share, alone, &mut envelopes) {
            Ok(handlers) => handlers,
            Err(error) => {
                *kept = emptied(envelopes);
                if let Some(item) = share.take(1).pop() {
                    self.bury_unreadable(item, error).await;
                }
                return;
            }
        };
        let in_tx = self.core.in_tx(handlers);
        for (number, endpoint) in self.core.endpoints(handlers & !in_tx) {
            let run = Run { number, share, envelopes: &envelopes, results, desk };
            endpoint.call_run(run).await;
        }
        let count = envelopes.len();
        let is_stored = self.core.store.is_some();
        if handlers == 0 || results.is_empty() && !is_stored {
            *kept = emptied(envelopes);
            return self.through(share, count);
        }
        let ids: Vec<EventId> = envelopes.iter().map(|envelope| envelope.id.clone()).collect();
        *kept = emptied(envelopes);
        let mut works: Vec<Work> = Vec::with_capacity(count);
        for (mut item, id) in share.take(count).into_iter().zip(ids) {
            item.history.remaining = handlers;
            let mut work = Work::new(item, id, in_tx);
            work.done = handlers & !in_tx;
            works.push(work);
        }
        self.share_out(results, &mut works);
        if is_stored {
            works.into_iter().for_each(|work| self.commit(work));
        } else {
            self.settle(works).await;
        }
    }

    /// Reads the next run into `out`: deliveries of one type that the same handlers, which it gives,
    /// have not finished with. The error is of the first; a later delivery that cannot be read ends
    /// the run.
    fn read_run<'a>(
        &self,
        share: &'a Share,
        alone: bool,
        out: &mut Vec<Envelope<'a>>,
    ) -> Result<Handlers, DecodeError> {
        let mut deliveries = share.deliveries();
        out.reserve(deliveries.len());
        let Some(first) = deliveries.next() else { return Ok(0) };
        let envelope = first.envelope()?;
        let handlers = share.history.remaining & self.core.handlers_of(&envelope.event_type);
        let event_type = envelope.event_type.clone();
        out.push(envelope);
        let waits = |spec: &super::endpoint::Spec| spec.waits.load(Ordering::Relaxed);
        if alone || self.core.endpoints(handlers).any(|(_, endpoint)| waits(endpoint.spec())) {
            return Ok(handlers);
        }
        for delivery in deliveries {
            match delivery.envelope() {
                // With room that is seen to be there, it is written where it is to lie.
                Ok(next) if next.event_type == event_type && out.len() < out.capacity() => {
                    out.push(next);
                }
                _ => break,
            }
        }
        Ok(handlers)
    }

    async fn bury_unreadable(self: &Arc<Self>, item: Item, error: DecodeError) {
        let delivery = item.delivery();
        let event_id = error.event_id().map(ToString::to_string);
        let error = error.at(&delivery.topic, delivery.partition, delivery.offset).to_string();
        tracing::error!(service = %self.core.name, error, "an event cannot be read");
        let letter = self.core.letter(&item, None, event_id, error);
        if self.core.store.is_some() {
            self.commit(Work::buried(item, letter));
        } else {
            // In the lane's own order, so that the letters of a key keep theirs.
            let message = super::letters::message_of(&self.core, &letter);
            if self.core.publish(vec![message]).await {
                self.core.counters.dead.fetch_add(1, Ordering::Relaxed);
                let through = [item];
                self.lock().parking.finished(&through, self.core.world.instant());
                self.core.ack_soon(done(&through));
            }
        }
    }

    /// The first `count` deliveries are through.
    fn through(&self, share: &mut Share, count: usize) {
        if share.history.taken {
            let items = share.take(count);
            self.lock().parking.finished(&items, self.core.world.instant());
            return self.core.ack_soon(done(&items));
        }
        self.core.ack_soon(share.done(count));
    }

    /// Gives each work of a run what the handlers made of it.
    fn share_out(&self, results: &mut Results, works: &mut [Work]) {
        for (place, number, message) in results.messages.drain(..) {
            if let Some(work) = works.get_mut(place) {
                work.messages.push((number, message));
            }
        }
        for (place, number) in results.skipped.drain(..) {
            if let Some(work) = works.get_mut(place) {
                work.done &= !(1 << number);
            }
        }
        for (place, number, failed) in results.failed.drain(..) {
            let Some(work) = works.get_mut(place) else { continue };
            work.done &= !(1 << number);
            match self.core.verdict(&work.item, number, &failed) {
                Verdict::Retry(wait) => {
                    work.item.history.note_failure(number);
                    work.wait = Some(work.wait.unwrap_or_default().max(wait));
                }
                Verdict::Dead => {
                    let id = work.event_id();
                    let letter = self.core.letter(&work.item, Some(number), id, failed.story);
                    work.letters.push((number, letter));
                }
            }
        }
    }

    /// Without a store: publishes what the run gave, then acks, then parks what failed.
    async fn settle(self: &Arc<Self>, works: Vec<Work>) {
        let mut messages: Vec<Message> = Vec::new();
        let mut finished = Vec::with_capacity(works.len());
        for mut work in works {
            work.item.history.remaining &= !work.finished();
            messages.extend(work.messages.into_iter().map(|(_, message)| message));
            let letters = work.letters.iter();
            messages.extend(letters.map(|(_, one)| super::letters::message_of(&self.core, one)));
            self.core.counters.dead.fetch_add(work.letters.len() as u64, Ordering::Relaxed);
            if work.item.history.remaining == 0 {
                finished.push(work.item);
            } else {
                self.park(work.item, work.wait);
            }
        }
        if messages.is_empty() || self.core.publish(messages).await {
            self.lock().parking.finished(&finished, self.core.world.instant());
            self.core.ack_soon(done(&finished));
        }
    }

    /// Parks a delivery: one that failed for `wait`, one behind it until that is through.
    fn park(&self, item: Item, wait: Option<Duration>) {
        let now = self.core.world.instant();
        let mut state = self.lock();
        match wait {
            Some(wait) => state.parking.failed(item, now + wait),
            None => state.parking.join(item),
        }
        drop(state);
        self.wake();
    }

    /// Gives up what waits of one partition, to be delivered again to whoever has it next.
    pub(crate) fn forget_waiting(&self, track: &Arc<Track>) {
        let mut state = self.lock();
        let mut forgotten = state.parking.take_partition(track);
        let fresh = state.fresh.iter_mut();
        forgotten.extend(fresh.flat_map(|share| share.take_partition(track)));
        drop(state);
        let count = forgotten.len() as u64;
        self.core.counters.in_hand.fetch_sub(count, Ordering::Relaxed);
        forgotten.iter().for_each(|item| track.forget(item.delivery().offset));
    }

    /// How many deliveries wait for a retry or behind one.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().parking.waiting()
    }
}

/// The same buffer, empty, for envelopes that borrow from elsewhere.
fn emptied<'b>(mut envelopes: Vec<Envelope<'_>>) -> Vec<Envelope<'b>> {
    envelopes.clear();
    // What a vector gives is collected in place, and there is nothing in it to convert.
    envelopes.into_iter().map_while(|_| None).collect()
}
