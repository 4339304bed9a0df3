//! The bank's HTTP interface.
//!
//! - `POST /charges {reference, account, amount, currency}` with an `Idempotency-Key`: 201 with
//!   `chargeId`; 200 with the same for a repeated key, 422 for a key used for something else; 402
//!   with `reason` where the account cannot pay: `user_broke` never can, and nobody can pay more
//!   than [`LIMIT`] at once.
//! - `POST /refunds {reference}`: 201 with `chargeId` and `amount`, 200 with the same when it was
//!   refunded before, 404 where nothing was charged.
//! - `GET /ledger`: the sums of the books. `PUT /mode {slowMs, failRate}`: how it is to behave.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use dhara::world::World;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use super::books::{Books, Charge, Charged};
use crate::ledger::LedgerError;

/// The most that one charge may take, in minor units.
const LIMIT: i64 = 5_000_000;

#[derive(Clone)]
struct Bank {
    books: Books,
    world: World,
    mode: Arc<Mutex<Mode>>,
    requests: Arc<AtomicU64>,
}

/// How the bank behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mode {
    /// How long it takes over each request.
    slow_ms: u64,
    /// Which part of the requests fails.
    fail_rate: f64,
}

pub(super) async fn serve(
    listener: TcpListener,
    books: Books,
    world: World,
) -> std::io::Result<()> {
    let (mode, requests) = (Arc::default(), Arc::default());
    let app = Router::new()
        .route("/charges", post(charge))
        .route("/refunds", post(refund))
        .route("/ledger", get(ledger))
        .route("/mode", put(set_mode))
        .with_state(Bank { books, world, mode, requests });
    let listener = listener.tap_io(|stream| {
        // Without it, small answers wait for the customer's acknowledgement.
        drop(stream.set_nodelay(true));
    });
    axum::serve(listener, app).await
}

/// Whether a request is to fail, and whether its effect comes first: a bank that fails may have
/// done what it was asked for.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Well,
    FailsBefore,
    FailsAfter,
}

impl Bank {
    /// Takes as long as the mode says, then tells how the request is to end.
    async fn fate(&self) -> Fate {
        let mode = *self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        if mode.slow_ms > 0 {
            self.world.sleep(Duration::from_millis(mode.slow_ms)).await;
        }
        if mode.fail_rate <= 0.0 || self.world.random().unit() >= mode.fail_rate {
            return Fate::Well;
        }
        match self.requests.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => Fate::FailsBefore,
            _ => Fate::FailsAfter,
        }
    }
}

async fn charge(State(bank): State<Bank>, headers: HeaderMap, body: Json<Charge>) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let Some(key) = key.filter(|key| !key.is_empty() && key.len() <= 255) else {
        return refused(StatusCode::BAD_REQUEST, "an Idempotency-Key of 1 to 255 bytes is needed");
    };
    let (key, Json(charge)) = (key.to_owned(), body);
    if charge.amount <= 0 {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "the amount must be positive");
    }
    let fate = bank.fate().await;
    if fate == Fate::FailsBefore {
        return failing();
    }
    if charge.account == "user_broke" {
        return refused(StatusCode::PAYMENT_REQUIRED, "insufficient funds");
    }
    if charge.amount > LIMIT {
        return refused(StatusCode::PAYMENT_REQUIRED, "the amount is over the card's limit");
    }
    let charged = bank.books.charge(key, charge).await;
    if fate == Fate::FailsAfter {
        return failing();
    }
    let answer = |id: i64| Json(json!({ "chargeId": format!("ch_{id}") }));
    match charged {
        Ok(Charged::New(id)) => (StatusCode::CREATED, answer(id)).into_response(),
        Ok(Charged::Repeated(id)) => answer(id).into_response(),
        Ok(Charged::KeyReused) => refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this Idempotency-Key was used for another charge",
        ),
        Err(error) => broken(&error),
    }
}

#[derive(Deserialize)]
struct RefundRequest {
    reference: String,
}

async fn refund(State(bank): State<Bank>, Json(request): Json<RefundRequest>) -> Response {
    let fate = bank.fate().await;
    if fate == Fate::FailsBefore {
        return failing();
    }
    let refunded = bank.books.refund(request.reference).await;
    if fate == Fate::FailsAfter {
        return failing();
    }
    match refunded {
        Ok(Some(refund)) => {
            let status = if refund.new { StatusCode::CREATED } else { StatusCode::OK };
            let charge = format!("ch_{}", refund.charge);
            (status, Json(json!({ "chargeId": charge, "amount": refund.amount }))).into_response()
        }
        Ok(None) => refused(StatusCode::NOT_FOUND, "nothing was charged under this reference"),
        Err(error) => broken(&error),
    }
}

async fn ledger(State(bank): State<Bank>) -> Response {
    match bank.books.summary().await {
        Ok(summary) => Json(summary).into_response(),
        Err(error) => broken(&error),
    }
}

async fn set_mode(State(bank): State<Bank>, Json(mode): Json<Mode>) -> Json<Mode> {
    *bank.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    Json(mode)
}

fn refused(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "reason": reason }))).into_response()
}

fn failing() -> Response {
    refused(StatusCode::SERVICE_UNAVAILABLE, "the bank is failing, as it was told to")
}

fn broken(error: &LedgerError) -> Response {
    refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
}
