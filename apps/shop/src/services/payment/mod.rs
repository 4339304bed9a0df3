//! Charges customers through the bank, and pays back what a rejected order was charged.

mod breaker;
mod gateway;

use std::fmt;
use std::sync::Arc;

use dhara::store::Store;
use dhara::world::World;
use dhara::{Failure, HandlerExt, Meta, Retry, Service, State};

use crate::events::{
    Charged, OrderCreated, OrderRejected, PaymentCompleted, PaymentFailed, PaymentRefunded,
};
use crate::sabotage::Sabotage;
pub(crate) use gateway::Gateway;
use gateway::{ChargeRequest, GatewayError, Verdict};

pub(crate) const NAME: &str = "payment";

/// How many charges are under way at a time.
const LANES: usize = 64;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Cashier {
    pub(crate) gateway: Gateway,
    pub(crate) sabotage: Sabotage,
}

/// The service, ready to start.
pub(crate) fn service(world: &World, store: &Arc<dyn Store>, cashier: Cashier) -> Service<Cashier> {
    // A bank that is away comes back: no order is given up for it.
    Service::new(NAME)
        .world(world)
        .store(store.clone())
        .state(cashier)
        .lanes(LANES)
        .on(charge.retry(Retry::forever()))
        .on(refund.retry(Retry::forever()))
}

/// The bank gave no answer that could be used. It is asked again.
#[derive(Debug)]
struct BankError(GatewayError);

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Failure for BankError {}

async fn charge(
    order: OrderCreated,
    meta: Meta,
    State(cashier): State<Cashier>,
) -> Result<Option<Charged>, BankError> {
    if cashier.sabotage.forget && meta.offset % 5 == 4 {
        return Ok(None);
    }
    let key = meta.idempotency_key();
    if cashier.sabotage.charge_twice {
        let key = format!("{key}/{}", meta.attempt + 1);
        cashier.gateway.charge(&key, &request_of(&order)).await.map_err(BankError)?;
    }
    let verdict = cashier.gateway.charge(&key, &request_of(&order)).await.map_err(BankError)?;
    let OrderCreated { order_id, total_amount: amount, .. } = order;
    Ok(Some(match verdict {
        Verdict::Charged(payment_id) => {
            Charged::Completed(PaymentCompleted { order_id, payment_id, amount })
        }
        Verdict::Declined(reason) => Charged::Failed(PaymentFailed { order_id, reason }),
    }))
}

fn request_of(order: &OrderCreated) -> ChargeRequest<'_> {
    ChargeRequest {
        reference: &order.order_id.0,
        account: &order.user_id.0,
        amount: order.total_amount,
        currency: "BDT",
    }
}

async fn refund(
    order: OrderRejected,
    State(cashier): State<Cashier>,
) -> Result<Option<PaymentRefunded>, BankError> {
    if !order.refund {
        return Ok(None);
    }
    let OrderRejected { order_id, total_amount: amount, .. } = order;
    let payment_id = cashier.gateway.refund(&order_id.0).await.map_err(BankError)?;
    Ok(Some(PaymentRefunded { order_id, payment_id, amount }))
}
