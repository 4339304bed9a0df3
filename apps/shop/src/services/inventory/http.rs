//! `GET /inventory`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use dhara::store::{ServiceStore, StoreError};
use serde_json::{Value, json};

use crate::problem::Problem;

pub(crate) fn routes(store: Arc<dyn ServiceStore>) -> Router {
    Router::new().route("/inventory", get(inventory)).with_state(store)
}

async fn inventory(State(store): State<Arc<dyn ServiceStore>>) -> Result<Json<Value>, Problem> {
    let items = items(store.as_ref()).await.map_err(Problem::internal)?;
    Ok(Json(json!({ "items": items })))
}

async fn items(store: &dyn ServiceStore) -> Result<Vec<Value>, StoreError> {
    let rows = store.query("SELECT sku, stock, reserved FROM stock ORDER BY sku", &[]).await?;
    let item = |row: &dhara::store::Row| {
        let (stock, reserved): (i64, i64) = (row.get("stock")?, row.get("reserved")?);
        let sku: String = row.get("sku")?;
        let available = stock - reserved;
        Ok(json!({ "sku": sku, "stock": stock, "reserved": reserved, "available": available }))
    };
    rows.iter().map(item).collect()
}
