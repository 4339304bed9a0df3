//! How far a group is in one partition.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::super::{BrokerError, Delivery, Receipt, TopicPartition};
use super::assign::MemberId;
use super::growth::Growths;
use super::hold::{Held, Load};
use super::source::{AT_A_TIME, Read, Seat, Sink, Source};
use crate::broker::watermark::Watermark;
use crate::world::Instant;

/// A group's place in one partition: who reads it, what is in hand, what is done.
#[derive(Debug)]
pub(super) struct Cursor<S: Source> {
    pub(super) partition: TopicPartition,
    pub(super) source: Arc<S>,
    /// The cursor's number in its group.
    pub(super) slot: u32,
    pub(super) owner: Option<MemberId>,
    /// Its owner was told to let go, in favour of another member.
    pub(super) handover: Option<Handover>,
    /// Counts the assignments and seeks; a receipt of an earlier one is void.
    pub(super) epoch: u32,
    pub(super) paused: bool,
    /// A fetch for it is under way.
    pub(super) fetching: bool,
    /// What the group would go on from after everything in memory is gone.
    pub(super) committed: Option<u64>,
    /// `committed` has changed since it was last taken to be kept.
    pub(super) dirty: bool,
    /// Its topic was deleted: it is nobody's.
    pub(super) gone: bool,
    pub(super) growths: Arc<Growths>,
    /// How many growths lie before what may be given now.
    phase: usize,
    /// The partition, and the offset it must come to, before more is given.
    pub(super) waits_for: Option<(u32, u64)>,
    window: Watermark<Held>,
    /// What is to be given again: when, and its offset. Every open offset of the window that is not
    /// in hand stands here once.
    returned: BinaryHeap<Reverse<(Instant, u64)>>,
    ahead: S::Ahead,
    again: S::Ahead,
}

/// A partition on its way to another member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handover {
    pub(super) heir: Option<MemberId>,
    /// When the heir may take it without being asked.
    pub(super) until: Instant,
}

/// What must be fetched before a cursor can go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cold {
    pub(super) slot: u32,
    pub(super) epoch: u32,
    pub(super) from: u64,
    /// For what is given again, beside the ordinary reading.
    pub(super) again: bool,
}

/// How giving deliveries ended.
#[derive(Debug)]
pub(super) enum Given {
    All,
    Cold(Cold),
    Failed(BrokerError),
}

impl<S: Source> Cursor<S> {
    pub(super) fn new(slot: u32, seat: Seat<S>, start: u64, committed: Option<u64>) -> Self {
        Self {
            partition: seat.partition,
            source: seat.source,
            growths: seat.growths,
            gone: false,
            phase: 0,
            waits_for: None,
            slot,
            owner: None,
            handover: None,
            epoch: 0,
            paused: false,
            fetching: false,
            committed,
            dirty: false,
            window: Watermark::new(start),
            returned: BinaryHeap::new(),
            ahead: S::Ahead::default(),
            again: S::Ahead::default(),
        }
    }

    /// Where deliveries begin when another member takes over.
    pub(super) fn position(&self) -> u64 {
        self.window.lowest()
    }

    /// Whether its owner is given deliveries of it.
    pub(super) fn flows(&self) -> bool {
        !self.paused && self.handover.is_none() && !self.fetching
    }

    /// How many messages wait that were never given and may be.
    pub(super) fn waiting(&self) -> u64 {
        self.source.bounds().end.min(self.limit()).saturating_sub(self.window.next())
    }

    /// What lies from here on was published after a growth of the topic that has not been passed.
    fn limit(&self) -> u64 {
        self.growths.limit(self.partition.partition, self.phase)
    }

    /// Whether what comes next was published after a growth that has not been passed.
    pub(super) fn is_at_gate(&self) -> bool {
        let next = self.window.next();
        self.limit() <= next && next < self.source.bounds().end
    }

    /// How many growths lie before what comes next; or, where something has to be done first, a
    /// partition and the offset that it must come to. `position` tells how far each has come.
    pub(super) fn gate(&self, position: impl Fn(u32) -> u64) -> Result<usize, (u32, u64)> {
        let partition = self.partition.partition;
        let phase = self.growths.phase(partition, self.window.next());
        self.growths.unmet(partition, phase, position).map_or(Ok(phase), Err)
    }

    pub(super) fn pass(&mut self, gate: Result<usize, (u32, u64)>) {
        self.waits_for = gate.err();
        self.phase = gate.unwrap_or(self.phase);
    }

    /// When the next of what was given back is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.returned.peek().map(|Reverse((due, _))| *due)
    }

    /// Gives what was given back and is due, then what is new, as far as there is room.
    pub(super) fn give(
        &mut self,
        load: &mut Load,
        out: &mut Vec<Delivery>,
        now: impl FnOnce() -> Instant,
    ) -> Given {
        let before = self.window.lowest();
        let mut given = Given::All;
        if !self.returned.is_empty() {
            given = self.give_again(load, out, now());
        }
        if matches!(given, Given::All) {
            given = self.give_new(load, out);
        }
        self.passed_over(before);
        given
    }

    /// What holds nothing (more) is done without an ack: the group's position passes over it.
    fn passed_over(&mut self, before: u64) {
        let lowest = self.window.lowest();
        if lowest > before && self.committed == Some(before) {
            self.committed = Some(lowest);
            self.dirty = true;
        }
    }

    fn give_new(&mut self, load: &mut Load, out: &mut Vec<Delivery>) -> Given {
        let from = self.window.next();
        let (slot, epoch, until) = (self.slot, self.epoch, self.limit());
        let mut sink = Sink {
            out,
            load,
            window: &mut self.window,
            topic: &self.partition.topic,
            partition: self.partition.partition,
            slot,
            epoch,
            left: AT_A_TIME,
            until,
            again: None,
        };
        match self.source.read(&mut self.ahead, from, &mut sink) {
            Read::To(next) => {
                self.window.skip_to(next);
                Given::All
            }
            Read::Cold(from) => {
                self.window.skip_to(from);
                Given::Cold(Cold { slot, epoch, from, again: false })
            }
            Read::Expired(earliest) => {
                self.window.skip_to(earliest);
                Given::Failed(self.expired(earliest))
            }
            Read::Failed(error) => Given::Failed(error),
        }
    }

    fn give_again(&mut self, load: &mut Load, out: &mut Vec<Delivery>, now: Instant) -> Given {
        for offset in self.take_due(now) {
            let given = if load.has_room() { self.give_one(offset, load, out) } else { Given::All };
            // What was neither given nor dropped waits on.
            if self.window.get_mut(offset).is_some_and(|held| !held.in_hand()) {
                self.returned.push(Reverse((now, offset)));
            }
            match given {
                Given::All => {}
                // The rest that was due is still in the window, but no longer in the heap.
                other => {
                    self.requeue(now);
                    return other;
                }
            }
        }
        Given::All
    }

    /// The offsets that are due, lowest first.
    fn take_due(&mut self, now: Instant) -> Vec<u64> {
        let mut due = Vec::new();
        while let Some(Reverse((at, offset))) = self.returned.peek().copied() {
            if at > now {
                break;
            }
            self.returned.pop();
            due.push(offset);
        }
        due.sort_unstable();
        due
    }

    fn give_one(&mut self, offset: u64, load: &mut Load, out: &mut Vec<Delivery>) -> Given {
        let Some(held) = self.window.get_mut(offset) else { return Given::All };
        let attempt = held.next_attempt();
        let before = out.len();
        let mut sink = Sink {
            out,
            load,
            window: &mut self.window,
            topic: &self.partition.topic,
            partition: self.partition.partition,
            slot: self.slot,
            epoch: self.epoch,
            left: 1,
            until: u64::MAX,
            again: Some((offset, attempt)),
        };
        let read = self.source.read(&mut self.again, offset, &mut sink);
        match read {
            Read::To(_) if out.len() > before => {
                self.window.get_mut(offset).into_iter().for_each(Held::give_again);
                Given::All
            }
            Read::Cold(from) => {
                Given::Cold(Cold { slot: self.slot, epoch: self.epoch, from, again: true })
            }
            Read::Failed(error) => Given::Failed(error),
            // It is gone: compacted away, or expired.
            Read::To(_) => {
                self.window.done(offset);
                Given::All
            }
            Read::Expired(earliest) => {
                self.window.done(offset);
                Given::Failed(self.expired(earliest))
            }
        }
    }

    /// Puts every open offset that is not in hand and not queued back into the queue.
    fn requeue(&mut self, now: Instant) {
        let queued: Vec<u64> = self.returned.iter().map(|Reverse((_, offset))| *offset).collect();
        for (offset, held) in self.window.open_mut() {
            if !held.in_hand() && !queued.contains(&offset) {
                self.returned.push(Reverse((now, offset)));
            }
        }
    }

    fn expired(&self, earliest: u64) -> BrokerError {
        BrokerError::Expired { what: format!("what was next in {}", self.partition), earliest }
    }

    /// Puts what was fetched where the reading that asked for it finds it.
    pub(super) fn fill(&mut self, cold: Cold, fetched: S::Fetched) {
        let ahead = if cold.again { &mut self.again } else { &mut self.ahead };
        self.source.fill(ahead, fetched);
    }

    /// Marks deliveries in hand as done. Void receipts change nothing.
    pub(super) fn ack(&mut self, receipts: &[Receipt], load: &mut Load) {
        let (mut count, mut bytes) = (0, 0);
        let epoch = self.epoch;
        let valid = receipts.iter().filter(|receipt| receipt.epoch() == epoch);
        self.window.done_all(valid.map(Receipt::tag), |held| {
            let in_hand = held.in_hand();
            if in_hand {
                count += 1;
                bytes += held.size();
            }
            in_hand
        });
        if count > 0 {
            load.remove_all(count, bytes);
            let lowest = Some(self.window.lowest());
            self.dirty |= self.committed != lowest;
            self.committed = lowest;
        }
    }

    /// Has a delivery in hand given again at `due`.
    pub(super) fn give_back(&mut self, epoch: u32, offset: u64, due: Instant, load: &mut Load) {
        if epoch != self.epoch {
            return;
        }
        if let Some(held) = self.window.get_mut(offset).filter(|held| held.in_hand()) {
            held.give_back();
            load.remove(held.size());
            self.returned.push(Reverse((due, offset)));
        }
    }

    /// Takes everything from the owner's hand, to be given to the next owner at once and in order:
    /// order goes before delays.
    pub(super) fn recall(&mut self, load: &mut Load, now: Instant) {
        self.returned.clear();
        for (offset, held) in self.window.open_mut() {
            if held.in_hand() {
                load.remove(held.size());
                held.give_back();
            }
            self.returned.push(Reverse((now, offset)));
        }
        self.owner = None;
        self.handover = None;
        self.paused = false;
        self.ahead = S::Ahead::default();
        self.again = S::Ahead::default();
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Goes on with `offset`, and forgets what is in hand.
    pub(super) fn seek(&mut self, offset: u64, load: &mut Load) {
        for (_, held) in self.window.open_mut().filter(|(_, held)| held.in_hand()) {
            load.remove(held.size());
        }
        self.returned.clear();
        self.phase = 0;
        self.waits_for = None;
        self.window = Watermark::new(offset);
        self.epoch = self.epoch.wrapping_add(1);
    }
}
