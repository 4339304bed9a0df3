//! A lane: handles the events of its keys one at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::commit::{CommitQueue, Work};
use super::core::{Core, Verdict};
use super::endpoint::{Desk, Handled, Run};
use super::item::{Handlers, Item, Track};
use super::parked::Parking;
use crate::broker::Message;
use crate::event::{DecodeError, Envelope, Limits};

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
    fresh: Vec<Item>,
    pub(crate) parking: Parking,
    pub(crate) commits: CommitQueue,
}

/// What the lane's task takes up next.
enum Chunk {
    Fresh(Vec<Item>),
    /// The first of its parked key, whose time has come.
    Retry(Item),
}

impl Lane {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, state: Mutex::default(), wake: Notify::new(), tx_desk: Mutex::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a fresh delivery; the caller wakes the lane when it has added all.
    pub(crate) fn add(&self, item: Item) {
        self.lock().fresh.push(item);
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Works until the service stops. What is in hand then is left unacked, but for what is on its
    /// way to be committed.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut desk = Desk::new(&self.core.world);
        while let Some(chunk) = self.next().await {
            match chunk {
                Chunk::Fresh(items) => self.process(items, false, &mut desk).await,
                Chunk::Retry(item) => self.process(vec![item], true, &mut desk).await,
            }
        }
    }

    async fn next(&self) -> Option<Chunk> {
        loop {
            let woken = self.wake.notified();
            let due = {
                let mut state = self.lock();
                if self.core.is_stopping() {
                    return None;
                }
                if let Some(item) = state.parking.take_due(self.core.world.instant()) {
                    return Some(Chunk::Retry(item));
                }
                if !state.fresh.is_empty() {
                    return Some(Chunk::Fresh(std::mem::take(&mut state.fresh)));
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

    async fn process(self: &Arc<Self>, items: Vec<Item>, retrying: bool, desk: &mut Desk) {
        let bodies: Vec<(Bytes, crate::broker::Headers)> = items
            .iter()
            .map(|item| (item.delivery.body.clone(), item.delivery.headers.clone()))
            .collect();
        let (mut items, envelopes) = self.read(items, &bodies);
        let mut rest = envelopes.as_slice();
        while let (Some(first), Some(envelope)) = (items.first(), rest.first()) {
            if self.core.is_stopping() {
                return;
            }
            let parking = !retrying && !self.lock().parking.is_empty();
            if parking && self.lock().parking.holds(&first.order()) {
                self.lock().parking.join(items.remove(0));
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let handlers = first.remaining & self.core.handlers_of(&envelope.event_type);
            let length = if parking { 1 } else { self.run_length(handlers, &items, rest) };
            let (now, later) = rest.split_at(length);
            rest = later;
            let run = if length == items.len() {
                std::mem::take(&mut items)
            } else {
                items.drain(..length).collect()
            };
            self.handle(run, now, handlers, desk).await;
        }
    }

    /// Reads the envelopes; what cannot be read goes to the dead letters.
    fn read<'a>(
        self: &Arc<Self>,
        items: Vec<Item>,
        bodies: &'a [(Bytes, crate::broker::Headers)],
    ) -> (Vec<Item>, Vec<Envelope<'a>>) {
        let limits = Limits::default();
        let mut envelopes = Vec::with_capacity(items.len());
        let mut unreadable: Vec<(usize, DecodeError)> = Vec::new();
        for (index, (body, headers)) in bodies.iter().enumerate() {
            match Envelope::parse_message(headers, body, &limits) {
                Ok(envelope) => envelopes.push(envelope),
                Err(error) => unreadable.push((index, error)),
            }
        }
        if unreadable.is_empty() {
            return (items, envelopes);
        }
        let mut unreadable = unreadable.into_iter().peekable();
        let mut readable = Vec::with_capacity(envelopes.len());
        for (index, item) in items.into_iter().enumerate() {
            match unreadable.next_if(|(bad, _)| *bad == index) {
                Some((_, error)) => self.bury_unreadable(item, error),
                None => readable.push(item),
            }
        }
        (readable, envelopes)
    }

    fn bury_unreadable(self: &Arc<Self>, item: Item, error: DecodeError) {
        let delivery = &item.delivery;
        let event_id = error.event_id().map(ToString::to_string);
        let error = error.at(&delivery.topic, delivery.partition, delivery.offset).to_string();
        tracing::error!(service = %self.core.name, error, "an event cannot be read");
        let letter = self.core.letter(&item, None, event_id, error);
        if self.core.store.is_some() {
            self.commit(Work::buried(item, letter));
        } else {
            let lane = self.clone();
            // Without a store the letter is a publish of its own, beside the lane's work.
            drop(self.core.world.spawn(async move {
                if lane.core.publish(vec![super::letters::message_of(&lane.core, &letter)]).await {
                    lane.core.counters.dead.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    lane.core.ack_soon([item.done()]);
                }
            }));
        }
    }

    /// How many deliveries from the first on can be handled as one run.
    fn run_length(&self, handlers: Handlers, items: &[Item], envelopes: &[Envelope<'_>]) -> usize {
        let waits =
            |spec: &super::endpoint::Spec| spec.waits.load(std::sync::atomic::Ordering::Relaxed);
        if self.core.endpoints(handlers).any(|(_, endpoint)| waits(endpoint.spec())) {
            return 1;
        }
        let Some(first) = envelopes.first() else { return 0 };
        let same = items.iter().zip(envelopes).take_while(|(item, envelope)| {
            envelope.event_type == first.event_type && handlers & !item.remaining == 0
        });
        same.count().max(1)
    }

    /// Handles a run: the handlers outside the transaction now, the others when it is committed.
    async fn handle(
        self: &Arc<Self>,
        mut items: Vec<Item>,
        envelopes: &[Envelope<'_>],
        handlers: Handlers,
        desk: &mut Desk,
    ) {
        items.iter_mut().for_each(|item| item.remaining = handlers);
        if handlers == 0 {
            return self.core.ack_soon(items.into_iter().map(Item::done));
        }
        let in_tx = self.core.in_tx(handlers);
        let mut handled: Vec<Handled> =
            std::iter::repeat_with(Handled::default).take(items.len()).collect();
        for (number, endpoint) in self.core.endpoints(handlers & !in_tx) {
            let run = Run { number, items: &items, envelopes, handled: &mut handled, desk };
            endpoint.call_run(run).await;
        }
        if self.core.store.is_none() {
            return self.settle(items, handled, envelopes).await;
        }
        for ((item, handled), envelope) in items.into_iter().zip(handled).zip(envelopes) {
            self.commit(self.work_of(item, handled, envelope, in_tx));
        }
    }

    fn work_of(
        &self,
        item: Item,
        handled: Handled,
        envelope: &Envelope<'_>,
        in_tx: Handlers,
    ) -> Work {
        let mut work = Work::new(item, envelope.id.clone(), in_tx);
        work.done = handled.done;
        work.messages = handled.messages;
        for (number, failed) in handled.failed {
            match self.core.verdict(&work.item, number, &failed) {
                Verdict::Retry(wait) => work.wait = Some(work.wait.unwrap_or_default().max(wait)),
                Verdict::Dead => {
                    let id = Some(envelope.id.to_string());
                    work.letters.push((
                        number,
                        self.core.letter(&work.item, Some(number), id, failed.story),
                    ));
                }
            }
        }
        work
    }

    /// Without a store: publishes what the run gave, then acks, then parks what failed.
    async fn settle(
        self: &Arc<Self>,
        items: Vec<Item>,
        handled: Vec<Handled>,
        envelopes: &[Envelope<'_>],
    ) {
        let mut messages: Vec<Message> = Vec::new();
        let mut finished = Vec::with_capacity(items.len());
        for ((mut item, handled), envelope) in items.into_iter().zip(handled).zip(envelopes) {
            item.remaining &= !handled.done;
            messages.extend(handled.messages.into_iter().map(|(_, message)| message));
            let mut wait = None::<Duration>;
            for (number, failed) in handled.failed {
                match self.core.verdict(&item, number, &failed) {
                    Verdict::Retry(more) => wait = Some(wait.unwrap_or_default().max(more)),
                    Verdict::Dead => {
                        let id = Some(envelope.id.to_string());
                        let letter = self.core.letter(&item, Some(number), id, failed.story);
                        messages.push(super::letters::message_of(&self.core, &letter));
                        self.core.counters.dead.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        item.remaining &= !(1 << number);
                    }
                }
            }
            if item.remaining == 0 { finished.push(item) } else { self.park(item, wait) }
        }
        if messages.is_empty() || self.core.publish(messages).await {
            self.lock().parking.finished(&finished, self.core.world.instant());
            self.core.ack_soon(finished.into_iter().map(Item::done));
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
        forgotten.extend(state.fresh.extract_if(.., |item| Arc::ptr_eq(&item.track, track)));
        drop(state);
        let count = forgotten.len() as u64;
        self.core.counters.in_hand.fetch_sub(count, std::sync::atomic::Ordering::Relaxed);
        forgotten.iter().for_each(|item| track.forget(item.delivery.offset));
    }

    /// How many deliveries wait for a retry or behind one.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().parking.waiting()
    }
}
