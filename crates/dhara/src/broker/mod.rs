//! A broker moves events.
//!
//! [`Broker`] and [`Subscription`] are the seam between the framework and whatever carries its
//! events. Their doc comments are the contract; the conformance suite checks it for every back end.

mod capabilities;
mod error;
#[cfg(feature = "file")]
pub mod file;
mod group;
pub mod mem;
mod message;
mod names;
mod open;
mod partitioner;
mod wakers;
pub(crate) mod watermark;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use capabilities::Capabilities;
pub use error::BrokerError;
pub use message::{
    Assignment, Batch, Delivery, Headers, Message, Position, Positions, Receipt, Topic,
    TopicPartition,
};
pub use open::open;
pub use partitioner::{murmur2, partition_of};

use crate::answer::Answer;

/// The partitions of a topic that nobody asked more or fewer for, on brokers of this process.
pub const DEFAULT_PARTITIONS: u32 = 8;

/// Moves events from publishers to the groups that subscribe to them.
///
/// # Order
///
/// Where [`Capabilities::ordered_by_key`] holds, messages with one key in one topic are delivered
/// to each group in the order in which their publishing was *begun* by one publisher that awaits
/// each answer, or that puts them in one batch. Between topics there is no order.
///
/// # Durability
///
/// An answer of `Ok` to [`Broker::publish`] means the messages are as durable as
/// [`Capabilities::durable`] says, and a message is delivered only when it is.
///
/// # Cancellation
///
/// Dropping an answer leaves it open whether what was asked for was done. Of
/// [`Broker::publish`] it is promised that never are some messages of a batch for one partition
/// published and others before them not; of [`Subscription::next`], that nothing that it would have
/// returned is lost: the next call returns it.
pub trait Broker: Send + Sync + fmt::Debug + 'static {
    /// What this broker can do, as data.
    fn capabilities(&self) -> Capabilities;

    /// Names what its offsets belong to: the same for as long as an offset means the same message,
    /// in other processes too (the id of a Kafka cluster, of an embedded log). A store keeps the
    /// positions of each apart, so that a service that comes to another broker begins there anew.
    ///
    /// `None` where an offset means nothing to another process; no store keeps positions then.
    fn id(&self) -> Option<Arc<str>> {
        None
    }

    /// Makes sure that each of `topics` exists; one that is new gets the partitions it asks for.
    ///
    /// A topic that exists keeps the partitions it has, be they more or fewer: adding some would
    /// move keys to other partitions and break their order.
    fn declare<'a>(&'a self, topics: &'a [TopicSpec]) -> Answer<'a, Result<(), BrokerError>>;

    /// Publishes `batch`: all of it or an error.
    ///
    /// A topic that does not exist is declared first, with the broker's default partitions. Messages
    /// for one partition keep their order. After an error of kind
    /// [`BrokerError::Unavailable`] the same batch may be published again, at the price of
    /// duplicates.
    fn publish(&self, batch: Batch) -> Answer<'_, Result<Positions, BrokerError>>;

    /// Joins a group, or reads alone.
    fn subscribe(
        &self,
        request: Subscribe,
    ) -> Answer<'_, Result<Arc<dyn Subscription>, BrokerError>>;

    /// How far `group` has come in `topics`: one row a partition.
    fn progress<'a>(
        &'a self,
        group: &'a str,
        topics: &'a [Topic],
    ) -> Answer<'a, Result<Vec<Progress>, BrokerError>>;

    /// Takes no more work, and answers when what was begun is done. Subscriptions end.
    fn close(&self) -> Answer<'_, Result<(), BrokerError>>;
}

/// One member's part in a group: it is given deliveries and says what became of each.
///
/// Every delivery that was given is *in hand* until its receipt is acked or given back, or its
/// partition is revoked. What is in hand when a member goes is delivered again, to this group, by
/// whichever member has the partition then.
pub trait Subscription: Send + Sync + fmt::Debug {
    /// Waits for the next signal. One caller at a time.
    ///
    /// Gives no deliveries while [`Subscribe::max_in_hand`] or [`Subscribe::max_bytes`] is reached
    /// (the bound of bytes may be passed by one delivery, so that one is always given, however
    /// large). Deliveries of one partition come in the order of their offsets, but for those that
    /// are given again.
    ///
    /// [`BrokerError::Expired`] tells that messages which this group had before it are gone. It is
    /// told once; the next call goes on with the earliest that is kept.
    fn next(&self) -> Answer<'_, Result<Signal, BrokerError>>;

    /// The deliveries of these receipts are done, in any order: none of them will be given to this
    /// group again, once the broker has made that durable.
    ///
    /// An answer of `Ok` means that the broker took note. Where positions are kept as one number a
    /// partition, it is the lowest that has everything below it done, so that after a crash
    /// deliveries above it may come again.
    fn ack(&self, receipts: Vec<Receipt>) -> Answer<'_, Result<(), BrokerError>>;

    /// The deliveries of these receipts were not handled: each is given again, after `delay`, with
    /// its attempt counted up. When its partition goes to another member meanwhile, that one is given
    /// it at once: order goes before delays.
    fn give_back(
        &self,
        receipts: Vec<Receipt>,
        delay: Duration,
    ) -> Answer<'_, Result<(), BrokerError>>;

    /// Work on these deliveries goes on: the broker is not to give them to another member for
    /// another `by`. Brokers that hold a member by its heartbeat answer at once.
    fn extend<'a>(
        &'a self,
        receipts: &'a [Receipt],
        by: Duration,
    ) -> Answer<'a, Result<(), BrokerError>> {
        let _ = (receipts, by);
        Answer::now(Ok(()))
    }

    /// Stops deliveries of these partitions until [`Subscription::resume`]. What is in hand stays.
    /// Partitions that are not this member's (any more) are passed over. A partition comes to its
    /// next owner unpaused.
    fn pause(&self, partitions: &[TopicPartition]) -> Result<(), BrokerError>;

    /// Goes on with deliveries of these partitions.
    fn resume(&self, partitions: &[TopicPartition]) -> Result<(), BrokerError>;

    /// Goes on with `offset` in `partition`; what is in hand of it is forgotten, its receipts are
    /// void. An error where [`Capabilities::replay`] is missing.
    fn seek(&self, partition: &TopicPartition, offset: u64) -> Result<(), BrokerError>;

    /// Answers [`Signal::Revoked`]: the work in hand of these partitions has ended, and another
    /// member may have them.
    fn release(&self, partitions: &[TopicPartition]) -> Answer<'_, Result<(), BrokerError>>;

    /// Leaves the group; what is in hand goes back. [`Subscription::next`] answers
    /// [`Signal::Closed`] from then on.
    fn close(&self) -> Answer<'_, Result<(), BrokerError>>;
}

/// What a member of a group is told.
#[derive(Debug)]
#[non_exhaustive]
pub enum Signal {
    /// These partitions are this member's from now on; deliveries begin at the position that is
    /// named, unless the member seeks before it calls [`Subscription::next`] again.
    Assigned(Vec<Assignment>),
    /// Another member is to have these partitions: end what is in hand, ack it, then
    /// [`Subscription::release`] them. No more deliveries of them will come.
    Revoked(Vec<TopicPartition>),
    /// These partitions were taken away already: what is in hand of them is another's, acks of it
    /// do nothing.
    Lost(Vec<TopicPartition>),
    /// The next deliveries, never empty.
    Deliveries(Vec<Delivery>),
    /// The subscription has ended.
    Closed,
}

/// What a subscriber asks for.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Who reads.
    pub group: Group,
    /// The topics it reads; one that does not exist is declared first.
    pub topics: Vec<Topic>,
    /// Where a group begins that has no position yet.
    pub start: Start,
    /// How many deliveries may be in hand at a time.
    pub max_in_hand: usize,
    /// How many bytes of keys and bodies may be in hand at a time.
    pub max_bytes: usize,
}

impl Subscribe {
    /// The group `name` reads `topics`, from the beginning where it has no position yet.
    pub fn group(name: impl Into<Arc<str>>, topics: impl IntoIterator<Item = Topic>) -> Self {
        Self {
            group: Group::Named(name.into()),
            topics: topics.into_iter().collect(),
            start: Start::Earliest,
            max_in_hand: 4096,
            max_bytes: 16 << 20,
        }
    }

    /// Reads `topics` alone: every message comes to this subscriber, and nothing is remembered of
    /// it when it goes.
    pub fn alone(topics: impl IntoIterator<Item = Topic>, start: Start) -> Self {
        Self { group: Group::Alone, start, ..Self::group("", topics) }
    }
}

/// Who reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// A consumer group: its members share the partitions, and its positions are kept.
    Named(Arc<str>),
    /// One reader, whose acks are not kept.
    Alone,
}

/// Where reading begins when no position is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the earliest message that is kept.
    Earliest,
    /// With the first message published from now on.
    Latest,
}

/// A topic that is to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: Topic,
    /// How many partitions it is made with; `None` takes the broker's default.
    pub partitions: Option<u32>,
}

/// How far a group has come in one partition.
///
/// Of a broker without offsets only [`Progress::lag`] means something: `committed` is 0 and `end` is
/// the number that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset that the group goes on from; `None` where it never committed one.
    pub committed: Option<u64>,
    /// The offset of the earliest message that is kept.
    pub earliest: u64,
    /// The offset that the next message will get.
    pub end: u64,
}

impl Progress {
    /// How many messages the group has before it.
    pub fn lag(&self) -> u64 {
        self.end.saturating_sub(self.committed.unwrap_or(0).max(self.earliest))
    }
}
