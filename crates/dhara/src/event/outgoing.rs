//! What a handler may return: no event, one, many, or one of several types.

use super::message::Message;
use super::{EncodeError, Encoded, Encoder, Event, EventId, Origin};

/// Collects the events that a handler returns, as messages that are ready to be published.
#[derive(Debug)]
pub struct Outgoing<'a> {
    encoder: &'a mut Encoder,
    origin: Origin<'a>,
    messages: &'a mut Vec<Message>,
    ids: Option<&'a mut Vec<EventId>>,
}

impl<'a> Outgoing<'a> {
    /// Appends to `messages` what is pushed.
    pub fn new(
        encoder: &'a mut Encoder,
        origin: Origin<'a>,
        messages: &'a mut Vec<Message>,
    ) -> Self {
        Self { encoder, origin, messages, ids: None }
    }

    /// Appends the events' ids to `ids`, too.
    #[must_use]
    pub fn with_ids(mut self, ids: &'a mut Vec<EventId>) -> Self {
        self.ids = Some(ids);
        self
    }

    /// Encodes `event` and appends it.
    ///
    /// # Errors
    ///
    /// As [`Encoder::encode`]; what was pushed before stays.
    pub fn push<E: Event>(&mut self, event: &E) -> Result<(), EncodeError> {
        let encoded = self.encoder.encode(event, &self.origin)?;
        self.add(encoded);
        Ok(())
    }

    /// Encodes `event` under an id that was chosen before, and appends it.
    ///
    /// # Errors
    ///
    /// As [`Encoder::encode`]; what was pushed before stays.
    pub fn push_as<E: Event>(&mut self, event: &E, id: EventId) -> Result<(), EncodeError> {
        let encoded = self.encoder.encode_as(event, id, &self.origin)?;
        self.add(encoded);
        Ok(())
    }

    fn add(&mut self, encoded: Encoded) {
        self.messages.push(encoded.message);
        if let Some(ids) = &mut self.ids {
            ids.push(encoded.id);
        }
    }
}

/// An event that is published under an id of the caller's choice, so that what is written beside it
/// can name it. The id must be new: make it of [`World::uuid`](crate::world::World::uuid).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithId<E> {
    /// The event's id.
    pub id: EventId,
    /// The event.
    pub event: E,
}

impl<E: Event> IntoEvents for WithId<E> {
    fn into_events(self, out: &mut Outgoing<'_>) -> Result<(), EncodeError> {
        out.push_as(&self.event, self.id)
    }
}

/// What a handler may return: an event, `()` for none, an `Option`, a `Vec` or a tuple of events, or
/// an enum of events with `#[derive(Events)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event, nor several: derive it with `#[derive(Event)]`",
    label = "this cannot be published",
    note = "publishable are an event (`#[derive(Event, Serialize, Deserialize)]` on a struct), `()`, \
            `Option`, `Vec` and tuples of events, and an enum of events (`#[derive(Events)]`)"
)]
pub trait IntoEvents {
    /// Pushes each event into `out`, in the order in which they are to be published.
    ///
    /// # Errors
    ///
    /// As [`Outgoing::push`].
    fn into_events(self, out: &mut Outgoing<'_>) -> Result<(), EncodeError>;
}

impl<E: Event> IntoEvents for E {
    fn into_events(self, out: &mut Outgoing<'_>) -> Result<(), EncodeError> {
        out.push(&self)
    }
}

impl IntoEvents for () {
    #[inline]
    fn into_events(self, _out: &mut Outgoing<'_>) -> Result<(), EncodeError> {
        Ok(())
    }
}

impl IntoEvents for std::convert::Infallible {
    #[inline]
    fn into_events(self, _out: &mut Outgoing<'_>) -> Result<(), EncodeError> {
        match self {}
    }
}

impl<T: IntoEvents> IntoEvents for Option<T> {
    fn into_events(self, out: &mut Outgoing<'_>) -> Result<(), EncodeError> {
        self.map_or(Ok(()), |events| events.into_events(out))
    }
}

impl<T: IntoEvents> IntoEvents for Vec<T> {
    fn into_events(self, out: &mut Outgoing<'_>) -> Result<(), EncodeError> {
        self.into_iter().try_for_each(|events| events.into_events(out))
    }
}

macro_rules! tuple_of_events {
    ($($name:ident),+) => {
        impl<$($name: IntoEvents),+> IntoEvents for ($($name,)+) {
            #[expect(non_snake_case, reason = "the types' names serve as the values' names")]
            fn into_events(self, out: &mut Outgoing<'_>) -> Result<(), EncodeError> {
                let ($($name,)+) = self;
                $($name.into_events(out)?;)+
                Ok(())
            }
        }
    };
}

tuple_of_events!(A);
tuple_of_events!(A, B);
tuple_of_events!(A, B, C);
tuple_of_events!(A, B, C, D);
tuple_of_events!(A, B, C, D, E);
tuple_of_events!(A, B, C, D, E, F);
tuple_of_events!(A, B, C, D, E, F, G);
tuple_of_events!(A, B, C, D, E, F, G, H);
