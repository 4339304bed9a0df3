//! What the page's console shows and does: health, dead letters, stopping services, the bank's mood.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use dhara::store::{Row, ServiceStore, StoreError};
use dhara::world::{Timestamp, World};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bank::{BankProcess, Mode, ModeKind};
use crate::config::Config;
use crate::extract::{self, Name};
use crate::live::Live;
use crate::problem::{FieldError, Problem};
use crate::supervisor::{Services, Slot};
use crate::time_text::rfc3339;

/// How often those who listen are told the status.
const TICK: Duration = Duration::from_secs(1);
/// How slow a slow bank is, and how often a failing one fails, when nothing else is asked for.
const SLOW_MS: u64 = 400;
const FAIL_RATE: f64 = 0.5;
/// The largest body that is read.
const MAX_BODY: usize = 4 << 10;

/// The console's view of the shop.
#[derive(Clone)]
pub(crate) struct Console {
    shared: Arc<Shared>,
}

struct Shared {
    world: World,
    started: Timestamp,
    broker: String,
    store: String,
    services: Services,
    bank: BankProcess,
}

impl Console {
    pub(crate) fn new(
        world: &World,
        config: &Config,
        services: Services,
        bank: BankProcess,
    ) -> Self {
        let (broker, store) = (config.broker.clone(), config.store.clone());
        let (world, started) = (world.clone(), world.now());
        Self { shared: Arc::new(Shared { world, started, broker, store, services, bank }) }
    }

    pub(crate) fn routes(&self, stores: Vec<(&'static str, Arc<dyn ServiceStore>)>) -> Router {
        let letters = Router::new().route("/dead-letters", get(dead_letters)).with_state(stores);
        Router::new()
            .route("/health", get(health))
            .route("/services/{name}/stop", post(stop))
            .route("/services/{name}/start", post(start))
            .route("/bank", post(set_bank))
            .with_state(self.clone())
            .merge(letters)
    }

    /// Tells those who listen how the shop is, for as long as there are any.
    pub(crate) fn show_on(self, live: &Live) {
        let live = live.clone();
        let world = self.shared.world.clone();
        drop(world.clone().spawn(async move {
            let mut last = Value::Null;
            loop {
                live.wanted().await;
                let health = self.health().await;
                if !same(&health, &last) {
                    live.show_status(&health.to_string());
                    last = health;
                }
                world.sleep(TICK).await;
            }
        }));
    }

    async fn health(&self) -> Value {
        let Shared { world, started, broker, store, services, bank } = &*self.shared;
        let (rows, bank) = (services.rows().await, bank.row());
        let is = |row: &Value, state: &str| row.get("state").is_some_and(|known| known == state);
        // What stands in the dead letters waits for somebody who looks.
        let unseen = |row: &Value| row.get("deadLetters").is_some_and(|count| *count != 0);
        let runs = |row: &Value| is(row, "running") && !unseen(row);
        let well = is(&bank, "up") && rows.iter().all(runs);
        json!({
            "status": if well { "ok" } else { "degraded" },
            "services": rows,
            "bank": bank,
            "broker": broker,
            "store": store,
            "uptimeSeconds": world.now().since(*started).as_secs(),
        })
    }

    fn slot(&self, name: &str) -> Result<&Arc<Slot>, Problem> {
        self.shared.services.get(name).ok_or_else(|| {
            let known: Vec<_> = self.shared.services.names().collect();
            let short: String = name.chars().take(60).collect();
            Problem::not_found(format!("no service {short:?}; there are {}", known.join(", ")))
        })
    }
}

/// Whether two answers say the same, but for the time that has passed.
fn same(one: &Value, other: &Value) -> bool {
    ["status", "services", "bank"].iter().all(|name| one.get(name) == other.get(name))
}

async fn health(State(console): State<Console>) -> Json<Value> {
    Json(console.health().await)
}

async fn stop(State(console): State<Console>, Name(name): Name) -> Result<Json<Value>, Problem> {
    let slot = console.slot(&name)?;
    slot.stop().await;
    Ok(Json(slot.row().await))
}

async fn start(State(console): State<Console>, Name(name): Name) -> Result<Json<Value>, Problem> {
    let slot = console.slot(&name)?;
    slot.start().await.map_err(Problem::internal)?;
    Ok(Json(slot.row().await))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mood {
    mode: ModeKind,
    slow_ms: Option<u64>,
    fail_rate: Option<f64>,
}

async fn set_bank(State(console): State<Console>, body: Body) -> Result<Json<Value>, Problem> {
    let body = extract::read(body, MAX_BODY).await?;
    let mood: Mood = serde_json::from_slice(&body).map_err(|error| {
        let detail =
            format!("the body must be as in {{\"mode\":\"up|slow|failing|down\"}}: {error}");
        Problem::field(StatusCode::UNPROCESSABLE_ENTITY, "mode", detail)
    })?;
    let mut errors = Vec::new();
    if mood.slow_ms.is_some_and(|ms| ms > 60_000) {
        let detail = "must be at most 60000".to_owned();
        errors.push(FieldError { field: "slowMs".into(), detail });
    }
    if mood.fail_rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        let detail = "must be from 0 to 1".to_owned();
        errors.push(FieldError { field: "failRate".into(), detail });
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let (slow_ms, fail_rate) = match mood.mode {
        ModeKind::Slow => (mood.slow_ms.unwrap_or(SLOW_MS), 0.0),
        ModeKind::Failing => (mood.slow_ms.unwrap_or(0), mood.fail_rate.unwrap_or(FAIL_RATE)),
        ModeKind::Up | ModeKind::Down => (0, 0.0),
    };
    let bank = &console.shared.bank;
    bank.set(Mode { kind: mood.mode, slow_ms, fail_rate }).await;
    Ok(Json(bank.row()))
}

type Stores = Vec<(&'static str, Arc<dyn ServiceStore>)>;

async fn dead_letters(State(stores): State<Stores>) -> Result<Json<Value>, Problem> {
    let mut letters = Vec::new();
    for (service, store) in &stores {
        let query = "SELECT topic, \"partition\", \"offset\", key, event_id, handler, error, \
                     attempts, at, body FROM dhara_dead_letters ORDER BY number DESC LIMIT 100";
        for row in store.query(query, &[]).await.map_err(Problem::internal)? {
            letters.push(letter(service, &row).map_err(Problem::internal)?);
        }
    }
    Ok(Json(json!({ "deadLetters": letters })))
}

fn letter(service: &str, row: &Row) -> Result<Value, StoreError> {
    let (key, body): (Option<Vec<u8>>, Vec<u8>) = (row.get("key")?, row.get("body")?);
    let envelope = dhara::Envelope::parse(&body).ok();
    Ok(json!({
        "service": service,
        "handler": row.get::<String>("handler")?,
        "eventId": row.get::<Option<String>>("event_id")?,
        "eventType": envelope.map(|envelope| envelope.event_type.into_owned()),
        "topic": row.get::<String>("topic")?,
        "partition": row.get::<u32>("partition")?,
        "offset": row.get::<u64>("offset")?,
        "key": key.map(|key| String::from_utf8_lossy(&key).into_owned()),
        "error": row.get::<String>("error")?,
        "attempts": row.get::<u32>("attempts")?,
        "at": rfc3339(Timestamp::from_micros(row.get("at")?)),
    }))
}
