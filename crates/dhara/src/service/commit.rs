//! What a lane commits: inbox rows, handlers inside the transaction, outgoing events, positions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::Verdict;
use super::endpoint::{Desk, Endpoint};
use super::failure::Failed;
use super::item::{Handlers, Item, Order};
use super::lane::Lane;
use super::track::Track;
use crate::answer::BoxFuture;
use crate::broker::Message;
use crate::event::EventId;
use crate::store::{DeadLetter, InboxRow, OutboxRow, PositionRow, StoreError, Tx, Unit};

/// Works that wait for the lane's unit that is on its way.
#[derive(Debug, Default)]
pub(crate) struct CommitQueue {
    pending: Vec<Work>,
    under_way: bool,
    /// A unit was given up: nothing may be committed behind it.
    given_up: bool,
}

impl CommitQueue {
    /// Whether nothing waits and nothing is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.under_way && self.pending.is_empty()
    }
}

/// What became of one delivery, to be committed.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) item: Item,
    event: Option<EventId>,
    /// Handlers that have finished, and what they publish.
    pub(crate) done: Handlers,
    pub(crate) messages: Vec<(usize, Message)>,
    /// Handlers to be run inside the transaction.
    in_tx: Handlers,
    /// Handlers that gave up, and the letters that say why.
    pub(crate) letters: Vec<(usize, DeadLetter)>,
    unreadable: Option<DeadLetter>,
    /// A handler failed: the key is parked for so long.
    pub(crate) wait: Option<Duration>,
    /// An earlier event of its key has failed: handlers inside the transaction wait their turn.
    deferred: bool,
    /// What the transaction added to all this; begun anew with every run of it.
    ran: Ran,
}

#[derive(Debug, Default)]
struct Ran {
    done: Handlers,
    dead: Handlers,
    failed: Vec<usize>,
    wait: Option<Duration>,
}

impl Work {
    pub(crate) fn new(item: Item, event: EventId, in_tx: Handlers) -> Self {
        Self {
            item,
            event: Some(event),
            done: 0,
            messages: Vec::new(),
            in_tx,
            letters: Vec::new(),
            unreadable: None,
            wait: None,
            deferred: false,
            ran: Ran::default(),
        }
    }

    /// A delivery that nobody could read.
    pub(crate) fn buried(item: Item, letter: DeadLetter) -> Self {
        let mut work = Self::new(item, EventId::from(crate::world::Uuid::from_u128(0)), 0);
        work.event = None;
        work.item.history.remaining = 0;
        work.unreadable = Some(letter);
        work
    }

    fn has_nothing_to_commit(&self) -> bool {
        self.done | self.in_tx == 0 && self.letters.is_empty() && self.unreadable.is_none()
    }

    /// The event's id, where it could be read.
    pub(crate) fn event_id(&self) -> Option<String> {
        self.event.as_ref().map(ToString::to_string)
    }

    /// The handlers that have finished, or have given up.
    pub(crate) fn finished(&self) -> Handlers {
        self.letters.iter().fold(self.done, |set, (number, _)| set | 1 << number)
    }
}

impl Lane {
    /// Adds a work to the next unit, or parks its delivery where there is nothing to commit.
    pub(crate) fn commit(self: &Arc<Self>, mut work: Work) {
        let mut state = self.lock();
        if state.commits.given_up {
            return;
        }
        if let Some(wait) = work.wait {
            if work.has_nothing_to_commit() {
                state.parking.failed(work.item, self.core.world.instant() + wait);
                drop(state);
                return self.wake();
            }
            state.parking.take_along(&mut work.item);
        } else if !state.parking.is_empty()
            && !work.item.history.taken
            && state.parking.holds(&work.item.order())
        {
            state.parking.take_along(&mut work.item);
            work.deferred = true;
        }
        if work.has_nothing_to_commit() {
            // The run stopped before it came to this delivery: an earlier one of its key failed.
            state.parking.join(work.item);
            return;
        }
        state.commits.pending.push(work);
        if !state.commits.under_way {
            state.commits.under_way = true;
            let works = std::mem::take(&mut state.commits.pending);
            drop(state);
            self.submit(LaneUnit::new(self.clone(), works));
        }
    }

    fn submit(&self, unit: LaneUnit) {
        if let Some(store) = &self.core.store {
            store.submit(Box::new(unit));
        }
    }

    /// The unit is durable: acks what is through, parks what failed, submits what waited.
    fn committed(self: &Arc<Self>, works: Vec<Work>) {
        let now = self.core.world.instant();
        let mut through = Vec::with_capacity(works.len());
        let mut state = self.lock();
        let mut parked = false;
        for mut work in works {
            let dead = work.letters.len() as u64
                + u64::from(work.ran.dead.count_ones())
                + u64::from(work.unreadable.is_some());
            self.core.counters.dead.fetch_add(dead, Ordering::Relaxed);
            work.item.history.remaining &= !(work.finished() | work.ran.done | work.ran.dead);
            if work.item.history.remaining == 0 {
                through.push(work.item);
                continue;
            }
            parked = true;
            work.ran.failed.iter().for_each(|number| work.item.history.note_failure(*number));
            match work.wait.into_iter().chain(work.ran.wait).max() {
                Some(wait) => {
                    let order = work.item.order();
                    state.parking.failed(work.item, now + wait);
                    state.defer_pending(&order);
                }
                None => state.parking.join(work.item),
            }
        }
        state.parking.finished(&through, now);
        let next = std::mem::take(&mut state.commits.pending);
        state.commits.under_way = !next.is_empty();
        let wake = parked || !state.parking.is_empty();
        drop(state);
        self.core.ack_soon(super::item::done(&through));
        if !next.is_empty() {
            self.submit(LaneUnit::new(self.clone(), next));
        }
        if wake {
            self.wake();
        }
    }

    /// The unit was rolled back: it is submitted again, at once where a handler was at fault, after
    /// a wait where the store was.
    fn rolled_back(self: &Arc<Self>, mut unit: LaneUnit, error: &StoreError) {
        let handler_at_fault = !unit.careful && !matches!(error, StoreError::Closed);
        unit.careful = true;
        unit.store_failures += u32::from(!handler_at_fault);
        if matches!(error, StoreError::Closed | StoreError::Failed { .. }) {
            self.core.note(&error.to_string());
            self.core.stop();
            return self.give_up();
        }
        if handler_at_fault {
            return self.submit(unit);
        }
        tracing::warn!(service = %self.core.name, %error, "a commit failed, trying again");
        self.core.note(&error.to_string());
        let lane = self.clone();
        let wait = Duration::from_millis(20 << unit.store_failures.min(6));
        drop(self.core.world.clone().spawn(async move {
            if lane.core.pause(wait).await {
                lane.give_up();
            } else {
                lane.submit(unit);
            }
        }));
    }

    /// Nothing more is committed: what is in hand goes back to the broker.
    fn give_up(&self) {
        let mut state = self.lock();
        state.commits = CommitQueue { given_up: true, ..CommitQueue::default() };
        drop(state);
        self.core.progressed.notify_waiters();
    }
}

impl super::lane::LaneState {
    /// Works of a key that has just been parked commit what they have, and then wait behind it.
    fn defer_pending(&mut self, order: &Order) {
        for work in &mut self.commits.pending {
            if !work.item.history.taken && work.item.order() == *order {
                self.parking.take_along(&mut work.item);
                work.deferred = true;
            }
        }
    }
}

/// The works of one lane that commit together.
struct LaneUnit {
    lane: Arc<Lane>,
    works: Vec<Work>,
    /// Each handler behind a savepoint of its own: after a run in which one failed.
    careful: bool,
    store_failures: u32,
    positions: Vec<(Arc<Track>, u64)>,
}

impl LaneUnit {
    fn new(lane: Arc<Lane>, works: Vec<Work>) -> Self {
        Self { lane, works, careful: false, store_failures: 0, positions: Vec::new() }
    }

    async fn write(&mut self, tx: &Tx) -> Result<(), StoreError> {
        let desk = self.lane.tx_desk.lock().ok().and_then(|mut desk| desk.take());
        let mut desk = desk.unwrap_or_else(|| Desk::new(&self.lane.core.world));
        let mut outbox = Vec::new();
        let mut failed: Vec<Order> = Vec::new();
        for work in &mut self.works {
            work.ran = Ran::default();
            let mut writing = Writing {
                lane: &self.lane,
                tx,
                desk: &mut desk,
                outbox: &mut outbox,
                careful: self.careful,
            };
            writing.finished_handlers(work).await?;
            if work.in_tx != 0 && !work.deferred && !failed.contains(&work.item.order()) {
                writing.handlers_in_tx(work).await?;
                if work.ran.wait.is_some() {
                    failed.push(work.item.order());
                }
            }
        }
        if !outbox.is_empty() {
            tx.backend().outbox_add(outbox).await?;
        }
        if let Ok(mut place) = self.lane.tx_desk.lock() {
            *place = Some(desk);
        }
        self.write_positions(tx).await
    }

    /// Positions of what earlier units have committed: what this one holds counts only when it is
    /// durable itself.
    async fn write_positions(&mut self, tx: &Tx) -> Result<(), StoreError> {
        let Some(broker) = &self.lane.core.broker_id else { return Ok(()) };
        self.positions = self.lane.core.unstored_positions();
        if self.positions.is_empty() {
            return Ok(());
        }
        let row = |(track, next): &(Arc<Track>, u64)| PositionRow {
            broker: broker.clone(),
            partition: track.partition(),
            next: *next,
        };
        let rows: Vec<PositionRow> = self.positions.iter().map(row).collect();
        tx.backend().set_positions(&rows).await
    }
}

/// What the writing of one work needs.
struct Writing<'a> {
    lane: &'a Lane,
    tx: &'a Tx,
    desk: &'a mut Desk,
    outbox: &'a mut Vec<OutboxRow>,
    careful: bool,
}

impl Writing<'_> {
    /// Handlers that ran before: their inbox rows, and what they publish where the row is new.
    async fn finished_handlers(&mut self, work: &Work) -> Result<(), StoreError> {
        if let Some(letter) = &work.unreadable {
            self.tx.backend().dead_letter(letter).await?;
        }
        let Some(event) = &work.event else { return Ok(()) };
        let core = &self.lane.core;
        for (number, endpoint) in core.endpoints(work.done) {
            if self.is_new(endpoint, event).await? {
                let own = work.messages.iter().filter(|(owner, _)| *owner == number);
                self.outbox.extend(own.map(|(_, message)| row_of(message.clone())));
            }
        }
        for (number, letter) in &work.letters {
            for (_, endpoint) in core.endpoints(1 << number) {
                if self.is_new(endpoint, event).await? {
                    self.tx.backend().dead_letter(letter).await?;
                }
            }
        }
        Ok(())
    }

    async fn is_new(&self, endpoint: &dyn Endpoint, event: &EventId) -> Result<bool, StoreError> {
        let key = event.to_key();
        let row = InboxRow { handler: &endpoint.spec().name, event: key.as_ref() };
        self.tx.backend().inbox_add(row).await
    }

    async fn handlers_in_tx(&mut self, work: &mut Work) -> Result<(), StoreError> {
        let lane = self.lane;
        for (number, endpoint) in lane.core.endpoints(work.in_tx) {
            let bit = 1 << number;
            if !self.careful {
                // Without savepoints a failure costs the whole unit, which is then run carefully.
                self.run(work, number, endpoint).await?.map_err(|failed| aborted(&failed))?;
                work.ran.done |= bit;
                continue;
            }
            self.tx.backend().savepoint().await?;
            let (outbox, messages) = (self.outbox.len(), self.desk.messages.len());
            // A statement that the store refuses is the handler's failure, as its own error is.
            let outcome =
                self.run(work, number, endpoint).await.unwrap_or_else(|error| Err(error.into()));
            let Err(failed) = outcome else {
                self.tx.backend().release().await?;
                work.ran.done |= bit;
                continue;
            };
            self.tx.backend().rollback().await?;
            self.outbox.truncate(outbox);
            self.desk.messages.truncate(messages);
            match lane.core.verdict(&work.item, number, &failed) {
                Verdict::Retry(wait) => {
                    work.ran.failed.push(number);
                    work.ran.wait = Some(work.ran.wait.unwrap_or_default().max(wait));
                }
                Verdict::Dead => {
                    self.bury(work, number, endpoint, failed).await?;
                    work.ran.dead |= bit;
                }
            }
        }
        Ok(())
    }

    /// Runs one handler where the inbox does not know it to have finished.
    async fn run(
        &mut self,
        work: &Work,
        number: usize,
        endpoint: &dyn Endpoint,
    ) -> Result<Result<(), Failed>, StoreError> {
        let Some(event) = &work.event else { return Ok(Ok(())) };
        if !self.is_new(endpoint, event).await? {
            return Ok(Ok(()));
        }
        let envelope = match work.item.delivery().envelope() {
            Ok(envelope) => envelope,
            Err(error) => return Ok(Err(error.into())),
        };
        let outcome = endpoint.call_in_tx(number, &work.item, &envelope, self.tx, self.desk).await;
        if outcome.is_ok() {
            self.outbox.extend(self.desk.messages.drain(..).map(row_of));
        }
        Ok(outcome)
    }

    async fn bury(
        &mut self,
        work: &Work,
        number: usize,
        endpoint: &dyn Endpoint,
        failed: Failed,
    ) -> Result<(), StoreError> {
        let Some(event) = &work.event else { return Ok(()) };
        let id = Some(event.to_string());
        let letter = self.lane.core.letter(&work.item, Some(number), id, failed.story);
        if self.is_new(endpoint, event).await? {
            self.tx.backend().dead_letter(&letter).await?;
        }
        Ok(())
    }
}

impl Unit for LaneUnit {
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.write(tx))
    }

    fn finished(self: Box<Self>, outcome: Result<(), StoreError>) {
        let unit = *self;
        let lane = unit.lane.clone();
        match outcome {
            Ok(()) => {
                unit.positions.iter().for_each(|(track, next)| track.stored(*next));
                lane.committed(unit.works);
            }
            Err(error) => lane.rolled_back(unit, &error),
        }
    }
}

fn row_of(message: Message) -> OutboxRow {
    let Message { topic, key, body, headers, timestamp } = message;
    OutboxRow { sequence: 0, topic, key, body, headers, timestamp }
}

fn aborted(failed: &Failed) -> StoreError {
    StoreError::Aborted { what: failed.story.clone() }
}
