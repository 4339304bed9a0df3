//! `POST /orders`, `GET /orders/ID`, `GET /products`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use dhara::WriteError;
use dhara::store::ServiceStore;
use dhara::world::World;
use serde_json::{Value, json};

use super::aggregate::{Order, Status};
use super::catalogue;
use super::place::{self, PlaceError, Placed};
use super::request::{self, MAX_BODY};
use super::stream::{self, Entry, StreamError};
use crate::events::OrderId;
use crate::extract::{self, Name};
use crate::problem::Problem;
use crate::receipts::Receipts;
use crate::supervisor::Slot;
use crate::time_text::rfc3339;

/// What the service's HTTP interface stands on.
#[derive(Clone)]
pub(crate) struct OrderApi {
    pub(crate) world: World,
    pub(crate) slot: Arc<Slot>,
    pub(crate) store: Arc<dyn ServiceStore>,
    pub(crate) receipts: Receipts,
}

pub(crate) fn routes(api: OrderApi) -> Router {
    Router::new()
        .route("/orders", post(create))
        .route("/orders/{id}", get(show))
        .route("/products", get(products))
        .with_state(api)
}

async fn create(State(api): State<OrderApi>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let key = request::idempotency_key(&parts.headers)?;
    let order = request::parse(&parts.headers, &extract::read(body, MAX_BODY).await?)?;
    let Some(writer) = api.slot.writer() else {
        return Err(Problem::unavailable("the order service is stopped; start it and try again"));
    };
    let placed = place::place(&writer, &api.world, order, key).await.map_err(refusal)?;
    // The receipt is on disk before the customer hears of the order: what is accepted is counted.
    api.receipts.add(&placed.order_id).await.map_err(Problem::internal)?;
    Ok(accepted(&placed))
}

fn refusal(error: WriteError<PlaceError>) -> Problem {
    match error {
        WriteError::Refused(PlaceError::KeyReused) => Problem::field(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Idempotency-Key",
            PlaceError::KeyReused.to_string(),
        ),
        WriteError::Refused(PlaceError::Stream(error)) => stream_problem(error),
        WriteError::Store(error) => Problem::unavailable(format!("try again later: {error}")),
        other => Problem::internal(other),
    }
}

fn stream_problem(error: StreamError) -> Problem {
    match error {
        StreamError::Unknown(_) => Problem::not_found(error.to_string()),
        other => Problem::internal(other),
    }
}

fn accepted(placed: &Placed) -> Response {
    let mut body = json!({
        "orderId": placed.order_id,
        "totalAmount": placed.total_amount,
        "token": placed.event_id.to_string(),
    });
    tell(&mut body, &placed.status);
    let location = format!("/orders/{}", placed.order_id);
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(body)).into_response()
}

async fn show(State(api): State<OrderApi>, Name(id): Name) -> Result<Json<Value>, Problem> {
    let order_id = OrderId(id);
    let entries = stream::read_committed(api.store.as_ref(), &order_id).await;
    let entries = entries.map_err(stream_problem)?;
    let order = Order::replay(entries.iter().map(|entry| &entry.fact));
    let (Some(created), Some(first)) = (&order.created, entries.first()) else {
        return Err(Problem::not_found(format!("there is no order {order_id}")));
    };
    let items: Vec<Value> = created.items.iter().map(|line| {
        let name = catalogue::product(&line.sku.0).map_or(line.sku.0.as_str(), |p| p.name);
        json!({ "sku": line.sku, "name": name, "quantity": line.quantity, "unitPrice": line.unit_price })
    }).collect();
    let mut body = json!({
        "orderId": order_id,
        "userId": created.user_id,
        "totalAmount": created.total_amount,
        "items": items,
        "createdAt": rfc3339(first.at),
        "history": entries.iter().map(step).collect::<Vec<_>>(),
    });
    tell(&mut body, &order.status);
    Ok(Json(body))
}

/// Adds how the order stands.
fn tell(body: &mut Value, status: &Status) {
    let Value::Object(members) = body else { return };
    let (name, reason) = match status {
        Status::Pending => ("pending", None),
        Status::Confirmed => ("confirmed", None),
        Status::Rejected { reason } => ("rejected", Some(reason)),
    };
    members.insert("status".into(), name.into());
    if let Some(reason) = reason {
        members.insert("reason".into(), reason.as_str().into());
    }
}

fn step(entry: &Entry) -> Value {
    json!({
        "eventId": entry.event_id.to_string(),
        "eventType": entry.fact.kind(),
        "timestamp": rfc3339(entry.at),
        "source": entry.source,
        "summary": entry.fact.summary(),
    })
}

async fn products() -> Json<Value> {
    let product = |product: &catalogue::Product| {
        json!({
            "sku": product.sku, "name": product.name, "description": product.description,
            "price": product.price, "icon": product.icon,
        })
    };
    let products: Vec<Value> = catalogue::PRODUCTS.iter().map(product).collect();
    Json(json!({ "currency": catalogue::CURRENCY, "products": products }))
}
