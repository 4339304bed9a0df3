//! The envelope: what every event says of itself, around its data.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::message::Headers;
use super::scan::reason_of;
use super::{CorrelationId, DecodeError, Event, EventId, parse, salvage};
use crate::world::Timestamp;

/// An event's envelope, as it was read from a body. It borrows from that body.
///
/// `data` is not looked into before [`Envelope::data`] asks for it by its type: where the body ends
/// with the data (as bodies do that Dhara wrote), what is wrong inside the data is found only then.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// The event's id.
    pub id: EventId,
    /// The event's name: `OrderCreated`.
    pub event_type: Cow<'a, str>,
    /// When it happened; the epoch where a CloudEvent does not say.
    pub timestamp: Timestamp,
    /// Who published it.
    pub source: Cow<'a, str>,
    /// The version of its meaning; 1 where none is given.
    pub version: u32,
    /// What it is about, where it says so.
    pub subject: Option<Cow<'a, str>>,
    /// What everything shares that one first event has caused.
    pub correlation_id: Option<CorrelationId>,
    /// The event whose handling published this one.
    pub causation_id: Option<EventId>,
    /// The W3C trace context.
    pub traceparent: Option<Cow<'a, str>>,
    /// The members that mean nothing to Dhara, in their order.
    pub extra: Vec<(Cow<'a, str>, Cow<'a, RawValue>)>,
    /// The text of the data.
    pub(super) data: Option<&'a str>,
}

/// How much of a body is taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes a body may have.
    pub max_bytes: usize,
    /// How many objects and arrays may lie inside each other, the envelope included.
    pub max_depth: usize,
}

impl Default for Limits {
    /// 16 MiB, 128 levels.
    fn default() -> Self {
        Self { max_bytes: 16 << 20, max_depth: 128 }
    }
}

impl<'a> Envelope<'a> {
    /// Reads a body: Dhara's own JSON or a structured CloudEvent 1.0, whichever it is.
    ///
    /// # Errors
    ///
    /// What is wrong with the body, with the event's id where it can be found all the same.
    pub fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        Self::parse_within(body, &Limits::default())
    }

    /// Reads a body as [`Envelope::parse`] does, within limits of one's own.
    ///
    /// # Errors
    ///
    /// As [`Envelope::parse`].
    #[inline]
    pub fn parse_within(body: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        parse::body(body, limits).map_err(|error| error.with_id(|| salvage::event_id(body)))
    }

    /// Reads a message: as [`Envelope::parse`], or as a binary CloudEvent 1.0 where the headers are
    /// those of one.
    ///
    /// # Errors
    ///
    /// As [`Envelope::parse`].
    #[inline]
    pub fn parse_message(
        headers: &'a Headers,
        body: &'a [u8],
        limits: &Limits,
    ) -> Result<Self, DecodeError> {
        if super::cloud::is_binary(headers) {
            return super::cloud::parse_binary(headers, body, limits);
        }
        Self::parse_within(body, limits)
    }

    /// The data as the type `E`. That it is of this type is for the caller to know, by
    /// [`Envelope::event_type`].
    ///
    /// # Errors
    ///
    /// Data that is missing, is no JSON, or is none of `E`'s, with the member that is wrong.
    pub fn data<E: Event>(&self) -> Result<E, DecodeError> {
        let Some(data) = self.data else { return self.missing_data() };
        serde_json::from_str(data).map_err(|error| self.bad_data(data, &error))
    }

    /// An event without fields may come without data.
    fn missing_data<E: Event>(&self) -> Result<E, DecodeError> {
        serde_json::from_str("null").map_err(|_| {
            let reason = match self.extra.iter().any(|(name, _)| name == "data_base64") {
                true => "is missing; `data_base64` is there, but an event's data is JSON in `data`",
                false => "is missing",
            };
            DecodeError::member("data", reason).with_id(|| Some(self.id.clone()))
        })
    }

    #[cold]
    fn bad_data(&self, data: &str, error: &serde_json::Error) -> DecodeError {
        let member = salvage::path_at(data, error.line(), error.column());
        DecodeError::member(member, reason_of(error)).with_id(|| Some(self.id.clone()))
    }

    /// The data as raw JSON; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Data that is no JSON.
    pub fn raw_data(&self) -> Result<Option<&'a RawValue>, DecodeError> {
        let Some(data) = self.data else { return Ok(None) };
        serde_json::from_str(data).map(Some).map_err(|error| self.bad_data(data, &error))
    }
}
