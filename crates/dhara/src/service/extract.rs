//! What a handler may ask for beside its event.

use std::borrow::Cow;

use super::failure::HandlerError;
use crate::broker::{Delivery, TopicPartition};
use crate::event::{CorrelationId, Envelope, EventId};
use crate::store::Tx;
use crate::world::Timestamp;

/// What is known when a handler is called; extractors take their parts from it.
#[derive(Debug)]
pub struct Context<'a, S> {
    pub(crate) state: &'a S,
    pub(crate) delivery: &'a Delivery,
    pub(crate) envelope: &'a Envelope<'a>,
    pub(crate) tx: Option<&'a Tx>,
    pub(crate) service: &'a str,
    pub(crate) handler: &'a str,
    pub(crate) attempt: u32,
}

/// A type that a handler may have as an argument after its event.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler of a service with state `{S}`",
    label = "not an extractor here",
    note = "a handler's first argument is its event, by value; the others are `State<T>`, `Tx`, \
            `Meta`, or a type with `impl<S> dhara::FromContext<S> for {Self}`",
    note = "`State<T>` needs `Service::new(..).state(value)` before `.on(..)`, with a value of type \
            `T` or one that `impl dhara::FromState<S> for T` takes it from"
)]
pub trait FromContext<S>: Sized {
    /// Whether the handler must run inside the transaction.
    const IN_TX: bool = false;

    /// Takes the value; an error is a failure of the delivery, as if the handler had returned it.
    fn from_context(context: &Context<'_, S>) -> Result<Self, HandlerError>;
}

/// The service's state, or a part of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<T>(pub T);

/// A part of a service's state of type `S`.
#[diagnostic::on_unimplemented(
    message = "the service's state `{S}` has no `{Self}`",
    label = "no such state",
    note = "give it with `Service::new(..).state(value)` before `.on(..)`; for one part of a \
            larger state write `impl dhara::FromState<{S}> for {Self}`"
)]
pub trait FromState<S> {
    /// Takes the part.
    fn from_state(state: &S) -> Self;
}

impl<S: Clone> FromState<S> for S {
    fn from_state(state: &S) -> Self {
        state.clone()
    }
}

impl<S, T: FromState<S>> FromContext<S> for State<T> {
    fn from_context(context: &Context<'_, S>) -> Result<Self, HandlerError> {
        Ok(Self(T::from_state(context.state)))
    }
}

impl<S> FromContext<S> for Tx {
    const IN_TX: bool = true;

    fn from_context(context: &Context<'_, S>) -> Result<Self, HandlerError> {
        // The runtime calls a handler with `IN_TX` inside a transaction, and nowhere else.
        context.tx.cloned().ok_or_else(|| HandlerError::permanent("called without a transaction"))
    }
}

/// What is known of a delivery beside the event's data.
#[derive(Clone, Debug)]
pub struct Meta {
    /// The event's id.
    pub event_id: EventId,
    /// The event's type, as it was sent.
    pub event_type: String,
    /// Where it lies.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: u64,
    /// When what it tells of happened.
    pub timestamp: Timestamp,
    /// Which service published it.
    pub source: String,
    /// What it belongs to: the id of the event that began the whole.
    pub correlation_id: CorrelationId,
    /// The event whose handler published it; `None` when it began the whole.
    pub causation_id: Option<EventId>,
    /// 1 for the first attempt of this handler since the service started.
    pub attempt: u32,
    /// The service that handles it.
    pub service: String,
    /// The handler's name.
    pub handler: String,
}

impl Meta {
    /// What to hand to others as idempotency key: the same for each attempt at this delivery, and
    /// for no other.
    pub fn idempotency_key(&self) -> String {
        format!("{}/{}/{}", self.service, self.handler, self.event_id)
    }
}

/// The correlation that an event belongs to: an event that nothing caused begins its own.
#[inline]
pub(crate) fn correlation_of<'a>(envelope: &'a Envelope<'_>) -> Cow<'a, CorrelationId> {
    match &envelope.correlation_id {
        Some(id) => Cow::Borrowed(id),
        None => Cow::Owned(CorrelationId::from(envelope.id.clone())),
    }
}

impl<S> FromContext<S> for Meta {
    fn from_context(context: &Context<'_, S>) -> Result<Self, HandlerError> {
        let Context { delivery, envelope, .. } = context;
        Ok(Self {
            event_id: envelope.id.clone(),
            event_type: envelope.event_type.clone().into_owned(),
            partition: TopicPartition {
                topic: delivery.topic.clone(),
                partition: delivery.partition,
            },
            offset: delivery.offset,
            timestamp: envelope.timestamp,
            source: envelope.source.clone().into_owned(),
            correlation_id: correlation_of(envelope).into_owned(),
            causation_id: envelope.causation_id.clone(),
            attempt: context.attempt,
            service: context.service.to_owned(),
            handler: context.handler.to_owned(),
        })
    }
}
