//! The events that join the services: all that one service knows of another.
//!
//! Money is in minor units of the shop's one currency.

use std::fmt;

use dhara::{Event, Events};
use serde::{Deserialize, Serialize};

/// The topics of the shop, with the groups that read each of them.
pub(crate) const TOPICS: [(&str, &[&str]); 4] = [
    ("orders", &["payment", "inventory", "analytics"]),
    ("payments", &["order"]),
    ("inventory", &["order"]),
    ("notifications", &["notification"]),
];

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text_ids! {
    /// An order.
    OrderId,
    /// A customer.
    UserId,
    /// A product.
    Sku,
    /// What the bank calls a charge.
    PaymentId,
}

/// An amount in minor units.
pub(crate) type Money = i64;

/// A product, how many of it, and what one costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    pub(crate) sku: Sku,
    pub(crate) quantity: u32,
    pub(crate) unit_price: Money,
}

/// A product, and how many of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Portion {
    pub(crate) sku: Sku,
    pub(crate) quantity: u32,
}

/// A customer has ordered; payment and stock are asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "orders", key = order_id)]
pub(crate) struct OrderCreated {
    pub(crate) order_id: OrderId,
    pub(crate) user_id: UserId,
    pub(crate) items: Vec<Line>,
    pub(crate) total_amount: Money,
}

/// The order is paid for and its stock is reserved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "orders", key = order_id)]
pub(crate) struct OrderConfirmed {
    pub(crate) order_id: OrderId,
    pub(crate) user_id: UserId,
    pub(crate) items: Vec<Line>,
    pub(crate) total_amount: Money,
}

/// The order will not be delivered; what was done for it is to be undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "orders", key = order_id)]
pub(crate) struct OrderRejected {
    pub(crate) order_id: OrderId,
    pub(crate) user_id: UserId,
    /// Told to the customer.
    pub(crate) reason: String,
    /// It was paid for: the money goes back.
    pub(crate) refund: bool,
    /// Its stock was reserved: that is free again.
    pub(crate) release: bool,
    pub(crate) total_amount: Money,
}

/// The customer was charged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "payments", key = order_id)]
pub(crate) struct PaymentCompleted {
    pub(crate) order_id: OrderId,
    pub(crate) payment_id: PaymentId,
    pub(crate) amount: Money,
}

/// The bank said no.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "payments", key = order_id)]
pub(crate) struct PaymentFailed {
    pub(crate) order_id: OrderId,
    pub(crate) reason: String,
}

/// The charge was paid back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "payments", key = order_id)]
pub(crate) struct PaymentRefunded {
    pub(crate) order_id: OrderId,
    pub(crate) payment_id: PaymentId,
    pub(crate) amount: Money,
}

/// What became of a charge.
#[derive(Clone, Debug, PartialEq, Events)]
pub(crate) enum Charged {
    Completed(PaymentCompleted),
    Failed(PaymentFailed),
}

/// All that was ordered is set aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "inventory", key = order_id)]
pub(crate) struct StockReserved {
    pub(crate) order_id: OrderId,
    pub(crate) items: Vec<Portion>,
}

/// Too little is left of something; nothing was set aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "inventory", key = order_id)]
pub(crate) struct StockRejected {
    pub(crate) order_id: OrderId,
    pub(crate) reason: String,
    pub(crate) sku: Sku,
}

/// What was set aside is free again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "inventory", key = order_id)]
pub(crate) struct StockReleased {
    pub(crate) order_id: OrderId,
    pub(crate) items: Vec<Portion>,
}

/// What became of a reservation.
#[derive(Clone, Debug, PartialEq, Events)]
pub(crate) enum Reserved {
    Reserved(StockReserved),
    Rejected(StockRejected),
}

/// Asks for a mail to a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[serde(rename_all = "camelCase")]
#[event(topic = "notifications", key = order_id, kind = integration)]
pub(crate) struct NotificationRequested {
    pub(crate) order_id: OrderId,
    pub(crate) user_id: UserId,
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
}
