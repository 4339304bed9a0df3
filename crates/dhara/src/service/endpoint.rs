//! A handler with its types forgotten.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Poller, Poll};

use futures_util::FutureExt;

use super::arrived::Share;
use super::extract::{Context, correlation_of};
use super::failure::Failed;
use super::handler::{Arguments, Handler, Outcome};
use super::item::{Item, Order};
use super::retry::Retry;
use crate::answer::BoxFuture;
use crate::broker::{Delivery, Message, Topic};
use crate::event::{Encoder, Envelope, Event, Origin, Outgoing};
use crate::store::Tx;
use crate::world::World;

/// What the runtime knows of a handler.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) service: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) event_type: &'static str,
    pub(crate) topic: Topic,
    pub(crate) in_tx: bool,
    pub(crate) retry: Retry,
    /// A call of it had to wait for something: what it gives is committed at once, not held back
    /// until a whole run is through.
    pub(crate) waits: AtomicBool,
}

/// A handler with its types forgotten.
pub(crate) trait Endpoint: Send + Sync {
    fn spec(&self) -> &Spec;

    /// Handles one delivery inside a transaction.
    fn call_in_tx<'a>(
        &'a self,
        number: usize,
        item: &'a Item,
        envelope: &'a Envelope<'a>,
        tx: &'a Tx,
        desk: &'a mut Desk,
    ) -> BoxFuture<'a, Result<(), Failed>>;

    /// Handles deliveries one after another; their futures share the one that is boxed here.
    fn call_run<'a>(&'a self, run: Run<'a>) -> BoxFuture<'a, ()>;
}

/// Deliveries of one event type, in order, and what becomes of each.
pub(crate) struct Run<'a> {
    pub(crate) number: usize,
    pub(crate) share: &'a Share,
    pub(crate) envelopes: &'a [Envelope<'a>],
    pub(crate) results: &'a mut Results,
    pub(crate) desk: &'a mut Desk,
}

/// What the handlers of a run made of its deliveries, which are named by their place in it. Every
/// handler has finished with every delivery but for what is said here: each entry begins with the
/// delivery's place and the handler's number.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// What a handler publishes for a delivery.
    pub(crate) messages: Vec<(usize, usize, Message)>,
    /// The handlers that failed.
    pub(crate) failed: Vec<(usize, usize, Failed)>,
    /// The handlers that did not come to a delivery, as an earlier one of its key had failed.
    pub(crate) skipped: Vec<(usize, usize)>,
}

impl Results {
    /// Every handler has finished, and publishes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.failed.is_empty() && self.skipped.is_empty()
    }
}

/// Where outgoing events are written, kept from call to call for its buffers.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) encoder: Encoder,
    pub(crate) messages: Vec<Message>,
}

impl Desk {
    pub(crate) fn new(world: &World) -> Self {
        Self { encoder: Encoder::new(world.clone()), messages: Vec::new() }
    }
}

/// A handler with its types.
pub(crate) struct Typed<S, H, A> {
    pub(crate) spec: Spec,
    pub(crate) state: S,
    pub(crate) handler: H,
    pub(crate) arguments: std::marker::PhantomData<fn() -> A>,
}

impl<S, H, A> Typed<S, H, A>
where
    S: Clone + Send + Sync + 'static,
    H: Handler<A, Output: Outcome>,
    A: Arguments<S> + 'static,
{
    /// The handler's future, which may panic.
    #[inline]
    fn watch<'a>(
        &'a self,
        future: Pin<&'a mut H::Future>,
    ) -> impl Future<Output = Result<H::Output, Panic>> + 'a {
        AssertUnwindSafe(Watched { future, waits: &self.spec.waits }).catch_unwind()
    }

    /// Puts what a handler gave onto the desk.
    #[inline(always)]
    fn end(
        &self,
        outcome: Result<H::Output, Panic>,
        envelope: &Envelope<'_>,
        desk: &mut Desk,
    ) -> Result<(), Failed> {
        let outcome = outcome.map_err(|payload| Failed::panicked(payload.as_ref()))?;
        let correlation = correlation_of(envelope);
        let origin = Origin {
            correlation_id: Some(&correlation),
            causation_id: Some(&envelope.id),
            traceparent: envelope.traceparent.as_deref(),
            source: &self.spec.service,
            subject: None,
        };
        let before = desk.messages.len();
        let mut outgoing = Outgoing::new(&mut desk.encoder, origin, &mut desk.messages);
        outcome.settle(&mut outgoing).map_err(|settled| {
            desk.messages.truncate(before);
            settled.0
        })
    }

    #[inline(always)]
    fn begin(
        &self,
        attempt: u32,
        delivery: &Delivery,
        envelope: &Envelope<'_>,
        tx: Option<&Tx>,
    ) -> Result<H::Future, Failed> {
        let event = envelope.data::<A::Event>().map_err(|error| {
            Failed::from(error.at(&delivery.topic, delivery.partition, delivery.offset))
        })?;
        let context = Context {
            state: &self.state,
            delivery,
            envelope,
            tx,
            service: &self.spec.service,
            handler: &self.spec.name,
            attempt,
        };
        let arguments = A::take(event, &context).map_err(|error| Failed::of(&error))?;
        Ok(self.handler.call(arguments))
    }
}

impl<S, H, A> Endpoint for Typed<S, H, A>
where
    S: Clone + Send + Sync + 'static,
    H: Handler<A, Output: Outcome>,
    A: Arguments<S> + 'static,
{
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call_in_tx<'a>(
        &'a self,
        number: usize,
        item: &'a Item,
        envelope: &'a Envelope<'a>,
        tx: &'a Tx,
        desk: &'a mut Desk,
    ) -> BoxFuture<'a, Result<(), Failed>> {
        Box::pin(async move {
            let future =
                self.begin(item.history.attempt(number), item.delivery(), envelope, Some(tx))?;
            let outcome = self.watch(pin!(future)).await;
            self.end(outcome, envelope, desk)
        })
    }

    fn call_run<'a>(&'a self, run: Run<'a>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Run { number, share, envelopes, results, desk } = run;
            let attempt = share.history.attempt(number);
            let mut failed: Vec<Order> = Vec::new();
            for (place, (delivery, envelope)) in share.deliveries().zip(envelopes).enumerate() {
                // What comes after a failure of its key waits behind it.
                if !failed.is_empty() && failed.contains(&Order::of(delivery)) {
                    results.skipped.push((place, number));
                    continue;
                }
                let future = pin!(match self.begin(attempt, delivery, envelope, None) {
                    Ok(future) => future,
                    Err(failure) => {
                        results.failed.push((place, number, failure));
                        failed.push(Order::of(delivery));
                        continue;
                    }
                });
                let outcome = self.watch(future).await;
                match self.end(outcome, envelope, desk) {
                    Ok(()) if desk.messages.is_empty() => {}
                    Ok(()) => {
                        let messages = desk.messages.drain(..);
                        results.messages.extend(messages.map(|one| (place, number, one)));
                    }
                    Err(failure) => {
                        results.failed.push((place, number, failure));
                        failed.push(Order::of(delivery));
                    }
                }
            }
        })
    }
}

/// What a handler panicked with.
type Panic = Box<dyn Any + Send>;

/// A future that tells whether it had to wait.
struct Watched<'a, F> {
    future: Pin<&'a mut F>,
    waits: &'a AtomicBool,
}

impl<F: Future> Future for Watched<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<F::Output> {
        let polled = self.future.as_mut().poll(poller);
        if polled.is_pending() {
            self.waits.store(true, Ordering::Relaxed);
        }
        polled
    }
}

/// The specification of a handler under the name it has or was given.
pub(crate) fn spec_of<S, H: Handler<A>, A: Arguments<S>>(service: &Arc<str>, handler: &H) -> Spec {
    let options = handler.options();
    let name = options.name.unwrap_or_else(|| A::Event::TYPE.to_owned());
    Spec {
        service: service.clone(),
        name: name.into(),
        event_type: A::Event::TYPE,
        topic: Topic::shared(A::Event::TOPIC),
        in_tx: A::IN_TX,
        retry: options.retry,
        waits: AtomicBool::new(false),
    }
}
