//! A member of a group, as the framework holds it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::super::{BrokerError, Receipt, Signal, Subscription, TopicPartition};
use super::Hub;
use super::assign::MemberId;
use super::source::Source;
use super::state::Next;
use crate::answer::Answer;
use crate::world::Instant;

/// A subscription to a broker of this process. Dropping it leaves the group.
#[derive(Debug)]
pub(super) struct MemberHandle<S: Source> {
    hub: Arc<Hub<S>>,
    id: MemberId,
}

type Timer<'a> = (Instant, Pin<Box<dyn Future<Output = ()> + Send + 'a>>);

impl<S: Source> MemberHandle<S> {
    pub(super) fn new(hub: Arc<Hub<S>>, id: MemberId) -> Self {
        Self { hub, id }
    }

    /// Deliveries leave the state in the very poll that returns them: an answer that is dropped
    /// before has taken nothing.
    async fn wait(&self) -> Result<Signal, BrokerError> {
        let mut timer: Option<Timer<'_>> = None;
        poll_fn(|context| {
            loop {
                let deadline = match self.look(context) {
                    Next::Signal(signal) => return Poll::Ready(signal),
                    Next::Wait(deadline) => deadline,
                };
                let Some(at) = deadline else { return Poll::Pending };
                let (_, sleep) = match &mut timer {
                    Some(timer) if timer.0 == at => timer,
                    _ => timer.insert((at, Box::pin(self.hub.world.sleep_until(at)))),
                };
                ready!(sleep.as_mut().poll(context));
                timer = None;
            }
        })
        .await
    }

    /// What there is now; when there is nothing, the task will be woken.
    fn look(&self, context: &Context<'_>) -> Next {
        loop {
            let mut cold = Vec::new();
            let (next, parked, passed_over, max_bytes) = self.hub.with(|state| {
                let next = state.next(self.id, &self.hub.world, &mut cold);
                let parked = !matches!(next, Next::Wait(_)) || state.park(self.id, context.waker());
                let passed_over = std::mem::take(&mut state.passed_over);
                (next, parked, passed_over, state.fetch_size(self.id))
            });
            if passed_over {
                self.tell_changes();
            }
            if !cold.is_empty() {
                self.hub.fetch(cold, max_bytes);
            }
            if parked {
                return next;
            }
        }
    }

    fn leave(&self) {
        let now = self.hub.world.instant();
        self.hub.with(|state| state.leave(self.id, now));
    }

    /// An error when `partition` is not this member's.
    fn change(
        &self,
        partition: &TopicPartition,
        change: impl FnOnce(&mut super::cursor::Cursor<S>, &mut super::hold::Load),
    ) -> Result<(), BrokerError> {
        self.hub.with(|state| {
            let (cursor, load) =
                state.owned_mut(self.id, partition).ok_or_else(|| BrokerError::Refused {
                    what: format!("{partition} is not assigned to this subscription"),
                })?;
            change(cursor, load);
            state.rouse(self.id);
            state.rouse_unblocked();
            Ok(())
        })
    }

    /// Partitions that were taken away meanwhile are passed over: the member learns of it by a signal.
    fn set_paused(&self, partitions: &[TopicPartition], paused: bool) {
        for partition in partitions {
            // Not being the owner any more is no error here.
            let _ = self.change(partition, |cursor, _| cursor.paused = paused);
        }
    }

    fn tell_changes(&self) {
        if let Some(changed) = &self.hub.changed {
            changed();
        }
    }
}

impl<S: Source> Subscription for MemberHandle<S> {
    fn next(&self) -> Answer<'_, Result<Signal, BrokerError>> {
        Answer::later(self.wait())
    }

    fn ack(&self, receipts: Vec<Receipt>) -> Answer<'_, Result<(), BrokerError>> {
        let mut changed = false;
        let result = self.hub.with(|state| {
            state.settle(self.id, &receipts, |cursor, receipts, load| {
                cursor.ack(receipts, load);
                changed |= cursor.dirty;
            })
        });
        if changed {
            self.tell_changes();
        }
        Answer::now(result)
    }

    fn give_back(
        &self,
        receipts: Vec<Receipt>,
        delay: Duration,
    ) -> Answer<'_, Result<(), BrokerError>> {
        let due = self.hub.world.instant() + delay;
        let result = self.hub.with(|state| {
            let given = state.settle(self.id, &receipts, |cursor, receipts, load| {
                for receipt in receipts {
                    cursor.give_back(receipt.epoch(), receipt.tag(), due, load);
                }
            });
            state.rouse(self.id);
            given
        });
        Answer::now(result)
    }

    fn pause(&self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        self.set_paused(partitions, true);
        Ok(())
    }

    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), BrokerError> {
        self.set_paused(partitions, false);
        Ok(())
    }

    fn seek(&self, partition: &TopicPartition, offset: u64) -> Result<(), BrokerError> {
        self.change(partition, |cursor, load| cursor.seek(offset, load))
    }

    fn release(&self, partitions: &[TopicPartition]) -> Answer<'_, Result<(), BrokerError>> {
        let now = self.hub.world.instant();
        self.hub.with(|state| state.release(self.id, partitions, now));
        Answer::now(Ok(()))
    }

    fn close(&self) -> Answer<'_, Result<(), BrokerError>> {
        self.leave();
        Answer::now(Ok(()))
    }
}

impl<S: Source> Drop for MemberHandle<S> {
    fn drop(&mut self) {
        self.leave();
    }
}
