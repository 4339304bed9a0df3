//! What can go wrong between an event and its bytes.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use super::EventId;
use super::message::Topic;

/// An event cannot be encoded, and was not published.
#[derive(Debug)]
#[non_exhaustive]
pub enum EncodeError {
    /// The event's own `Serialize` failed, or gave what JSON cannot say.
    Data {
        /// The event's type.
        event_type: &'static str,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The event is larger than a body may be.
    TooLarge {
        /// The event's type.
        event_type: &'static str,
        /// How many bytes its body has.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { event_type, source } => {
                write!(f, "event {event_type} cannot be written as JSON: {source}")
            }
            Self::TooLarge { event_type, size, limit } => write!(
                f,
                "event {event_type} has {size} bytes, which is over the limit of {limit}: publish \
                 where the data is to be found instead, or raise the limit for writers and readers"
            ),
        }
    }
}

impl Error for EncodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Data { source, .. } => Some(source.as_ref()),
            Self::TooLarge { .. } => None,
        }
    }
}

/// A body cannot be read as an event: which member is wrong, and why.
pub struct DecodeError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// Empty where the body as a whole is wrong.
    member: Cow<'static, str>,
    reason: Cow<'static, str>,
    event_id: Option<EventId>,
    place: Option<(Topic, u32, u64)>,
}

impl DecodeError {
    /// The body as a whole is wrong.
    pub(super) fn body(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::member("", reason)
    }

    pub(super) fn member(
        member: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (member, reason) = (member.into(), reason.into());
        Self(Box::new(Inner { member, reason, event_id: None, place: None }))
    }

    /// Names the event, unless it was named before.
    pub(super) fn with_id(mut self, id: impl FnOnce() -> Option<EventId>) -> Self {
        if self.0.event_id.is_none() {
            self.0.event_id = id();
        }
        self
    }

    /// Adds where the body was found.
    #[must_use]
    pub fn at(mut self, topic: &Topic, partition: u32, offset: u64) -> Self {
        self.0.place = Some((topic.clone(), partition, offset));
        self
    }

    /// The member that is wrong (`timestamp`, `data.items[1].quantity`); `None` where the body as a
    /// whole is.
    pub fn member_name(&self) -> Option<&str> {
        Some(self.0.member.as_ref()).filter(|member| !member.is_empty())
    }

    /// Why it cannot be read.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The event's id, where it could be read all the same.
    pub fn event_id(&self) -> Option<&EventId> {
        self.0.event_id.as_ref()
    }

    /// The topic, partition and offset, where they were added.
    pub fn place(&self) -> Option<(&Topic, u32, u64)> {
        self.0.place.as_ref().map(|(topic, partition, offset)| (topic, *partition, *offset))
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("event ")?;
        if let Some(id) = &self.0.event_id {
            write!(f, "{id} ")?;
        }
        if let Some((topic, partition, offset)) = &self.0.place {
            write!(f, "at {topic}/{partition} offset {offset} ")?;
        }
        match self.member_name() {
            Some(member) => write!(f, "cannot be read: member `{member}` {}", self.0.reason),
            None => write!(f, "cannot be read: the body {}", self.0.reason),
        }
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodeError({self})")
    }
}

impl Error for DecodeError {}
