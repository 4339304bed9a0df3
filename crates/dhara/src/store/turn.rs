//! A unit's turn: run, watched, and told how it ended.

use std::any::Any;
use std::future::{Future as _, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::{StoreError, Tx, Unit};
use crate::world::timeout;

/// How long a unit may wait for something before the log says so.
const PATIENCE: Duration = Duration::from_millis(100);

/// How a unit ended.
pub(super) type Outcome = Result<(), StoreError>;

/// Runs a unit to its end. It should never have to wait, as every other unit waits with it.
///
/// `busy` tells whether a statement of the transaction is on its way, for which it may wait.
pub(super) async fn run_watched(
    unit: &mut dyn Unit,
    tx: Tx,
    place: &str,
    busy: impl Fn() -> bool,
) -> Outcome {
    let name = unit.name();
    let running = AssertUnwindSafe(async { unit.run(&tx).await }).catch_unwind();
    let mut running = pin!(running);
    let outcome = match poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx))).await {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => match timeout(PATIENCE, running.as_mut()).await {
            Some(outcome) => outcome,
            None if busy() => running.await,
            None => {
                let unit = name.as_deref().unwrap_or("without a name");
                tracing::warn!(
                    store = place,
                    unit,
                    "a unit waits for something else than its transaction; all writes wait with it"
                );
                running.await
            }
        },
    };
    outcome.unwrap_or_else(|panic| {
        let what = format!("the unit panicked: {}", message_of(panic.as_ref()));
        Err(StoreError::Aborted { what })
    })
}

/// Tells a unit how it ended; a panic in there is its own.
pub(super) fn finish(unit: Box<dyn Unit>, outcome: Outcome) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| unit.finished(outcome))) {
        tracing::error!(panic = message_of(panic.as_ref()), "a unit panicked when it was finished");
    }
}

pub(super) fn refuse(unit: Box<dyn Unit>) {
    finish(unit, Err(StoreError::Closed));
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

/// Whether the error may be the doing of one unit, so that the others are better off without it.
pub(super) fn is_of_one_unit(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::Unavailable { .. } | StoreError::Failed { .. } | StoreError::Closed
    )
}
