//! The outbox relay: publishes what was committed, in the order of the commits.

use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use crate::answer::BoxFuture;
use crate::broker::Message;
use crate::store::{OutboxRow, ServiceStore, StoreError, Tx, Unit};
use crate::world::Task;

/// How many rows one publish takes at most.
const ROWS: usize = 1024;

/// Published rows are removed together with what else is committed; when nothing is, after this.
const REMOVAL_WAIT: Duration = Duration::from_millis(50);

/// Publishes what the outbox holds until the service stops.
///
/// It reads what is still there, from the beginning: a row that was published but not yet removed
/// when the process died is published again, under the same event id, by which every inbox knows it.
pub(crate) async fn relay(core: Arc<Core>, store: Arc<dyn ServiceStore>) {
    let mut last = 0;
    let mut remover = Remover { core: core.clone(), store: store.clone(), task: None };
    let mut published: Vec<u64> = Vec::new();
    loop {
        let rows = match store.outbox_after(last, ROWS).await {
            Ok(rows) => rows,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(service = %core.name, %error, "the outbox cannot be read");
                core.note(&error.to_string());
                if core.pause(Duration::from_millis(200)).await {
                    return;
                }
                continue;
            }
        };
        let Some(newest) = rows.last() else {
            remover.remove(&mut published);
            tokio::select! {
                () = store.outbox_changed() => continue,
                () = core.stopped() => return,
            }
        };
        last = newest.sequence;
        let sequences: Vec<u64> = rows.iter().map(|row| row.sequence).collect();
        if !core.publish(rows.into_iter().map(message_of).collect()).await {
            return;
        }
        published.extend(sequences);
        if published.len() >= ROWS {
            remover.remove(&mut published);
        }
    }
}

/// Removes published rows, a little later: their removal is not worth a commit of its own.
struct Remover {
    core: Arc<Core>,
    store: Arc<dyn ServiceStore>,
    task: Option<Task<()>>,
}

impl Remover {
    fn remove(&mut self, published: &mut Vec<u64>) {
        if published.is_empty() || self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let removal = Removal { core: self.core.clone(), sequences: std::mem::take(published) };
        let (core, store) = (self.core.clone(), self.store.clone());
        self.task = Some(self.core.world.spawn(async move {
            // A service that stops still removes what it has published.
            core.pause(REMOVAL_WAIT).await;
            store.submit(Box::new(removal));
        }));
    }
}

struct Removal {
    core: Arc<Core>,
    sequences: Vec<u64>,
}

impl Unit for Removal {
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { tx.backend().outbox_remove(&self.sequences).await })
    }

    fn finished(self: Box<Self>, outcome: Result<(), StoreError>) {
        if let Err(error) = outcome {
            // They are published again after the next start, and every inbox knows them.
            tracing::warn!(service = %self.core.name, %error, rows = self.sequences.len(),
                "published rows were not removed from the outbox");
        }
    }
}

fn message_of(row: OutboxRow) -> Message {
    let OutboxRow { topic, key, body, headers, timestamp, .. } = row;
    Message { topic, key, body, headers, timestamp }
}
