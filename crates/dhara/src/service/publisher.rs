//! Publishing straight to a broker.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::answer::Answer;
use crate::broker::{Batch, Broker, BrokerError, Positions};
use crate::event::{EncodeError, Encoded, Encoder, Event, EventId, Origin};
use crate::world::World;

/// Publishes events straight to a broker, without a store: what is published is there when the
/// broker has acked it, and not otherwise.
///
/// A service whose events must agree with its data publishes through its [`super::Writer`] instead.
pub struct Publisher {
    broker: Arc<dyn Broker>,
    source: Arc<str>,
    encoder: Mutex<Encoder>,
}

/// A publish that has come as far as it can without waiting.
enum Begun<'a> {
    Ended(Result<Published, PublishError>),
    Waits(EventId, Answer<'a, Result<Positions, BrokerError>>),
}

/// An event that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub event_id: EventId,
    /// Where it lies, where the broker tells.
    pub positions: Positions,
}

/// Why an event was not published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// It could not be encoded.
    Encode(EncodeError),
    /// The broker did not take it.
    Broker(BrokerError),
}

impl Publisher {
    /// Publishes in the name of `source`.
    pub fn new(world: &World, broker: &Arc<dyn Broker>, source: impl Into<Arc<str>>) -> Self {
        Self {
            broker: broker.clone(),
            source: source.into(),
            encoder: Mutex::new(Encoder::new(world.clone())),
        }
    }

    /// Publishes `event`, which nothing caused: it begins a correlation of its own.
    ///
    /// # Errors
    ///
    /// When the event cannot be encoded, or the broker does not take it.
    pub async fn publish<E: Event>(&self, event: &E) -> Result<Published, PublishError> {
        match self.begin(event) {
            Begun::Ended(result) => result,
            Begun::Waits(event_id, answer) => match answer.await {
                Ok(positions) => Ok(Published { event_id, positions }),
                Err(error) => Err(PublishError::Broker(error)),
            },
        }
    }

    /// All that needs no waiting. It is no part of the future, which would keep a place for each step.
    // As a call, it would hand what it gives on by a copy.
    #[inline(always)]
    fn begin<E: Event>(&self, event: &E) -> Begun<'_> {
        let origin = Origin { source: &self.source, ..Origin::default() };
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let encoded = encoder.encode(event, &origin);
        drop(encoder);
        let (event_id, batch) = match encoded {
            Ok(Encoded { id, message }) => (id, Batch::One(message)),
            Err(error) => return Begun::Ended(Err(PublishError::Encode(error))),
        };
        match self.broker.publish(batch).known() {
            Ok(Ok(positions)) => Begun::Ended(Ok(Published { event_id, positions })),
            Ok(Err(error)) => Begun::Ended(Err(PublishError::Broker(error))),
            Err(answer) => Begun::Waits(event_id, answer),
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("source", &self.source).finish_non_exhaustive()
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => fmt::Display::fmt(error, f),
            Self::Broker(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Encode(error) => Some(error),
            Self::Broker(error) => Some(error),
        }
    }
}
