//! `GET /analytics`; with a consistency token it waits until the order of the token is counted.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use dhara::EventId;
use dhara::store::{Row, ServiceStore, StoreError};
use dhara::world::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::supervisor::Slot;
use crate::time_text::rfc3339;

/// How long a read waits for the read model.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub(crate) struct AnalyticsApi {
    pub(crate) slot: Arc<Slot>,
    pub(crate) store: Arc<dyn ServiceStore>,
}

pub(crate) fn routes(api: AnalyticsApi) -> Router {
    Router::new().route("/analytics", get(analytics)).with_state(api)
}

#[derive(Deserialize)]
struct Wanted {
    token: Option<String>,
}

async fn analytics(
    State(api): State<AnalyticsApi>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let refused = |error: QueryRejection| Problem::new(error.status(), error.body_text());
    let Query(wanted) = wanted.map_err(refused)?;
    let header = headers.get("consistency-token").map(|token| token.to_str().unwrap_or("?"));
    if let Some(token) = wanted.token.as_deref().or(header) {
        catch_up(&api.slot, token).await?;
    }
    figures(api.store.as_ref()).await.map(Json).map_err(Problem::internal)
}

async fn catch_up(slot: &Slot, token: &str) -> Result<(), Problem> {
    let unknown =
        || Problem::field(StatusCode::BAD_REQUEST, "token", "this is no token of this shop");
    let event = event_of(token).ok_or_else(unknown)?;
    slot.caught_up("order_created", &event, PATIENCE).await.map_err(|why| {
        Problem::unavailable(format!("the order of the token is not counted yet: {why}"))
    })
}

/// The event that a token of this shop stands for. Ids in other shapes are those of others' events,
/// for which nobody is given a token.
fn event_of(token: &str) -> Option<EventId> {
    let digits = token.strip_prefix("evt_")?;
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (digits.len() == 32 && digits.bytes().all(lower_hex)).then_some(())?;
    EventId::parse(token).ok()
}

async fn figures(store: &dyn ServiceStore) -> Result<Value, StoreError> {
    let sums = "SELECT coalesce(sum(created), 0) AS created, coalesce(sum(confirmed), 0) AS confirmed, \
                coalesce(sum(rejected), 0) AS rejected, coalesce(sum(revenue), 0) AS revenue \
                FROM minutes";
    let sums = store.query(sums, &[]).await?;
    let sum = |name: &str| sums.first().map_or(Ok(0), |row| row.get::<i64>(name));
    let orders = json!({
        "created": sum("created")?, "confirmed": sum("confirmed")?, "rejected": sum("rejected")?,
    });
    let products = "SELECT sku, quantity, revenue FROM products ORDER BY revenue DESC";
    let products = store.query(products, &[]).await?;
    let minutes = "SELECT minute, created, revenue FROM minutes ORDER BY minute DESC LIMIT 60";
    let minutes = store.query(minutes, &[]).await?;
    Ok(json!({
        "orders": orders,
        "revenue": sum("revenue")?,
        "byProduct": products.iter().map(product).collect::<Result<Vec<_>, _>>()?,
        "byMinute": minutes.iter().rev().map(minute).collect::<Result<Vec<_>, _>>()?,
    }))
}

fn product(row: &Row) -> Result<Value, StoreError> {
    let (sku, quantity): (String, i64) = (row.get("sku")?, row.get("quantity")?);
    Ok(json!({ "sku": sku, "quantity": quantity, "revenue": row.get::<i64>("revenue")? }))
}

fn minute(row: &Row) -> Result<Value, StoreError> {
    let (minute, orders): (u64, i64) = (row.get("minute")?, row.get("created")?);
    let minute = rfc3339(Timestamp::from_micros(minute * 60_000_000));
    Ok(json!({ "minute": minute, "orders": orders, "revenue": row.get::<i64>("revenue")? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhara::world::World;

    #[test]
    fn only_what_the_shop_gives_is_a_token() {
        let event = EventId::from(World::real().uuid());
        assert_eq!(event_of(&event.to_string()), Some(event));
        for other in ["", "?", "nonsense", "evt_12345", "evt_0189AAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(event_of(other), None, "{other}");
        }
    }
}
