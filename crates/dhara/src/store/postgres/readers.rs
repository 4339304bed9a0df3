//! Reading beside the writer, on connections that only read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::super::{Param, Row, StoreError};
use super::error::{self, Meaning};
use super::link::{Dialler, Link, Purpose};
use super::{guard, statement};
use crate::answer::BoxFuture;

/// How many queries of one place run at a time.
const MOST: usize = 4;
/// How many connections stay open when nobody reads.
const KEPT: usize = 1;

/// After which pauses a query that lost its connection is sent again.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
];

/// Connections that only read.
#[derive(Debug)]
pub(super) struct Readers {
    dialler: Dialler,
    permits: Semaphore,
    idle: Mutex<Vec<Arc<Link>>>,
}

/// A connection on loan. One that is not given back, as the query was dropped, is closed.
struct Loan<'a> {
    link: Arc<Link>,
    permit: SemaphorePermit<'a>,
}

impl Readers {
    pub(super) fn new(dialler: Dialler) -> Self {
        Self { dialler, permits: Semaphore::new(MOST), idle: Mutex::default() }
    }

    /// What is committed, as `sql` asks for it.
    pub(super) async fn query(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        guard::of_query(sql)?;
        let work = |link: Arc<Link>| -> BoxFuture<'_, Result<_, Error>> {
            Box::pin(async move {
                let prepared = link.prepare(sql).await?;
                let bound = match statement::bind(&prepared, sql, params) {
                    Ok(bound) => bound,
                    Err(error) => return Ok(Err(error)),
                };
                let bound: Vec<_> = bound.iter().map(|param| param as _).collect();
                let rows = link.client.query(&prepared, &bound).await?;
                Ok(statement::rows(sql, &rows))
            })
        };
        self.retried(sql, work).await?
    }

    /// One of the framework's own queries; gives its rows as they came.
    pub(super) async fn framework(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let work = |link: Arc<Link>| -> BoxFuture<'_, Result<_, Error>> {
            Box::pin(async move {
                let prepared = link.prepare(sql).await?;
                link.client.query(&prepared, params).await
            })
        };
        self.retried(sql, work).await
    }

    /// Does `work` on a connection; again on a new one where the first was gone, or where what was
    /// prepared no longer fits its tables. Reading twice does no harm.
    async fn retried<'w, T>(
        &self,
        sql: &str,
        work: impl Fn(Arc<Link>) -> BoxFuture<'w, Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let mut pauses = PAUSES.iter();
        loop {
            let first = pauses.len() == PAUSES.len();
            let error = match self.borrow(first).await {
                Ok(loan) => match work(Arc::clone(&loan.link)).await {
                    Ok(done) => {
                        self.give_back(loan);
                        return Ok(done);
                    }
                    Err(cause) if helped_by_another(&cause) => error::of_statement(sql, cause),
                    Err(cause) => {
                        self.give_back(loan);
                        return Err(error::of_statement(sql, cause));
                    }
                },
                Err(error) if error.is_transient() => error,
                Err(error) => return Err(error),
            };
            match pauses.next() {
                Some(pause) => self.dialler.world.sleep(*pause).await,
                None => return Err(error),
            }
        }
    }

    async fn borrow(&self, may_be_old: bool) -> Result<Loan<'_>, StoreError> {
        let permit = self.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let idle = may_be_old.then(|| self.lock().pop()).flatten();
        let link = match idle.filter(|link| !link.is_closed()) {
            Some(link) => link,
            None => Arc::new(self.dialler.connect(Purpose::Read, None).await?),
        };
        Ok(Loan { link, permit })
    }

    fn give_back(&self, loan: Loan<'_>) {
        let mut idle = self.lock();
        if idle.len() < KEPT && !loan.link.is_closed() && !self.permits.is_closed() {
            idle.push(loan.link);
        }
        drop(loan.permit);
    }

    /// Answers no more queries.
    pub(super) fn close(&self) {
        self.permits.close();
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Link>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn helped_by_another(cause: &Error) -> bool {
    matches!(error::meaning(cause), Meaning::Gone | Meaning::Again)
}
