//! The outbox relay: publishes what was committed, in the order of the commits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::core::Core;
use crate::answer::BoxFuture;
use crate::broker::Message;
use crate::store::{OutboxRow, ServiceStore, StoreError, Tx, Unit};

/// How many rows one publish takes at most.
const ROWS: usize = 1024;

/// Published rows are removed together with what else is committed; when nothing is, after this.
const REMOVAL_WAIT: Duration = Duration::from_millis(50);

/// After a removal that failed, the next is tried after this.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Publishes what the outbox holds until the service stops.
///
/// It reads what is still there, from the beginning: a row that was published but not yet removed
/// when the process died is published again, under the same event id, by which every inbox knows it.
pub(crate) async fn relay(core: Arc<Core>, store: Arc<dyn ServiceStore>) {
    let mut last = 0;
    let mut published = Published::new(&core, store.as_ref());
    while !core.is_stopping() {
        match store.outbox_after(last, ROWS).await {
            Ok(rows) if rows.is_empty() => published.wait_for_more().await,
            Ok(rows) => {
                last = rows.last().map_or(last, |row| row.sequence);
                let sequences: Vec<u64> = rows.iter().map(|row| row.sequence).collect();
                if !core.publish(rows.into_iter().map(message_of).collect()).await {
                    break;
                }
                published.sequences.extend(sequences);
                if published.sequences.len() >= ROWS {
                    published.remove();
                }
            }
            Err(StoreError::Closed) => break,
            Err(error) => {
                tracing::warn!(service = %core.name, %error, "the outbox cannot be read");
                core.note(&error.to_string());
                core.pause(Duration::from_millis(200)).await;
            }
        }
    }
    published.remove();
}

/// Rows that were published and are still in the outbox.
struct Published<'a> {
    core: &'a Arc<Core>,
    store: &'a dyn ServiceStore,
    sequences: Vec<u64>,
    kept: Arc<Kept>,
}

/// Rows that a removal did not remove, to be removed by a later one.
#[derive(Default)]
struct Kept {
    sequences: Mutex<Vec<u64>>,
    changed: Notify,
}

impl<'a> Published<'a> {
    fn new(core: &'a Arc<Core>, store: &'a dyn ServiceStore) -> Self {
        Self { core, store, sequences: Vec::new(), kept: Arc::default() }
    }

    /// Waits until there is more to publish; what was published is removed in the meantime.
    async fn wait_for_more(&mut self) {
        if !self.sequences.is_empty() {
            tokio::select! {
                () = self.store.outbox_changed() => return,
                _ = self.core.pause(REMOVAL_WAIT) => self.remove(),
            }
        }
        tokio::select! {
            () = self.store.outbox_changed() => (),
            () = self.kept.changed.notified() => self.take_kept().await,
            () = self.core.stopped() => (),
        }
    }

    /// Takes back what could not be removed, after a while: a full disk is not empty at once.
    async fn take_kept(&mut self) {
        self.core.pause(RETRY_WAIT).await;
        let mut kept = self.kept.sequences.lock().unwrap_or_else(PoisonError::into_inner);
        self.sequences.append(&mut kept);
    }

    fn remove(&mut self) {
        if !self.sequences.is_empty() {
            let sequences = std::mem::take(&mut self.sequences);
            let (core, kept) = (self.core.clone(), self.kept.clone());
            self.store.submit(Box::new(Removal { core, sequences, kept }));
        }
    }
}

struct Removal {
    core: Arc<Core>,
    sequences: Vec<u64>,
    kept: Arc<Kept>,
}

impl Unit for Removal {
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { tx.backend().outbox_remove(&self.sequences).await })
    }

    fn finished(self: Box<Self>, outcome: Result<(), StoreError>) {
        if let Err(error) = outcome {
            // A process that ends before they are removed publishes them again, and every inbox
            // knows them.
            tracing::warn!(service = %self.core.name, %error, rows = self.sequences.len(),
                "published rows were not removed from the outbox");
            let mut kept = self.kept.sequences.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(self.sequences);
            drop(kept);
            self.kept.changed.notify_one();
        }
    }
}

fn message_of(row: OutboxRow) -> Message {
    let OutboxRow { topic, key, body, headers, timestamp, .. } = row;
    Message { topic, key, body, headers, timestamp }
}
