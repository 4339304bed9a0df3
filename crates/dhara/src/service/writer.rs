//! Transactions from outside a handler.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::endpoint::Desk;
use crate::answer::BoxFuture;
use crate::event::{EncodeError, EventId, IntoEvents, Origin, Outgoing};
use crate::store::{OutboxRow, ServiceStore, StoreError, Tx, Unit};
use crate::world::World;

/// Writes to a service's store from outside its handlers, an HTTP endpoint say: the writes and the
/// events that they bring about are committed together, in one group commit with whatever else
/// waits.
#[derive(Clone, Debug)]
pub struct Writer {
    world: World,
    service: Arc<str>,
    store: Arc<dyn ServiceStore>,
}

/// What a write gave, now that it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written<T> {
    /// What the work returned.
    pub value: T,
    /// The ids of the events that it published, in order.
    pub event_ids: Vec<EventId>,
}

/// Why a write did not happen. Nothing of it is there.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError<E> {
    /// The work itself said no.
    Refused(E),
    /// An event could not be encoded.
    Encode(EncodeError),
    /// The store could not commit.
    Store(StoreError),
}

impl Writer {
    /// A writer to `store` in the name of `service`.
    pub fn new(world: &World, service: impl Into<Arc<str>>, store: Arc<dyn ServiceStore>) -> Self {
        Self { world: world.clone(), service: service.into(), store }
    }

    /// Runs `work` in a transaction; what it returns beside its value is published.
    ///
    /// `work` must not wait for anything but its [`Tx`], as other units wait for it. It may be
    /// called again, after everything it wrote was rolled back.
    ///
    /// # Errors
    ///
    /// [`WriteError::Refused`] with the work's own error; the others when it could not be committed.
    pub async fn write<W, F, T, V, E>(&self, work: W) -> Result<Written<T>, WriteError<E>>
    where
        W: FnMut(Tx) -> F + Send + 'static,
        F: Future<Output = Result<(T, V), E>> + Send + 'static,
        T: Send + 'static,
        V: IntoEvents + Send + 'static,
        E: Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.store.submit(Box::new(WriteUnit {
            world: self.world.clone(),
            service: self.service.clone(),
            work,
            result: None,
            answer,
        }));
        // A store that was dropped with the unit in its queue has committed nothing of it.
        answered.await.unwrap_or(Err(WriteError::Store(StoreError::Closed)))
    }
}

type WriteResult<T, E> = Result<Written<T>, WriteError<E>>;

struct WriteUnit<W, T, E> {
    world: World,
    service: Arc<str>,
    work: W,
    result: Option<WriteResult<T, E>>,
    answer: oneshot::Sender<WriteResult<T, E>>,
}

impl<W, F, T, V, E> WriteUnit<W, T, E>
where
    W: FnMut(Tx) -> F + Send,
    F: Future<Output = Result<(T, V), E>> + Send + 'static,
    T: Send,
    V: IntoEvents + Send + 'static,
    E: Send,
{
    async fn write(&mut self, tx: &Tx) -> Result<(), StoreError> {
        self.result = None;
        let (value, events) = match (self.work)(tx.clone()).await {
            Ok(done) => done,
            Err(refusal) => return Err(self.abort(WriteError::Refused(refusal))),
        };
        let mut desk = Desk::new(&self.world);
        let origin = Origin { source: &self.service, ..Origin::default() };
        let mut event_ids = Vec::new();
        let mut outgoing =
            Outgoing::new(&mut desk.encoder, origin, &mut desk.messages).with_ids(&mut event_ids);
        if let Err(error) = events.into_events(&mut outgoing) {
            return Err(self.abort(WriteError::Encode(error)));
        }
        let row = |message| {
            let crate::broker::Message { topic, key, body, headers, timestamp } = message;
            OutboxRow { sequence: 0, topic, key, body, headers, timestamp }
        };
        if !desk.messages.is_empty() {
            tx.backend().outbox_add(desk.messages.into_iter().map(row).collect()).await?;
        }
        self.result = Some(Ok(Written { value, event_ids }));
        Ok(())
    }

    fn abort(&mut self, error: WriteError<E>) -> StoreError {
        self.result = Some(Err(error));
        StoreError::Aborted { what: "the work refused".to_owned() }
    }
}

impl<W, F, T, V, E> Unit for WriteUnit<W, T, E>
where
    W: FnMut(Tx) -> F + Send,
    F: Future<Output = Result<(T, V), E>> + Send + 'static,
    T: Send,
    V: IntoEvents + Send + 'static,
    E: Send,
{
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.write(tx))
    }

    fn finished(self: Box<Self>, outcome: Result<(), StoreError>) {
        let result = match (outcome, self.result) {
            (Ok(()), Some(result)) | (Err(StoreError::Aborted { .. }), Some(result @ Err(_))) => {
                result
            }
            (Err(error), _) => Err(WriteError::Store(error)),
            (Ok(()), None) => Err(WriteError::Store(StoreError::Closed)),
        };
        // Whoever asked may have gone; what was written stays.
        let _ = self.answer.send(result);
    }
}

impl<E: fmt::Display> fmt::Display for WriteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => fmt::Display::fmt(refusal, f),
            Self::Encode(error) => fmt::Display::fmt(error, f),
            Self::Store(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for WriteError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Encode(error) => Some(error),
            Self::Store(error) => Some(error),
        }
    }
}
