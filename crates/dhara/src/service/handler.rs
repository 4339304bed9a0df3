//! Handlers: plain async functions over an event and what they need beside it.

use std::future::Future;

use super::extract::{Context, FromContext};
use super::failure::{Failed, Failure, HandlerError};
use super::retry::Retry;
use crate::event::{Event, IntoEvents, Outgoing};

/// A function that handles events of one type, with arguments `A`.
///
/// Implemented for every `async fn(event, ...) -> ...`. Its first argument is an [`Event`], its
/// others are extractors ([`super::State`], [`crate::Tx`], [`super::Meta`]), see [`Arguments`].
/// What it returns is published: nothing, one event, several, one of several types, or a `Result`
/// of any of these whose error is a [`Failure`], see [`Outcome`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "a handler is an `async fn` whose first argument is an event by value (#[derive(Event)]), \
            whose others are `State<T>`, `Tx` or `Meta`, and which returns (), an event, several, \
            or a `Result` of these with an error that implements `dhara::Failure`"
)]
pub trait Handler<A>: Clone + Send + Sync + 'static {
    /// What its future gives.
    type Output;
    /// Its future.
    type Future: Future<Output = Self::Output> + Send;

    /// Begins to handle the event that is the first of the arguments.
    fn call(&self, arguments: A) -> Self::Future;

    /// The name it is remembered by, and how it is retried.
    fn options(&self) -> Options {
        Options::of::<Self>()
    }
}

/// The arguments of a handler of a service with state `S`: an event, and what is taken from the
/// delivery beside it.
pub trait Arguments<S>: Sized {
    /// The first of them.
    type Event: Event;
    /// Whether the handler must run inside the transaction.
    const IN_TX: bool;

    /// Takes the others.
    fn take(event: Self::Event, context: &Context<'_, S>) -> Result<Self, HandlerError>;
}

/// What is set for one handler.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) name: Option<String>,
    pub(crate) retry: Retry,
}

impl Options {
    fn of<F>() -> Self {
        let path = std::any::type_name::<F>();
        let name = path.rsplit("::").next().unwrap_or(path);
        // A closure has no name of its own: its type ends in `{{closure}}`.
        let name = (!name.contains(['{', '<', '>'])).then(|| name.to_owned());
        Self { name, retry: Retry::default() }
    }
}

/// What a handler's future may give.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "this is neither an event, nor events, nor a result of them",
    note = "return (), an event (#[derive(Event)]), Option, Vec or a tuple of events, an enum with \
            #[derive(Events)], or a `Result` of these with an error that implements `dhara::Failure`"
)]
pub trait Outcome: Send {
    /// Puts the events into `out`, or tells the failure.
    #[doc(hidden)]
    fn settle(self, out: &mut Outgoing<'_>) -> Result<(), Settled>;
}

/// Why an outcome gave no events. Made by the framework alone.
#[doc(hidden)]
#[derive(Debug)]
pub struct Settled(pub(crate) Failed);

impl<T: IntoEvents + Send> Outcome for T {
    #[inline]
    fn settle(self, out: &mut Outgoing<'_>) -> Result<(), Settled> {
        self.into_events(out).map_err(|error| Settled(error.into()))
    }
}

impl<T: IntoEvents + Send, E: Failure> Outcome for Result<T, E> {
    #[inline]
    fn settle(self, out: &mut Outgoing<'_>) -> Result<(), Settled> {
        match self {
            Ok(events) => events.settle(out),
            Err(failure) => Err(Settled(Failed::of(&failure))),
        }
    }
}

/// Sets something for one handler: `.on(charge.retry(Retry::forever()))`.
pub trait HandlerExt: Clone + Send + Sync + 'static {
    /// The name by which the inbox remembers it, instead of the function's. A handler that gets
    /// another name has handled nothing yet.
    fn named(self, name: impl Into<String>) -> Configured<Self> {
        let mut configured = Configured::new(self);
        configured.options.name = Some(name.into());
        configured
    }

    /// How its transient failures are retried.
    fn retry(self, retry: Retry) -> Configured<Self> {
        let mut configured = Configured::new(self);
        configured.options.retry = retry;
        configured
    }
}

impl<F: Clone + Send + Sync + 'static> HandlerExt for F {}

/// A handler with options of its own.
#[derive(Clone, Debug)]
pub struct Configured<H> {
    handler: H,
    options: Options,
}

impl<H: 'static> Configured<H> {
    fn new(handler: H) -> Self {
        Self { handler, options: Options::of::<H>() }
    }

    /// The name by which the inbox remembers it, instead of the function's.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// How its transient failures are retried.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.options.retry = retry;
        self
    }
}

impl<A, H: Handler<A>> Handler<A> for Configured<H> {
    type Output = H::Output;
    type Future = H::Future;

    fn call(&self, arguments: A) -> H::Future {
        self.handler.call(arguments)
    }

    fn options(&self) -> Options {
        self.options.clone()
    }
}

macro_rules! handler_of {
    ($($argument:ident $value:ident),*) => {
        impl<F, Fut, E, $($argument),*> Handler<(E, $($argument,)*)> for F
        where
            F: Fn(E, $($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future + Send + 'static,
        {
            type Output = Fut::Output;
            type Future = Fut;

            fn call(&self, (event, $($value,)*): (E, $($argument,)*)) -> Fut {
                self(event, $($value),*)
            }
        }

        impl<S, E: Event, $($argument: FromContext<S>),*> Arguments<S> for (E, $($argument,)*) {
            type Event = E;
            const IN_TX: bool = false $(|| $argument::IN_TX)*;

            fn take(event: E, _context: &Context<'_, S>) -> Result<Self, HandlerError> {
                Ok((event, $($argument::from_context(_context)?,)*))
            }
        }
    };
}

handler_of!();
handler_of!(A1 a1);
handler_of!(A1 a1, A2 a2);
handler_of!(A1 a1, A2 a2, A3 a3);
handler_of!(A1 a1, A2 a2, A3 a3, A4 a4);
handler_of!(A1 a1, A2 a2, A3 a3, A4 a4, A5 a5);
handler_of!(A1 a1, A2 a2, A3 a3, A4 a4, A5 a5, A6 a6);
