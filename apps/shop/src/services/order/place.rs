//! Takes an order: its stream begins, and payment and inventory are told.

use dhara::store::{Param, StoreError, Tx};
use dhara::world::World;
use dhara::{EventId, WithId, WriteError, Writer};

use super::NAME;
use super::aggregate::{Created, Fact, Order, Status};
use super::request::OrderRequest;
use super::stream::{self, Entry, StreamError};
use crate::events::{Money, OrderCreated, OrderId};

/// An order that was taken, by this request or by an earlier one with the same key.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) order_id: OrderId,
    pub(super) total_amount: Money,
    /// How it stands by now.
    pub(super) status: Status,
    /// The event that a read with the consistency token waits for.
    pub(super) event_id: EventId,
}

/// Why an order was not taken.
#[derive(Debug)]
pub(super) enum PlaceError {
    /// The idempotency key stands for an order with other content.
    KeyReused,
    Stream(StreamError),
}

impl From<StoreError> for PlaceError {
    fn from(error: StoreError) -> Self {
        Self::Stream(error.into())
    }
}

impl From<StreamError> for PlaceError {
    fn from(error: StreamError) -> Self {
        Self::Stream(error)
    }
}

impl std::fmt::Display for PlaceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KeyReused => {
                f.write_str("this Idempotency-Key was used for an order with other content")
            }
            Self::Stream(error) => std::fmt::Display::fmt(error, f),
        }
    }
}

/// Takes the order in one transaction: its stream, its idempotency key, its event.
pub(super) async fn place(
    writer: &Writer,
    world: &World,
    request: OrderRequest,
    key: Option<String>,
) -> Result<Placed, WriteError<PlaceError>> {
    let world = world.clone();
    let order_id = OrderId(format!("order_{:?}", world.uuid()));
    let work = move |tx: Tx| {
        let (world, request) = (world.clone(), request.clone());
        let (order_id, key) = (order_id.clone(), key.clone());
        async move {
            if let Some(key) = &key
                && let Some(placed) = find(&tx, key, &request).await?
            {
                return Ok((placed, None));
            }
            let (placed, event) = begin(&tx, &world, order_id, request).await?;
            if let Some(key) = &key {
                let insert = "INSERT INTO order_keys (idempotency_key, order_id) VALUES ($1, $2)";
                let params = [Param::from(key), Param::from(&placed.order_id.0)];
                tx.execute(insert, &params).await?;
            }
            Ok((placed, Some(event)))
        }
    };
    writer.write(work).await.map(|written| written.value)
}

/// The order that was taken under this key.
async fn find(tx: &Tx, key: &str, request: &OrderRequest) -> Result<Option<Placed>, PlaceError> {
    let query = "SELECT order_id FROM order_keys WHERE idempotency_key = $1";
    let Some(row) = tx.query_one(query, &[Param::from(key)]).await? else { return Ok(None) };
    let order_id = OrderId(row.get("order_id")?);
    let entries = stream::read(tx, &order_id).await?;
    let order = Order::replay(entries.iter().map(|entry| &entry.fact));
    let (Some(created), Some(first)) = (order.created, entries.into_iter().next()) else {
        return Err(StreamError::Unknown(order_id).into());
    };
    // Prices may have changed since: what the customer wrote is compared.
    let wanted = |items: &[crate::events::Line]| -> Vec<_> {
        items.iter().map(|line| (line.sku.clone(), line.quantity)).collect()
    };
    let same = created.user_id == request.user_id
        && created.email == request.email
        && wanted(&created.items) == wanted(&request.items);
    if !same {
        return Err(PlaceError::KeyReused);
    }
    let (total_amount, status) = (created.total_amount, order.status);
    Ok(Some(Placed { order_id, total_amount, status, event_id: first.event_id }))
}

async fn begin(
    tx: &Tx,
    world: &World,
    order_id: OrderId,
    request: OrderRequest,
) -> Result<(Placed, WithId<OrderCreated>), PlaceError> {
    let OrderRequest { user_id, email, items, total_amount } = request;
    let at = world.now();
    let event_id = EventId::from(world.uuid_at(at));
    let event = OrderCreated {
        order_id: order_id.clone(),
        user_id: user_id.clone(),
        items: items.clone(),
        total_amount,
    };
    let fact = Fact::OrderCreated(Created { user_id, email, items, total_amount });
    let entry = Entry { fact, event_id: event_id.clone(), source: NAME.to_owned(), at };
    stream::append(tx, &order_id, 0, &[&entry]).await?;
    let event = WithId { id: event_id.clone(), event };
    Ok((Placed { order_id, total_amount, status: Status::Pending, event_id }, event))
}
