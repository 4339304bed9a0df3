//! What a broker can do, as data.

/// What a broker can do. A service's guarantees are checked against it at start, and the
/// documentation's table is generated from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// An acked publish survives a power cut.
    pub durable: bool,
    /// A message is delivered until it is acked; without it, at most once.
    pub redelivers: bool,
    /// A group can go back to what it has read, and a new group begins with the earliest message.
    pub replay: bool,
    /// Messages of one key are delivered in order.
    pub ordered_by_key: bool,
    /// Deliveries can be given back with a delay that the broker keeps.
    pub delay: bool,
    /// New messages and a group's positions can be committed together.
    pub commits_together: bool,
    /// Reached by more than one process.
    pub shared: bool,
}

impl Capabilities {
    /// Nothing at all: what a back end starts from when it states what it can do.
    pub const NONE: Self = Self {
        durable: false,
        redelivers: false,
        replay: false,
        ordered_by_key: false,
        delay: false,
        commits_together: false,
        shared: false,
    };
}
