//! What the order service does when payment or inventory has answered.

use dhara::store::Tx;
use dhara::world::World;
use dhara::{EventId, Meta, State, WithId};

use super::NAME;
use super::aggregate::{Created, Fact, Order};
use super::stream::{self, Entry, StreamError};
use crate::events::{
    NotificationRequested, OrderConfirmed, OrderId, OrderRejected, PaymentCompleted, PaymentFailed,
    PaymentRefunded, StockRejected, StockReleased, StockReserved,
};

/// What is published when an order ends: one of the two, and the customer's mail.
type Ending =
    (Option<WithId<OrderConfirmed>>, Option<WithId<OrderRejected>>, Option<NotificationRequested>);
type Outcome = Result<Ending, StreamError>;

pub(super) async fn payment_completed(
    event: PaymentCompleted,
    meta: Meta,
    tx: Tx,
    State(world): State<World>,
) -> Outcome {
    let PaymentCompleted { order_id, payment_id, amount } = event;
    note(order_id, Fact::PaymentCompleted { payment_id, amount }, meta, tx, &world).await
}

pub(super) async fn payment_failed(
    event: PaymentFailed,
    meta: Meta,
    tx: Tx,
    State(world): State<World>,
) -> Outcome {
    let reason = format!("payment was refused: {}", event.reason);
    note(event.order_id, Fact::PaymentFailed { reason }, meta, tx, &world).await
}

pub(super) async fn payment_refunded(
    event: PaymentRefunded,
    meta: Meta,
    tx: Tx,
    State(world): State<World>,
) -> Outcome {
    note(event.order_id, Fact::PaymentRefunded { amount: event.amount }, meta, tx, &world).await
}

pub(super) async fn stock_reserved(
    event: StockReserved,
    meta: Meta,
    tx: Tx,
    State(world): State<World>,
) -> Outcome {
    note(event.order_id, Fact::StockReserved, meta, tx, &world).await
}

pub(super) async fn stock_rejected(
    event: StockRejected,
    meta: Meta,
    tx: Tx,
    State(world): State<World>,
) -> Outcome {
    let StockRejected { order_id, reason, sku } = event;
    note(order_id, Fact::StockRejected { reason, sku }, meta, tx, &world).await
}

pub(super) async fn stock_released(
    event: StockReleased,
    meta: Meta,
    tx: Tx,
    State(world): State<World>,
) -> Outcome {
    note(event.order_id, Fact::StockReleased, meta, tx, &world).await
}

/// Appends the fact to the order's stream, with the order's end where this fact brings it about.
async fn note(order_id: OrderId, fact: Fact, meta: Meta, tx: Tx, world: &World) -> Outcome {
    let known = stream::read(&tx, &order_id).await?;
    let mut order = Order::replay(known.iter().map(|entry| &entry.fact));
    if order.created.is_none() {
        return Err(StreamError::Unknown(order_id));
    }
    if !order.is_news(&fact) {
        return Ok((None, None, None));
    }
    let expected = order.version;
    order.apply(&fact);
    let Meta { event_id, source, timestamp: at, .. } = meta;
    let heard = Entry { fact, event_id, source, at };
    let Some(ending) = order.ending() else {
        stream::append(&tx, &order_id, expected, &[&heard]).await?;
        return Ok((None, None, None));
    };
    let event_id = EventId::from(world.uuid());
    let end = Entry { fact: ending, event_id, source: NAME.to_owned(), at: world.now() };
    stream::append(&tx, &order_id, expected, &[&heard, &end]).await?;
    Ok(announce(order_id, order.created, end))
}

fn announce(order_id: OrderId, created: Option<Created>, end: Entry) -> Ending {
    // `note` has made sure that the order was created.
    let Some(created) = created else { return (None, None, None) };
    let mail = mail(&order_id, &created, &end.fact);
    let Created { user_id, items, total_amount, .. } = created;
    match end.fact {
        Fact::OrderRejected { reason, refund, release } => {
            let event = OrderRejected { order_id, user_id, reason, refund, release, total_amount };
            (None, Some(WithId { id: end.event_id, event }), Some(mail))
        }
        _ => {
            let event = OrderConfirmed { order_id, user_id, items, total_amount };
            (Some(WithId { id: end.event_id, event }), None, Some(mail))
        }
    }
}

fn mail(order_id: &OrderId, created: &Created, end: &Fact) -> NotificationRequested {
    let total = super::catalogue::price_text(created.total_amount);
    let (subject, text) = match end {
        Fact::OrderRejected { reason, refund, .. } => {
            let money = match refund {
                true => format!("The {total} that you paid are on their way back to you."),
                false => "You were not charged.".to_owned(),
            };
            let text =
                format!("we are sorry: your order {order_id} was rejected, {reason}.\n{money}");
            (format!("Your order {order_id} was rejected"), text)
        }
        _ => {
            let text = format!("thank you: your order {order_id} over {total} is confirmed.");
            (format!("Your order {order_id} is confirmed"), text)
        }
    };
    let to = created.email.clone().unwrap_or_else(|| address_of(&created.user_id.0));
    let text = format!("Dear {},\n\n{text}\n\nThe shop\n", created.user_id);
    NotificationRequested {
        order_id: order_id.clone(),
        user_id: created.user_id.clone(),
        to,
        subject,
        text,
    }
}

/// Where a customer who gave no address gets mail.
fn address_of(user_id: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    format!("{}@example.com", user_id.chars().take(60).map(safe).collect::<String>())
}
