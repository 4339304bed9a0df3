//! A store that passes everything on to another, but for one bug.

use std::sync::Arc;

use dhara::store::{
    DeadLetter, InboxRow, OutboxRow, Param, PositionRow, Row, ServiceStore, Store,
    StoreCapabilities, StoreError, Tx, TxBackend, Unit,
};
use dhara::{Answer, BoxFuture};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    DropsInboxRows,
    AddsInboxRowsTwice,
    KeepsWhatFailingUnitsWrote,
    ReportsSuccessOfFailingUnits,
    ReversesTheOutbox,
    ForgetsToRemovePublished,
    IgnoresRollbackToSavepoint,
    LosesDeadLetterKeys,
}

#[derive(Debug)]
pub(crate) struct Buggy {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bug: Bug,
}

impl Store for Buggy {
    fn capabilities(&self) -> StoreCapabilities {
        self.store.capabilities()
    }

    fn open<'a>(
        &'a self,
        service: &'a str,
    ) -> Answer<'a, Result<Arc<dyn ServiceStore>, StoreError>> {
        Answer::later(async move {
            let place = self.store.open(service).await?;
            Ok(Arc::new(Place { place, bug: self.bug }) as Arc<dyn ServiceStore>)
        })
    }
}

#[derive(Debug)]
struct Place {
    place: Arc<dyn ServiceStore>,
    bug: Bug,
}

impl ServiceStore for Place {
    fn submit(&self, unit: Box<dyn Unit>) {
        self.place.submit(Box::new(Wrapped { unit, bug: self.bug, failed: None }));
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<Vec<Row>, StoreError>> {
        self.place.query(sql, params)
    }

    fn outbox_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Result<Vec<OutboxRow>, StoreError>> {
        Answer::later(async move {
            let mut rows = self.place.outbox_after(after, limit).await?;
            if self.bug == Bug::ReversesTheOutbox {
                let bodies: Vec<_> = rows.iter().rev().map(|row| row.body.clone()).collect();
                rows.iter_mut().zip(bodies).for_each(|(row, body)| row.body = body);
            }
            Ok(rows)
        })
    }

    fn outbox_changed(&self) -> Answer<'_, ()> {
        self.place.outbox_changed()
    }

    fn positions(&self) -> Answer<'_, Result<Vec<PositionRow>, StoreError>> {
        self.place.positions()
    }

    fn dead_letters_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Answer<'_, Result<Vec<(u64, DeadLetter)>, StoreError>> {
        self.place.dead_letters_after(after, limit)
    }

    fn close(&self) -> Answer<'_, ()> {
        self.place.close()
    }
}

struct Wrapped {
    unit: Box<dyn Unit>,
    bug: Bug,
    failed: Option<StoreError>,
}

impl Unit for Wrapped {
    fn run<'a>(&'a mut self, tx: &'a Tx) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let tx = Tx::new(Arc::new(Backend { tx: tx.clone(), bug: self.bug }));
            match self.unit.run(&tx).await {
                Err(error) if self.bug == Bug::KeepsWhatFailingUnitsWrote => {
                    self.failed = Some(error);
                    Ok(())
                }
                outcome => outcome,
            }
        })
    }

    fn finished(self: Box<Self>, outcome: Result<(), StoreError>) {
        let outcome = match self.failed {
            Some(error) => Err(error),
            None if self.bug == Bug::ReportsSuccessOfFailingUnits => Ok(()),
            None => outcome,
        };
        self.unit.finished(outcome);
    }
}

struct Backend {
    tx: Tx,
    bug: Bug,
}

impl TxBackend for Backend {
    fn execute<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<u64, StoreError>> {
        self.tx.backend().execute(sql, params)
    }

    fn query<'a>(
        &'a self,
        sql: &'a str,
        params: &'a [Param<'a>],
    ) -> Answer<'a, Result<Vec<Row>, StoreError>> {
        self.tx.backend().query(sql, params)
    }

    fn savepoint(&self) -> Answer<'_, Result<(), StoreError>> {
        self.tx.backend().savepoint()
    }

    fn release(&self) -> Answer<'_, Result<(), StoreError>> {
        self.tx.backend().release()
    }

    fn rollback(&self) -> Answer<'_, Result<(), StoreError>> {
        match self.bug {
            Bug::IgnoresRollbackToSavepoint => self.tx.backend().release(),
            _ => self.tx.backend().rollback(),
        }
    }

    fn inbox_add(&self, row: InboxRow<'_>) -> Answer<'_, Result<bool, StoreError>> {
        if self.bug == Bug::DropsInboxRows {
            return self.inbox_has(row).map_answer(|has| has.map(|has| !has));
        }
        let added = self.tx.backend().inbox_add(row);
        match self.bug {
            Bug::AddsInboxRowsTwice => added.map_answer(|added| added.map(|_| true)),
            _ => added,
        }
    }

    fn inbox_has(&self, row: InboxRow<'_>) -> Answer<'_, Result<bool, StoreError>> {
        self.tx.backend().inbox_has(row)
    }

    fn outbox_add(&self, rows: Vec<OutboxRow>) -> Answer<'_, Result<(), StoreError>> {
        self.tx.backend().outbox_add(rows)
    }

    fn outbox_remove(&self, sequences: &[u64]) -> Answer<'_, Result<(), StoreError>> {
        match self.bug {
            Bug::ForgetsToRemovePublished => Answer::now(Ok(())),
            _ => self.tx.backend().outbox_remove(sequences),
        }
    }

    fn set_positions(&self, rows: &[PositionRow]) -> Answer<'_, Result<(), StoreError>> {
        self.tx.backend().set_positions(rows)
    }

    fn dead_letter(&self, letter: &DeadLetter) -> Answer<'_, Result<(), StoreError>> {
        if self.bug == Bug::LosesDeadLetterKeys {
            let letter = DeadLetter { key: None, ..letter.clone() };
            return Answer::later(async move { self.tx.backend().dead_letter(&letter).await });
        }
        self.tx.backend().dead_letter(letter)
    }
}

trait MapAnswer<'a, T> {
    fn map_answer(self, change: impl FnOnce(T) -> T + Send + 'a) -> Answer<'a, T>;
}

impl<'a, T: Send + 'a> MapAnswer<'a, T> for Answer<'a, T> {
    fn map_answer(self, change: impl FnOnce(T) -> T + Send + 'a) -> Self {
        Answer::later(async move { change(self.await) })
    }
}
