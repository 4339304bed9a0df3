//! Tasks and asynchronous time, over tokio.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
pub use tokio::time::Instant;

use crate::World;

impl World {
    /// Runs `future` as a task of its own.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Task(tokio::spawn(future))
    }

    /// Runs `work`, which may block, beside the tasks.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn_blocking<T, F>(&self, work: F) -> Task<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Task(tokio::task::spawn_blocking(work))
    }

    /// The moment now on the monotonic clock that [`World::sleep`] follows, paused time included.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Waits until `moment`.
    pub async fn sleep_until(&self, moment: Instant) {
        tokio::time::sleep_until(moment).await;
    }

    /// Waits for `duration`.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Waits for `future` at most `limit`; `None` when the time ran out first.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

/// A running task. Dropping the handle lets the task run on.
#[derive(Debug)]
pub struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    /// Stops the task at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// A handle that aborts the task, to be kept elsewhere.
    pub fn abort_handle(&self) -> AbortHandle {
        self.0.abort_handle()
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|error| match error.try_into_panic() {
            Ok(payload) => TaskError::Panicked(message_of(payload.as_ref())),
            Err(_) => TaskError::Aborted,
        })
    }
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Why a task gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskError {
    /// It was aborted, or its runtime ended.
    Aborted,
    /// It panicked, with this message.
    Panicked(String),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => write!(f, "the task was aborted"),
            Self::Panicked(message) => write!(f, "the task panicked: {message}"),
        }
    }
}

impl std::error::Error for TaskError {}
