//! The partitions that a group is seated before: those that come, those that go, those that wait.

use std::sync::Arc;

use super::super::wakers::Wakers;
use super::super::{BrokerError, Signal, Start, Topic, TopicPartition};
use super::assign::MemberId;
use super::cursor::Cursor;
use super::source::{Seat, Source};
use super::state::{Member, State, owned};
use crate::world::Instant;

impl Member {
    /// Has it woken by the news of a topic.
    pub(super) fn listen(&mut self, wakers: &Arc<Wakers>) {
        if !self.listens.iter().any(|known| Arc::ptr_eq(known, wakers)) {
            self.listens.push(wakers.clone());
        }
    }
}

impl<S: Source> State<S> {
    /// The cursor of a partition.
    pub(super) fn cursor_of(&self, partition: &TopicPartition) -> Option<&Cursor<S>> {
        let slots = self.places.get(&partition.topic)?;
        self.cursors.get(*slots.get(partition.partition as usize)? as usize)
    }

    /// Adds a cursor for each seat that has none; `seats` are all of each topic, in order.
    pub(super) fn add_seats(&mut self, seats: Vec<Seat<S>>, start: Start) {
        let known: Vec<Topic> = seats
            .iter()
            .filter(|seat| seat.committed.is_some() || self.cursor_of(&seat.partition).is_some())
            .map(|seat| seat.partition.topic.clone())
            .collect();
        for seat in seats {
            self.has_growths |= !seat.growths.is_none();
            let slot = self.cursor_of(&seat.partition).map(|cursor| cursor.slot);
            if let Some(cursor) = slot.and_then(|slot| self.cursors.get_mut(slot as usize)) {
                if seat.growths.is_later_than(&cursor.growths) {
                    cursor.growths = seat.growths;
                }
                continue;
            }
            // Of a topic that grew while the group was reading it, or away, nothing is left out.
            let grew = seat.growths.added(seat.partition.partition)
                && known.contains(&seat.partition.topic);
            self.add_cursor(seat, if grew { Start::Earliest } else { start });
        }
    }

    /// A group that begins with the latest message has that as its position from then on: what is
    /// published while it is away is not skipped when it comes back.
    fn add_cursor(&mut self, seat: Seat<S>, start: Start) {
        let bounds = seat.source.bounds();
        let begin = match (seat.committed, start) {
            (Some(offset), _) => offset,
            (None, Start::Earliest) => bounds.earliest,
            (None, Start::Latest) => bounds.end,
        };
        let latest = start == Start::Latest && seat.committed.is_none();
        let committed = if latest { Some(begin) } else { seat.committed };
        let is_gone = |it: &&Cursor<S>| it.gone && it.partition == seat.partition;
        let gone = self.has_gone.then(|| self.cursors.iter().find(is_gone)).flatten();
        // Receipts of a topic of that name that was deleted stay void.
        let (slot, epoch) = match gone {
            Some(gone) => (gone.slot, gone.epoch.wrapping_add(1)),
            None => (u32::try_from(self.cursors.len()).unwrap_or(u32::MAX), 0),
        };
        self.places.entry(seat.partition.topic.clone()).or_default().push(slot);
        let mut cursor = Cursor::new(slot, seat, begin, committed);
        cursor.dirty = latest;
        cursor.epoch = epoch;
        match self.cursors.get_mut(slot as usize) {
            Some(place) => *place = cursor,
            None => self.cursors.push(cursor),
        }
    }

    /// Whether some member reads a topic, or the group has not forgotten how far it came in it.
    pub(super) fn knows(&self, topic: &Topic) -> bool {
        let reads = |member: &Member| member.topics.contains(topic);
        self.places.contains_key(topic) || self.members.values().any(reads)
    }

    /// A topic has other partitions than before: `seats` are all of them.
    pub(super) fn reseat(&mut self, topic: &Topic, seats: Vec<Seat<S>>, now: Instant) {
        for member in self.members.values_mut().filter(|member| member.topics.contains(topic)) {
            seats.iter().for_each(|seat| member.listen(&seat.wakers));
            self.woken.extend(member.waker.take());
        }
        self.add_seats(seats, Start::Earliest);
        self.rebalance(now);
    }

    /// A topic is there no more; its readers are told why.
    pub(super) fn lose(&mut self, topic: &Topic, why: &impl Fn() -> BrokerError, now: Instant) {
        let Some(slots) = self.places.remove(topic) else { return };
        let mut lost: Vec<(MemberId, TopicPartition)> = Vec::new();
        for slot in slots {
            let Some(cursor) = self.cursors.get_mut(slot as usize) else { continue };
            let owner = cursor.owner;
            if let Some((id, member)) = owner.and_then(|id| Some((id, self.members.get_mut(&id)?)))
            {
                cursor.recall(&mut member.load, now);
                member.slots.retain(|other| *other != slot);
                lost.push((id, cursor.partition.clone()));
            }
            cursor.gone = true;
            cursor.dirty = false;
        }
        self.has_gone = true;
        let readers: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| member.topics.contains(topic))
            .map(|(id, _)| *id)
            .collect();
        for reader in readers {
            let its = lost.iter().filter(|(id, _)| *id == reader);
            let partitions: Vec<_> = its.map(|(_, partition)| partition.clone()).collect();
            if !partitions.is_empty() {
                self.tell(reader, Signal::Lost(partitions));
            }
            self.tell_result(reader, Err(why()));
        }
        self.rebalance(now);
    }

    /// Lets a member's cursors pass the growths that they may pass.
    pub(super) fn pass_gates(&mut self, id: MemberId) {
        let Some(member) = self.members.get(&id) else { return };
        let at_gates: Vec<u32> = owned(&self.cursors, &member.slots)
            .filter(|cursor| cursor.flows() && self.may_pass(cursor))
            .map(|cursor| cursor.slot)
            .collect();
        for slot in at_gates {
            self.pass_gate(slot);
        }
    }

    fn pass_gate(&mut self, slot: u32) {
        let Some(cursor) = self.cursors.get(slot as usize) else { return };
        let slots = self.places.get(&cursor.partition.topic).map_or(&[][..], Vec::as_slice);
        let position = |partition: u32| {
            let slot = slots.get(partition as usize)?;
            self.cursors.get(*slot as usize).map(Cursor::position)
        };
        let gate = cursor.gate(|partition| position(partition).unwrap_or(0));
        let Some(cursor) = self.cursors.get_mut(slot as usize) else { return };
        cursor.pass(gate);
        if gate.is_err() && !self.blocked.contains(&slot) {
            self.blocked.push(slot);
        }
    }

    /// Whether a cursor may be able to pass the growth that it has come to: what it waited for last
    /// is done.
    pub(super) fn may_pass(&self, cursor: &Cursor<S>) -> bool {
        cursor.is_at_gate() && !self.waits(cursor)
    }

    fn waits(&self, cursor: &Cursor<S>) -> bool {
        let Some((partition, offset)) = cursor.waits_for else { return false };
        let topic = cursor.partition.topic.clone();
        let awaited = self.cursor_of(&TopicPartition { topic, partition });
        awaited.is_none_or(|awaited| awaited.position() < offset)
    }

    /// Wakes the owners of cursors whose wait for another partition is over.
    pub(super) fn rouse_unblocked(&mut self) {
        if self.blocked.is_empty() {
            return;
        }
        for slot in std::mem::take(&mut self.blocked) {
            let Some(cursor) = self.cursors.get(slot as usize) else { continue };
            let owner = cursor.owner;
            if self.waits(cursor) {
                self.blocked.push(slot);
            } else if let Some(owner) = owner {
                self.rouse(owner);
            }
        }
    }
}
