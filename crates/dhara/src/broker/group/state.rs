//! The members of one group and what each has.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::super::wakers::Wakers;
use super::super::{
    Assignment, BrokerError, Delivery, Receipt, Signal, Subscribe, Topic, TopicPartition,
};
use super::assign::{MemberId, Share, spread};
use super::cursor::{Cold, Cursor, Given, Handover};
use super::hold::Load;
use super::source::{Seat, Source};
use crate::world::{Instant, World};

/// How long a member that was told to let go of a partition may take before it is taken away.
const HANDOVER: Duration = Duration::from_secs(60);

/// What one call hands out at most.
const MOST_AT_ONCE: usize = 1024;

/// A group: its cursors, its members, and who has what.
#[derive(Debug)]
pub(super) struct State<S: Source> {
    pub(super) cursors: Vec<Cursor<S>>,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) closed: bool,
    /// Who is to be woken when the lock is released.
    pub(super) woken: Vec<Waker>,
    /// The cursors of each topic that is there, by the numbers of its partitions.
    pub(super) places: HashMap<Topic, Vec<u32>>,
    /// Some topic has grown.
    pub(super) has_growths: bool,
    /// The cursors that wait for another.
    pub(super) blocked: Vec<u32>,
    /// Positions have passed over what holds nothing.
    pub(super) passed_over: bool,
    /// Some topic was deleted.
    pub(super) has_gone: bool,
    last_member: MemberId,
    /// Some partition is on its way from one member to another.
    handing_over: bool,
    /// Epochs of assignments count from here.
    first_epoch: u64,
}

/// One member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) topics: Vec<Topic>,
    pub(super) load: Load,
    /// The cursors it owns.
    pub(super) slots: Vec<u32>,
    /// What it is to be told before it is given anything more.
    pub(super) signals: VecDeque<Result<Signal, BrokerError>>,
    /// Set while it waits.
    pub(super) waker: Option<Waker>,
    /// Rung by the topics it reads.
    pub(super) listens: Vec<Arc<Wakers>>,
    /// The cursor that is the first to give, by turns.
    turn: usize,
}

/// What a member that asks for its next signal is told.
#[derive(Debug)]
pub(super) enum Next {
    Signal(Result<Signal, BrokerError>),
    /// Nothing until it is woken, or until this moment.
    Wait(Option<Instant>),
}

impl<S: Source> State<S> {
    pub(super) fn new(first_epoch: u64) -> Self {
        Self {
            cursors: Vec::new(),
            members: BTreeMap::new(),
            closed: false,
            woken: Vec::new(),
            places: HashMap::new(),
            has_growths: false,
            blocked: Vec::new(),
            passed_over: false,
            has_gone: false,
            last_member: 0,
            handing_over: false,
            first_epoch,
        }
    }

    /// A new member takes its seats; the partitions are spread anew.
    pub(super) fn join(
        &mut self,
        request: &Subscribe,
        seats: Vec<Seat<S>>,
        now: Instant,
    ) -> MemberId {
        self.last_member += 1;
        let mut member = Member {
            topics: request.topics.clone(),
            load: Load::new(request.max_in_hand, request.max_bytes),
            slots: Vec::new(),
            signals: VecDeque::new(),
            waker: None,
            listens: Vec::new(),
            turn: 0,
        };
        seats.iter().for_each(|seat| member.listen(&seat.wakers));
        self.add_seats(seats, request.start);
        self.members.insert(self.last_member, member);
        self.rebalance(now);
        self.last_member
    }

    /// Takes a member out; what it had in hand goes to the others.
    pub(super) fn leave(&mut self, id: MemberId, now: Instant) {
        let Some(mut member) = self.members.remove(&id) else { return };
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.owner == Some(id)) {
            cursor.recall(&mut member.load, now);
        }
        self.woken.extend(member.waker.take());
        self.rebalance(now);
    }

    /// Ends the group: every member is told.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.woken.extend(self.members.values_mut().filter_map(|member| member.waker.take()));
    }

    /// Gives what has no owner to somebody, and asks members that have too much to let go.
    pub(super) fn rebalance(&mut self, now: Instant) {
        let mut shares: Vec<Share> = self.cursors.iter().map(|cursor| self.share(cursor)).collect();
        spread(&mut shares);
        let mut assigned: BTreeMap<MemberId, Vec<Assignment>> = BTreeMap::new();
        let mut revoked: BTreeMap<MemberId, Vec<TopicPartition>> = BTreeMap::new();
        for (cursor, share) in self.cursors.iter_mut().zip(&shares) {
            match (cursor.owner, share.owner) {
                _ if cursor.handover.is_some() => {
                    cursor.handover.iter_mut().for_each(|handover| handover.heir = share.owner);
                }
                (None, Some(to)) => {
                    cursor.owner = Some(to);
                    let assignment = Assignment {
                        partition: cursor.partition.clone(),
                        offset: cursor.position(),
                        epoch: self.first_epoch + u64::from(cursor.epoch),
                    };
                    assigned.entry(to).or_default().push(assignment);
                    if let Some(member) = self.members.get_mut(&to) {
                        member.slots.push(cursor.slot);
                    }
                }
                (Some(from), to) if to != Some(from) => {
                    cursor.handover = Some(Handover { heir: to, until: now + HANDOVER });
                    revoked.entry(from).or_default().push(cursor.partition.clone());
                }
                _ => {}
            }
        }
        self.handing_over = self.cursors.iter().any(|cursor| cursor.handover.is_some());
        revoked
            .into_iter()
            .for_each(|(member, partitions)| self.tell(member, Signal::Revoked(partitions)));
        assigned.into_iter().for_each(|(member, all)| self.tell(member, Signal::Assigned(all)));
    }

    fn share(&self, cursor: &Cursor<S>) -> Share {
        let topic = &cursor.partition.topic;
        let reads = |member: &Member| !cursor.gone && member.topics.contains(topic);
        let eligible = self.members.iter().filter(|(_, member)| reads(member));
        Share {
            owner: cursor.handover.map_or(cursor.owner, |handover| handover.heir),
            fixed: cursor.handover.is_some(),
            eligible: eligible.map(|(id, _)| *id).collect(),
        }
    }

    pub(super) fn tell(&mut self, id: MemberId, signal: Signal) {
        self.tell_result(id, Ok(signal));
    }

    pub(super) fn tell_result(&mut self, id: MemberId, signal: Result<Signal, BrokerError>) {
        if let Some(member) = self.members.get_mut(&id) {
            member.signals.push_back(signal);
            self.woken.extend(member.waker.take());
        }
    }

    /// Ends the handovers of `partitions`, which `id` was asked for.
    pub(super) fn release(&mut self, id: MemberId, partitions: &[TopicPartition], now: Instant) {
        let asked = |cursor: &Cursor<S>| {
            cursor.owner == Some(id)
                && cursor.handover.is_some()
                && partitions.contains(&cursor.partition)
        };
        self.take_away(now, asked);
        self.rebalance(now);
    }

    /// Takes the partitions whose owners did not let go in time.
    fn end_overdue(&mut self, now: Instant) {
        let overdue = |cursor: &Cursor<S>| cursor.handover.is_some_and(|it| it.until <= now);
        let lost = self.take_away(now, overdue);
        if !lost.is_empty() {
            for (id, partition) in lost {
                self.tell(id, Signal::Lost(vec![partition]));
            }
            self.rebalance(now);
        }
    }

    fn take_away(
        &mut self,
        now: Instant,
        which: impl Fn(&Cursor<S>) -> bool,
    ) -> Vec<(MemberId, TopicPartition)> {
        let mut taken = Vec::new();
        for cursor in self.cursors.iter_mut().filter(|cursor| which(cursor)) {
            let Some(id) = cursor.owner else { continue };
            let Some(member) = self.members.get_mut(&id) else { continue };
            cursor.recall(&mut member.load, now);
            member.slots.retain(|slot| *slot != cursor.slot);
            // Room in its hand may be what it waits for.
            self.woken.extend(member.waker.take());
            taken.push((id, cursor.partition.clone()));
        }
        taken
    }

    /// The next signal of a member. What must be fetched first is added to `cold`.
    pub(super) fn next(&mut self, id: MemberId, world: &World, cold: &mut Vec<Cold>) -> Next {
        if self.handing_over {
            self.end_overdue(world.instant());
        }
        if self.has_growths {
            self.pass_gates(id);
        }
        let Some(member) = self.members.get_mut(&id).filter(|_| !self.closed) else {
            return Next::Signal(Ok(Signal::Closed));
        };
        if let Some(signal) = member.signals.pop_front() {
            return Next::Signal(signal);
        }
        let deliveries = gather(&mut self.cursors, member, world, cold, &mut self.passed_over);
        self.rouse_unblocked();
        let Some(member) = self.members.get_mut(&id) else {
            return Next::Signal(Ok(Signal::Closed));
        };
        if !deliveries.is_empty() {
            return Next::Signal(Ok(Signal::Deliveries(deliveries)));
        }
        match member.signals.pop_front() {
            Some(signal) => Next::Signal(signal),
            None => Next::Wait(self.deadline(id)),
        }
    }

    /// Has `waker` woken when there is something for the member; false when there is already.
    pub(super) fn park(&mut self, id: MemberId, waker: &Waker) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        if !member.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            member.waker = Some(waker.clone());
        }
        if !member.load.has_room() {
            return true;
        }
        member.listens.iter().for_each(|topic| topic.register(waker));
        let Some(member) = self.members.get(&id) else { return false };
        let ready =
            |cursor: &Cursor<S>| cursor.flows() && (cursor.waiting() > 0 || self.may_pass(cursor));
        !owned(&self.cursors, &member.slots).any(ready)
    }

    /// When a member that waits must look again by itself.
    fn deadline(&self, id: MemberId) -> Option<Instant> {
        let member = self.members.get(&id)?;
        let due = owned(&self.cursors, &member.slots)
            .filter(|cursor| cursor.flows() && member.load.has_room())
            .filter_map(Cursor::next_due);
        let handovers = self.cursors.iter().filter_map(|cursor| cursor.handover);
        let inherits = handovers.filter(|it| it.heir == Some(id)).map(|it| it.until);
        due.chain(inherits).min()
    }

    /// Runs `change` for the receipts on the cursor they are of, while that is this member's: for those
    /// of one cursor that come together, at once. An error when the group has ended: what is done now
    /// is not remembered any more.
    pub(super) fn settle(
        &mut self,
        id: MemberId,
        receipts: &[Receipt],
        mut change: impl FnMut(&mut Cursor<S>, &[Receipt], &mut Load),
    ) -> Result<(), BrokerError> {
        let Some(member) = self.members.get_mut(&id).filter(|_| !self.closed) else {
            return Err(BrokerError::Closed);
        };
        let was_full = !member.load.has_room();
        for run in receipts.chunk_by(|one, next| one.slot() == next.slot()) {
            let slot = run.first().map_or(u32::MAX, Receipt::slot);
            let Some(cursor) = self.cursors.get_mut(slot as usize) else { continue };
            if cursor.owner == Some(id) {
                change(cursor, run, &mut member.load);
            }
        }
        if was_full && member.load.has_room() {
            self.woken.extend(member.waker.take());
        }
        self.rouse_unblocked();
        Ok(())
    }

    /// The positions that changed since they were last taken.
    pub(super) fn take_positions(&mut self) -> Vec<(TopicPartition, u64)> {
        let dirty = self.cursors.iter_mut().filter(|cursor| cursor.dirty);
        dirty
            .filter_map(|cursor| {
                cursor.dirty = false;
                Some((cursor.partition.clone(), cursor.committed?))
            })
            .collect()
    }

    /// The member's cursor of `partition`, with the member's load.
    pub(super) fn owned_mut(
        &mut self,
        id: MemberId,
        partition: &TopicPartition,
    ) -> Option<(&mut Cursor<S>, &mut Load)> {
        let load = &mut self.members.get_mut(&id)?.load;
        let mine =
            |cursor: &&mut Cursor<S>| cursor.owner == Some(id) && cursor.partition == *partition;
        Some((self.cursors.iter_mut().find(mine)?, load))
    }

    /// Wakes a member that waits, to look again.
    pub(super) fn rouse(&mut self, id: MemberId) {
        let member = self.members.get_mut(&id);
        self.woken.extend(member.and_then(|member| member.waker.take()));
    }

    /// How many bytes a fetch for this member may bring.
    pub(super) fn fetch_size(&self, id: MemberId) -> usize {
        self.members
            .get(&id)
            .map_or(0, |member| member.load.max_bytes() / member.slots.len().max(1))
    }

    /// What a fetch brought, unless the cursor has gone on elsewhere meanwhile.
    pub(super) fn fetched(&mut self, cold: Cold, result: Result<S::Fetched, BrokerError>) {
        let Some(cursor) = self.cursors.get_mut(cold.slot as usize) else { return };
        cursor.fetching = false;
        let owner = cursor.owner.and_then(|owner| self.members.get_mut(&owner));
        match (result, owner) {
            (Ok(fetched), _) if cursor.epoch == cold.epoch => cursor.fill(cold, fetched),
            (Err(error), Some(member)) => member.signals.push_back(Err(error)),
            _ => {}
        }
        if let Some(owner) = cursor.owner {
            self.rouse(owner);
        }
    }
}

pub(super) fn owned<'a, S: Source>(
    cursors: &'a [Cursor<S>],
    slots: &'a [u32],
) -> impl Iterator<Item = &'a Cursor<S>> {
    slots.iter().filter_map(|slot| cursors.get(*slot as usize))
}

/// Deliveries for `member` from each of its cursors, another one first each time.
fn gather<S: Source>(
    cursors: &mut [Cursor<S>],
    member: &mut Member,
    world: &World,
    cold: &mut Vec<Cold>,
    passed_over: &mut bool,
) -> Vec<Delivery> {
    if !member.load.has_room() {
        return Vec::new();
    }
    let flowing = owned(cursors, &member.slots).filter(|cursor| cursor.flows());
    let waiting: u64 = flowing.map(Cursor::waiting).sum();
    let likely = usize::try_from(waiting).unwrap_or(usize::MAX);
    let mut out = Vec::with_capacity(likely.min(member.load.room()).min(MOST_AT_ONCE));
    member.turn = member.turn.wrapping_add(1);
    let first = member.turn.checked_rem(member.slots.len()).unwrap_or(0);
    let (after, before) = member.slots.split_at_checked(first).unwrap_or_default();
    for slot in before.iter().chain(after) {
        let Some(cursor) = cursors.get_mut(*slot as usize).filter(|cursor| cursor.flows()) else {
            continue;
        };
        let was_dirty = cursor.dirty;
        let given = cursor.give(&mut member.load, &mut out, || world.instant());
        *passed_over |= cursor.dirty && !was_dirty;
        match given {
            Given::All => {}
            Given::Cold(request) => {
                cursor.fetching = true;
                cold.push(request);
            }
            Given::Failed(error) => member.signals.push_back(Err(error)),
        }
        if out.len() >= MOST_AT_ONCE || !member.load.has_room() {
            break;
        }
    }
    out
}
