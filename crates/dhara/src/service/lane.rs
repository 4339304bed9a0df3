//! A lane: handles the events of its keys one at a time.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::commit::{CommitQueue, Work};
use super::core::{Core, Verdict};
use super::endpoint::{Desk, Results, Run};
use super::item::{Handlers, Item, Track, done};
use super::parked::Parking;
use crate::broker::Message;
use crate::event::{DecodeError, Envelope, EventId, Limits};

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
    fresh: VecDeque<Item>,
    pub(crate) parking: Parking,
    pub(crate) commits: CommitQueue,
}

/// What the lane's task works with, kept from one taking to the next for its buffers.
struct Hands {
    items: VecDeque<Item>,
    /// Empty but while a run is handled.
    envelopes: Vec<Envelope<'static>>,
    results: Results,
    desk: Desk,
}

/// What a lane has taken up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// All that was fresh.
    Fresh,
    /// The first of a parked key, whose time has come.
    Retry,
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

    /// Adds fresh deliveries; what was in `items` is taken out.
    pub(crate) fn add(&self, items: &mut VecDeque<Item>) {
        let mut state = self.lock();
        if state.fresh.is_empty() {
            std::mem::swap(&mut state.fresh, items);
        } else {
            // A lane that is behind may be so for long: it keeps no batch alive but for its own.
            items.iter_mut().for_each(Item::detach);
            state.fresh.append(items);
        }
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
            items: VecDeque::new(),
            envelopes: Vec::new(),
            results: Results::default(),
            desk: Desk::new(&self.core.world),
        };
        while let Some(taken) = self.take(&mut hands.items).await {
            self.process(&mut hands, taken).await;
            hands.items.clear();
            if hands.items.capacity() > MOST_KEPT {
                hands.items = VecDeque::new();
                hands.envelopes = Vec::new();
            }
        }
    }

    /// Takes what is to be handled next into `items`; `None` when the service stops.
    async fn take(&self, items: &mut VecDeque<Item>) -> Option<Taken> {
        loop {
            let woken = self.wake.notified();
            let due = {
                let mut state = self.lock();
                if self.core.is_stopping() {
                    return None;
                }
                if let Some(item) = state.parking.take_due(self.core.world.instant()) {
                    items.push_back(item);
                    return Some(Taken::Retry);
                }
                if !state.fresh.is_empty() {
                    std::mem::swap(&mut state.fresh, items);
                    return Some(Taken::Fresh);
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

    async fn process(self: &Arc<Self>, hands: &mut Hands, taken: Taken) {
        while !hands.items.is_empty() && !self.core.is_stopping() {
            let parking = taken == Taken::Fresh && !self.lock().parking.is_empty();
            if parking && self.join_parked(&mut hands.items) {
                continue;
            }
            // Where a key is parked, the failure of one delivery may concern the next.
            self.handle_run(hands, parking).await;
        }
    }

    /// Parks the first delivery where its key is parked.
    fn join_parked(&self, items: &mut VecDeque<Item>) -> bool {
        let mut state = self.lock();
        if !items.front().is_some_and(|first| state.parking.holds(&first.order())) {
            return false;
        }
        items.pop_front().into_iter().for_each(|first| state.parking.join(first));
        true
    }

    /// Handles a run of deliveries from the first on: by the handlers outside the transaction now,
    /// by the others when it is committed.
    async fn handle_run(self: &Arc<Self>, hands: &mut Hands, alone: bool) {
        let Hands { items, envelopes: kept, results, desk } = hands;
        let waiting: &[Item] = items.make_contiguous();
        let mut envelopes = emptied(std::mem::take(kept));
        let handlers = match self.read_run(waiting, alone, &mut envelopes) {
            Ok(handlers) => handlers,
            Err(error) => {
                *kept = emptied(envelopes);
                if let Some(item) = items.pop_front() {
                    self.bury_unreadable(item, error).await;
                }
                return;
            }
        };
        let in_tx = self.core.in_tx(handlers);
        for (number, endpoint) in self.core.endpoints(handlers & !in_tx) {
            let run = Run { number, items: waiting, envelopes: &envelopes, results, desk };
            endpoint.call_run(run).await;
        }
        let count = envelopes.len();
        let is_stored = self.core.store.is_some();
        if handlers == 0 || results.is_empty() && !is_stored {
            *kept = emptied(envelopes);
            return self.through(items, count);
        }
        let ids: Vec<EventId> = envelopes.iter().map(|envelope| envelope.id.clone()).collect();
        *kept = emptied(envelopes);
        let mut works: Vec<Work> = Vec::with_capacity(count);
        for (mut item, id) in items.drain(..count).zip(ids) {
            item.remaining = handlers;
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
        items: &'a [Item],
        alone: bool,
        out: &mut Vec<Envelope<'a>>,
    ) -> Result<Handlers, DecodeError> {
        let Some((first, rest)) = items.split_first() else { return Ok(0) };
        let limits = Limits::default();
        let read = |item: &'a Item| {
            let delivery = item.delivery();
            Envelope::parse_message(&delivery.headers, &delivery.body, &limits)
        };
        let envelope = read(first)?;
        let handlers = first.remaining & self.core.handlers_of(&envelope.event_type);
        let event_type = envelope.event_type.clone();
        out.push(envelope);
        let waits = |spec: &super::endpoint::Spec| spec.waits.load(Ordering::Relaxed);
        if alone || self.core.endpoints(handlers).any(|(_, endpoint)| waits(endpoint.spec())) {
            return Ok(handlers);
        }
        for item in rest.iter().take_while(|item| handlers & !item.remaining == 0) {
            match read(item) {
                Ok(envelope) if envelope.event_type == event_type => out.push(envelope),
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
    fn through(&self, items: &mut VecDeque<Item>, count: usize) {
        if let Some(items) = items.make_contiguous().get(..count) {
            if items.iter().any(|item| item.taken) {
                self.lock().parking.finished(items, self.core.world.instant());
            }
            self.core.ack_soon(done(items));
        }
        items.drain(..count);
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
                    work.item.note_failure(number);
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
            work.item.remaining &= !work.finished();
            messages.extend(work.messages.into_iter().map(|(_, message)| message));
            let letters = work.letters.iter();
            messages.extend(letters.map(|(_, one)| super::letters::message_of(&self.core, one)));
            self.core.counters.dead.fetch_add(work.letters.len() as u64, Ordering::Relaxed);
            if work.item.remaining == 0 {
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
        let of_it = |item: &Item| Arc::ptr_eq(&item.track, track);
        let fresh = std::mem::take(&mut state.fresh);
        let (lost, kept): (VecDeque<_>, VecDeque<_>) = fresh.into_iter().partition(of_it);
        state.fresh = kept;
        forgotten.extend(lost);
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
