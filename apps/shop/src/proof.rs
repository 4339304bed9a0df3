//! `GET /proof`: what really happened to the orders, found out independently of the services.
//!
//! The auditor reads what others wrote down where the thing happened: the receipts of accepted
//! orders, the order streams, the ledger of stock, the bank's books, the mails, and every place in
//! which an event can be on its way. It keeps what it has understood in a ledger of its own, so that
//! a look costs in proportion to what is new.
//!
//! # Why nothing is missed
//!
//! An event is always in at least one place: it stays in an outbox until the broker has it, and
//! undelivered in the broker until the transaction with its effect and what follows from it is
//! committed. The places are looked at in the order in which an order travels through them, its end
//! last. What was not in a place when it was looked at has not reached it, in which case an earlier
//! look would have found it, or has left it, in which case a later one will. So an order that no look
//! has found is in no place: it is lost.

mod book;
mod look;
mod stock;
mod trail;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use dhara::broker::{Broker, BrokerError};
use dhara::store::{ServiceStore, StoreError};
use dhara::world::{Timestamp, World};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::bank::{BankProcess, Summary};
use crate::ledger::LedgerError;
use crate::problem::Problem;
use crate::receipts::Receipts;
use crate::services::notification::Mailer;
use book::{Book, Orders};
use stock::Shelves;

/// For so long an answer is given again.
const FRESH: Duration = Duration::from_secs(1);

/// What the auditor looks at.
pub(crate) struct Sources {
    pub(crate) world: World,
    pub(crate) broker: Arc<dyn Broker>,
    /// The services' stores, by name.
    pub(crate) stores: Vec<(&'static str, Arc<dyn ServiceStore>)>,
    pub(crate) receipts: Receipts,
    pub(crate) bank: BankProcess,
    pub(crate) mailer: Mailer,
}

impl Sources {
    fn store(&self, service: &str) -> Result<&dyn ServiceStore, AuditError> {
        let store = self.stores.iter().find(|(name, _)| *name == service);
        let missing = || AuditError(format!("there is no service {service}"));
        store.map(|(_, store)| store.as_ref()).ok_or_else(missing)
    }
}

/// Why the auditor could not look.
#[derive(Debug)]
pub(crate) struct AuditError(String);

impl std::fmt::Display for AuditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the proof cannot be given: {}", self.0)
    }
}

macro_rules! audit_error_from {
    ($($error:ty),*) => {$(
        impl From<$error> for AuditError {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        }
    )*};
}

audit_error_from!(BrokerError, StoreError, LedgerError, crate::services::notification::MailError);

/// Looks at everything when it is asked.
#[derive(Clone)]
pub(crate) struct Auditor {
    sources: Arc<Sources>,
    book: Book,
    last: Arc<Mutex<Option<Look>>>,
}

/// What one look has found.
#[derive(Clone)]
struct Look {
    at: Timestamp,
    figures: Figures,
    answer: Value,
}

#[derive(Clone, Debug, PartialEq)]
struct Figures {
    orders: Orders,
    shelves: Shelves,
    bank: Summary,
    mails: u64,
    dead_letters: u64,
}

impl Auditor {
    pub(crate) fn open(sources: Sources, dir: &std::path::Path) -> Result<Self, LedgerError> {
        let book = Book::open(&sources.world, dir, sources.broker.id().as_deref())?;
        Ok(Self { sources: Arc::new(sources), book, last: Arc::default() })
    }

    pub(crate) fn routes(&self) -> Router {
        Router::new().route("/proof", get(proof)).with_state(self.clone())
    }

    /// The answer, not older than a second.
    async fn answer(&self) -> Result<Value, AuditError> {
        let mut last = self.last.lock().await;
        let now = self.sources.world.now();
        if let Some(look) = last.as_ref()
            && now.since(look.at) < FRESH
        {
            return Ok(look.answer.clone());
        }
        let orders = look::look(&self.sources, &self.book).await?;
        let shelves = stock::count(self.sources.store("inventory")?, &self.book).await?;
        let mails = self.sources.mailer.delivered().await?;
        // The bank comes last: by now it has charged for every order that was seen confirmed.
        let bank = self.sources.bank.summary().await.map_err(AuditError)?;
        let dead_letters = look::dead_letters(&self.sources).await?;
        let figures = Figures { orders, shelves, bank, mails, dead_letters };
        let answer = figures.answer(last.as_ref().map(|look| &look.figures));
        *last = Some(Look { at: now, figures, answer: answer.clone() });
        Ok(answer)
    }
}

impl Figures {
    fn answer(&self, before: Option<&Self>) -> Value {
        let Self { orders, shelves, bank, mails, dead_letters } = self;
        json!({
            "accepted": orders.accepted,
            "confirmed": orders.confirmed,
            "rejected": orders.rejected,
            "inFlight": orders.in_flight,
            "deadLettered": orders.dead_lettered,
            "lost": orders.lost,
            "lostOrders": orders.lost_orders,
            "settling": orders.settling,
            "unanswered": orders.unanswered,
            "charges": bank.charges,
            "refunds": bank.refunds,
            "toBeCharged": orders.confirmed,
            "chargedTwice": bank.charged_twice,
            "chargedTwiceOrders": bank.charged_twice_references,
            "sold": shelves.sold,
            "stock": shelves.stock,
            "oversold": shelves.oversold,
            "mails": mails,
            "deadLetters": dead_letters,
            "ok": self.holds(before == Some(self)),
        })
    }

    /// Whether all that was found fits together. `at_rest` when nothing has changed since the last
    /// look.
    fn holds(&self, at_rest: bool) -> bool {
        let Self { orders, shelves, bank, .. } = self;
        let kept = bank.charges.saturating_sub(bank.refunds);
        let paid = kept >= orders.confirmed;
        let quiet = at_rest && orders.in_flight == 0 && orders.settling == 0;
        let balanced = !quiet || kept == orders.confirmed;
        let nothing_wrong = orders.lost == 0 && bank.charged_twice == 0 && shelves.oversold == 0;
        nothing_wrong && paid && balanced && self.dead_letters == 0
    }
}

async fn proof(State(auditor): State<Auditor>) -> Result<Json<Value>, Problem> {
    auditor.answer().await.map(Json).map_err(Problem::internal)
}
