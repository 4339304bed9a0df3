//! Publishing straight to a broker.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::broker::{Batch, Broker, BrokerError, Positions};
use crate::event::{EncodeError, Encoder, Event, EventId, Origin};
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
        let origin = Origin { source: &self.source, ..Origin::default() };
        let encoded = {
            let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
            encoder.encode(event, &origin).map_err(PublishError::Encode)?
        };
        let answer = self.broker.publish(Batch::One(encoded.message));
        let positions = answer.await.map_err(PublishError::Broker)?;
        Ok(Published { event_id: encoded.id, positions })
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
