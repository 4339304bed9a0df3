//! What an object-safe asynchronous method gives back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that its owner boxed.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The answer of an object-safe asynchronous method: at once where it is known at once, without an
/// allocation, else later.
#[must_use = "futures do nothing unless awaited"]
pub struct Answer<'a, T>(State<'a, T>);

enum State<'a, T> {
    Now(Option<T>),
    Later(BoxFuture<'a, T>),
}

impl<'a, T> Answer<'a, T> {
    /// An answer that is known already.
    pub fn now(value: T) -> Self {
        Self(State::Now(Some(value)))
    }

    /// An answer that `future` will give.
    pub fn later(future: impl Future<Output = T> + Send + 'a) -> Self {
        Self(State::Later(Box::pin(future)))
    }

    /// What is known already, or the answer that is to be waited for.
    #[inline]
    pub(crate) fn known(self) -> Result<T, Self> {
        match self.0 {
            State::Now(Some(value)) => Ok(value),
            other => Err(Self(other)),
        }
    }
}

impl<T> Unpin for Answer<'_, T> {}

impl<T> Future for Answer<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            // An answer that was taken stays pending, as a finished future may.
            State::Now(value) => value.take().map_or(Poll::Pending, Poll::Ready),
            State::Later(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> std::fmt::Debug for Answer<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            State::Now(_) => "Answer::Now",
            State::Later(_) => "Answer::Later",
        })
    }
}
