//! What goes in and what comes out.

use std::fmt;

use bytes::Bytes;

use crate::event::{DecodeError, Envelope, Limits};
pub use crate::event::{Headers, Message, Topic};
use crate::world::Timestamp;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Topic,
    /// The partition's number, from 0.
    pub partition: u32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The messages of one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// One message, without a vector for it.
    One(Message),
    /// Any number of messages.
    Many(Vec<Message>),
}

impl From<Message> for Batch {
    fn from(message: Message) -> Self {
        Self::One(message)
    }
}

impl From<Vec<Message>> for Batch {
    fn from(messages: Vec<Message>) -> Self {
        Self::Many(messages)
    }
}

impl Batch {
    /// The messages, in order.
    pub fn as_slice(&self) -> &[Message] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Many(messages) => messages,
        }
    }
}

/// Where a published message came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The partition's number.
    pub partition: u32,
    /// The offset in it.
    pub offset: u64,
}

/// The positions of the messages of one publish, in the order of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Positions {
    /// The broker tells none.
    Unknown,
    /// Of a single message.
    One(Position),
    /// Of many.
    Many(Vec<Position>),
}

/// A partition that a member was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset that deliveries begin with.
    pub offset: u64,
    /// Counts the partition's owners, where the broker does: a later owner has a higher epoch.
    pub epoch: u64,
}

/// One event on its way to one group.
#[derive(Debug)]
pub struct Delivery {
    /// The topic it was published to.
    pub topic: Topic,
    /// The partition it lies in.
    pub partition: u32,
    /// Its offset in the partition. A broker without offsets counts its deliveries here: the number
    /// rises, and means nothing beyond the subscription.
    pub offset: u64,
    /// The key it was published with.
    pub key: Option<Bytes>,
    /// The body, as it was published.
    pub body: Bytes,
    /// The headers, as they were published.
    pub headers: Headers,
    /// When what it tells of happened, to the millisecond at least.
    pub timestamp: Timestamp,
    /// 1 for the first time that this broker delivers it to this group, where it can tell.
    pub attempt: u32,
    /// What is handed back to ack it.
    pub receipt: Receipt,
}

impl Delivery {
    /// Its envelope, within the usual limits.
    // For each event that is handled: as a call, it would hand the envelope on by a copy.
    #[inline(always)]
    pub(crate) fn envelope(&self) -> Result<Envelope<'_>, DecodeError> {
        Envelope::parse_message(&self.headers, &self.body, &Limits::default())
    }

    /// The same delivery once more, for the framework's own use: only one of the two may be acked.
    pub(crate) fn twin(&self) -> Self {
        Self {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offset,
            key: self.key.clone(),
            body: self.body.clone(),
            headers: self.headers.clone(),
            timestamp: self.timestamp,
            attempt: self.attempt,
            receipt: self.receipt.twin(),
        }
    }
}

/// Stands for one delivery in hand. It cannot be copied, so that a delivery cannot be acked twice.
#[derive(Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which of the subscription's partitions or channels, by the back end's own count.
    slot: u32,
    /// Counts the assignments of the slot: a receipt of an earlier one is void.
    epoch: u32,
    /// The offset, delivery tag or index of a handle, as the back end wishes.
    tag: u64,
}

impl Receipt {
    /// A back end makes a receipt with each delivery.
    pub fn new(slot: u32, epoch: u32, tag: u64) -> Self {
        Self { slot, epoch, tag }
    }

    /// The same receipt once more, for the framework's own use: only one of the two may be handed back.
    #[inline]
    pub(crate) fn twin(&self) -> Self {
        Self { ..*self }
    }

    /// The slot it was made with.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// The epoch it was made with.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The tag it was made with.
    pub fn tag(&self) -> u64 {
        self.tag
    }
}
