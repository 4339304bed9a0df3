//! Where the deliveries of one partition come from.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::super::wakers::Wakers;
use super::super::{BrokerError, Delivery, Headers, Message, Receipt, Topic, TopicPartition};
use super::growth::Growths;
use super::hold::{Held, Load};
use crate::broker::watermark::Watermark;

/// The messages of one partition, as a broker of this process keeps them.
pub(crate) trait Source: Send + Sync + fmt::Debug + 'static {
    /// What a reader has read ahead of what it delivered.
    type Ahead: Default + Send + fmt::Debug;
    /// What one [`Source::fetch`] brings.
    type Fetched: Send + 'static;

    /// The earliest offset that is kept, and the one that the next message will get.
    fn bounds(&self) -> Bounds;

    /// Gives to `sink` the messages from `from` on that are at hand, without waiting for a disk.
    fn read(&self, ahead: &mut Self::Ahead, from: u64, sink: &mut Sink<'_>) -> Read;

    /// Brings what [`Source::read`] found [`Read::Cold`]. It may block.
    fn fetch(&self, from: u64, max_bytes: usize) -> Result<Self::Fetched, BrokerError>;

    /// Puts what was fetched where [`Source::read`] finds it.
    fn fill(&self, ahead: &mut Self::Ahead, fetched: Self::Fetched);
}

/// The offsets that a partition keeps: from `earliest` up to, but not with, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) earliest: u64,
    pub(crate) end: u64,
}

/// How a read ended.
#[derive(Debug)]
pub(crate) enum Read {
    /// The sink has what is at hand or all it takes; reading goes on at this offset, which may lie
    /// past offsets that hold no message.
    To(u64),
    /// What comes next, from this offset on, must be fetched first.
    #[cfg_attr(
        not(feature = "file"),
        expect(dead_code, reason = "only a broker on a disk needs it")
    )]
    Cold(u64),
    /// Everything below this offset is gone.
    Expired(u64),
    /// It could not be read.
    #[cfg_attr(
        not(feature = "file"),
        expect(dead_code, reason = "only a broker on a disk needs it")
    )]
    Failed(BrokerError),
}

/// One partition, as a group is seated before it.
#[derive(Debug)]
pub(crate) struct Seat<S> {
    pub(crate) partition: TopicPartition,
    pub(crate) source: Arc<S>,
    /// The group's position, where one is kept.
    pub(crate) committed: Option<u64>,
    /// How the topic came to its partitions.
    pub(crate) growths: Arc<Growths>,
    /// Rung when the topic has news.
    pub(crate) wakers: Arc<Wakers>,
}

/// How many messages one partition gives to one call at most, so that the others have their turn.
pub(super) const AT_A_TIME: usize = 256;

/// Takes messages of one partition and makes deliveries of them, as far as there is room.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    pub(super) out: &'a mut Vec<Delivery>,
    pub(super) load: &'a mut Load,
    pub(super) window: &'a mut Watermark<Held>,
    pub(super) topic: &'a Topic,
    pub(super) partition: u32,
    pub(super) slot: u32,
    pub(super) epoch: u32,
    /// How many more messages it takes.
    pub(super) left: usize,
    /// It takes none from this offset on.
    pub(super) until: u64,
    /// Set when one message is given again: its offset, and which of its attempts this is.
    pub(super) again: Option<(u64, u32)>,
}

impl Sink<'_> {
    /// Whether there is room for another message.
    #[inline]
    pub(crate) fn wants(&self) -> bool {
        self.left > 0 && self.load.has_room()
    }

    /// The offset from which on it takes none, where the topic has grown; a topic that never does has
    /// no such offset.
    #[cfg_attr(not(feature = "file"), expect(dead_code, reason = "mem: topics never grow"))]
    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// Takes messages that lie side by side, the first at `from`, as many as there is room for; tells
    /// how many. `from` is where the reading goes on.
    pub(crate) fn extend(&mut self, from: u64, messages: &[Message]) -> usize {
        if self.again.is_some() {
            let Some(message) = messages.first() else { return 0 };
            let Message { key, body, headers, .. } = message;
            self.push(from, size_in_hand(message), message.timestamp, || {
                (key.clone(), body.clone(), headers.clone())
            });
            return 1;
        }
        let mut load = *self.load;
        let mut count = 0;
        for message in messages.iter().take(self.left) {
            if !load.has_room() {
                break;
            }
            load.add(size_in_hand(message));
            count += 1;
        }
        *self.load = load;
        self.left -= count;
        let taken = messages.get(..count).unwrap_or_default();
        let held = taken.iter().map(|message| Held::given(size_in_hand(message)));
        self.window.begin_run(from, held);
        let (topic, partition, slot, epoch) = (self.topic, self.partition, self.slot, self.epoch);
        // Of known length, so that each delivery is made where it is to lie.
        self.out.extend((from..).zip(taken).map(|(offset, message)| Delivery {
            topic: topic.clone(),
            partition,
            offset,
            key: message.key.clone(),
            body: message.body.clone(),
            // Most messages have no headers: cloning a vector is a call even where it is empty.
            headers: match message.headers.is_empty() {
                true => Headers::new(),
                false => message.headers.clone(),
            },
            timestamp: message.timestamp,
            attempt: 1,
            receipt: Receipt::new(slot, epoch, offset),
        }));
        count
    }

    /// Takes one message, whose key and body have `size` bytes and which `parts` gives: key, body and
    /// headers. To be called when [`Sink::wants`], with rising offsets.
    #[inline]
    pub(crate) fn push(
        &mut self,
        offset: u64,
        size: usize,
        timestamp: crate::world::Timestamp,
        parts: impl FnOnce() -> (Option<Bytes>, Bytes, Headers),
    ) {
        self.left = self.left.saturating_sub(1);
        let attempt = match self.again {
            Some((wanted, attempt)) if wanted == offset => attempt,
            Some(_) => return,
            None if self.window.begin(offset, Held::given(size)) => 1,
            None => return,
        };
        let (key, body, headers) = parts();
        self.load.add(size);
        self.out.push(Delivery {
            topic: self.topic.clone(),
            partition: self.partition,
            offset,
            key,
            body,
            headers,
            timestamp,
            attempt,
            receipt: Receipt::new(self.slot, self.epoch, offset),
        });
    }
}

/// What a message counts in the hand of a member: the bytes of its key and body.
#[inline]
pub(crate) fn size_in_hand(message: &Message) -> usize {
    message.key.as_ref().map_or(0, Bytes::len) + message.body.len()
}
