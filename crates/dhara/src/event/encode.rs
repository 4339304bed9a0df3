//! Encodes events into messages.

use std::io::Write as _;
use std::mem;

use bytes::{Bytes, BytesMut};

use super::message::{Headers, Message, Topic};
use super::time::TimeText;
use super::write::Head;
use super::{CorrelationId, EncodeError, Event, EventId, Limits, cloud};
use crate::world::{Timestamp, World};

/// The messages of many events share one allocation of this size.
const CHUNK: usize = 64 << 10;
/// A larger body has an allocation of its own, so that at most a part of a chunk is left unused.
const LARGE: usize = CHUNK / 4;

/// Where an outgoing event comes from: filled in by the publisher, or from the delivery that is
/// being handled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// Who publishes: the service's name.
    pub source: &'a str,
    /// The correlation id; without one, the event's own id is it.
    pub correlation_id: Option<&'a CorrelationId>,
    /// The event whose handling publishes this one.
    pub causation_id: Option<&'a EventId>,
    /// The W3C trace context.
    pub traceparent: Option<&'a str>,
    /// What the event is about, where that is to be said.
    pub subject: Option<&'a str>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Dhara's own JSON.
    #[default]
    Native,
    /// CloudEvents 1.0, all of it in a JSON body.
    CloudEvents,
    /// CloudEvents 1.0, the attributes in headers and the data alone in the body.
    CloudEventsBinary,
}

/// An event that is ready to be published.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The id that it was given.
    pub id: EventId,
    /// The message; its key and body are parts of an allocation that many messages share.
    pub message: Message,
}

/// Encodes events into messages: each gets a new id and the time, and is written into its envelope.
///
/// The messages of many events share one allocation, which is freed when the last of them is
/// dropped.
#[derive(Debug)]
pub struct Encoder {
    world: World,
    max_bytes: usize,
    /// What is being written; kept for its capacity.
    buffer: Vec<u8>,
    chunk: BytesMut,
    time: TimeText,
    topics: Vec<Route>,
    formats: Vec<(String, Format)>,
}

/// What is known of a topic that was published to before.
#[derive(Debug)]
struct Route {
    name: &'static str,
    topic: Topic,
    format: Format,
}

impl Encoder {
    /// An encoder whose times and ids come from `world`.
    pub fn new(world: World) -> Self {
        Self {
            world,
            max_bytes: Limits::default().max_bytes,
            buffer: Vec::new(),
            chunk: BytesMut::new(),
            time: TimeText::new(),
            topics: Vec::new(),
            formats: Vec::new(),
        }
    }

    /// Refuses events whose body has more than `limit` bytes; the default is that of [`Limits`].
    #[must_use]
    pub fn max_bytes(mut self, limit: usize) -> Self {
        self.max_bytes = limit;
        self
    }

    /// Writes the events of `topic` in `format`.
    #[must_use]
    pub fn format(mut self, topic: impl Into<String>, format: Format) -> Self {
        self.formats.push((topic.into(), format));
        self.topics.clear();
        self
    }

    /// Gives `event` an id and the time, and writes it.
    ///
    /// # Errors
    ///
    /// An event that JSON cannot say, or one that is too large. Nothing of it is kept.
    pub fn encode<E: Event>(
        &mut self,
        event: &E,
        origin: &Origin<'_>,
    ) -> Result<Encoded, EncodeError> {
        let timestamp = self.world.now();
        let id = EventId::from(self.world.uuid_at(timestamp));
        self.encode_at(event, id, timestamp, origin)
    }

    /// As [`Encoder::encode`], with an id that was chosen before.
    ///
    /// # Errors
    ///
    /// As [`Encoder::encode`].
    pub fn encode_as<E: Event>(
        &mut self,
        event: &E,
        id: EventId,
        origin: &Origin<'_>,
    ) -> Result<Encoded, EncodeError> {
        let timestamp = self.world.now();
        self.encode_at(event, id, timestamp, origin)
    }

    fn encode_at<E: Event>(
        &mut self,
        event: &E,
        id: EventId,
        timestamp: Timestamp,
        origin: &Origin<'_>,
    ) -> Result<Encoded, EncodeError> {
        let (topic, format) = self.route(E::TOPIC);
        let own_correlation;
        let correlation_id = match origin.correlation_id {
            Some(id) => id,
            None => {
                own_correlation = CorrelationId::from(id.clone());
                &own_correlation
            }
        };
        let head = Head {
            id: &id,
            event_type: E::TYPE,
            timestamp,
            source: origin.source,
            version: E::VERSION,
            subject: origin.subject,
            correlation_id: Some(correlation_id),
            causation_id: origin.causation_id,
            traceparent: origin.traceparent,
            extra: &[],
        };
        let headers = self.write(event, &head, format)?;
        let (key, body) = self.take(event)?;
        Ok(Encoded { id, message: Message { topic, key, body, headers, timestamp } })
    }

    fn route(&mut self, name: &'static str) -> (Topic, Format) {
        if let Some(route) = self.topics.iter().find(|route| route.name == name) {
            return (route.topic.clone(), route.format);
        }
        let chosen = self.formats.iter().rev().find(|(topic, _)| topic == name);
        let format = chosen.map_or(Format::Native, |(_, format)| *format);
        let topic = Topic::shared(name);
        self.topics.push(Route { name, topic: topic.clone(), format });
        (topic, format)
    }

    /// Writes the body into the buffer.
    fn write<E: Event>(
        &mut self,
        event: &E,
        head: &Head<'_>,
        format: Format,
    ) -> Result<Headers, EncodeError> {
        let out = &mut self.buffer;
        out.clear();
        let mut headers = Headers::new();
        match format {
            Format::Native => head.write_native(&mut self.time, out),
            Format::CloudEvents => head.write_cloud(&mut self.time, out),
            Format::CloudEventsBinary => headers = cloud::binary_headers(head),
        }
        let enveloped = format != Format::CloudEventsBinary;
        if enveloped {
            out.extend_from_slice(b",\"data\":");
        }
        serde_json::to_writer(&mut *out, event).map_err(|error| data_error::<E>(error.into()))?;
        if enveloped {
            out.push(b'}');
        }
        match out.len() > self.max_bytes {
            true => Err(self.too_large::<E>()),
            false => Ok(headers),
        }
    }

    /// Moves what was written, with the text of the key, into the chunk.
    fn take<E: Event>(&mut self, event: &E) -> Result<(Option<Bytes>, Bytes), EncodeError> {
        let length = self.buffer.len();
        let keyed = match event.key() {
            None => false,
            Some(key) => {
                // Nothing but the key's own `Display` can fail here.
                write!(self.buffer, "{key}").map_err(|error| data_error::<E>(error.into()))?;
                true
            }
        };
        if self.buffer.len() > LARGE {
            let mut body = Bytes::from(mem::take(&mut self.buffer));
            let key = body.split_off(length);
            return Ok((keyed.then_some(key), body));
        }
        if self.chunk.capacity() < self.buffer.len() {
            self.chunk.reserve(CHUNK);
        }
        self.chunk.extend_from_slice(&self.buffer);
        let body = self.chunk.split_to(length).freeze();
        let key = keyed.then(|| self.chunk.split().freeze());
        Ok((key, body))
    }

    #[cold]
    fn too_large<E: Event>(&mut self) -> EncodeError {
        // The capacity of one large event is not kept.
        let size = mem::take(&mut self.buffer).len();
        EncodeError::TooLarge { event_type: E::TYPE, size, limit: self.max_bytes }
    }
}

#[cold]
fn data_error<E: Event>(source: Box<dyn std::error::Error + Send + Sync>) -> EncodeError {
    EncodeError::Data { event_type: E::TYPE, source }
}
