//! An order as the sum of what happened to it.

use serde::{Deserialize, Serialize};

use crate::events::{Line, Money, PaymentId, Sku, UserId};

/// Something that happened to an order; its stream is made of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub(super) enum Fact {
    OrderCreated(Created),
    PaymentCompleted { payment_id: PaymentId, amount: Money },
    PaymentFailed { reason: String },
    PaymentRefunded { amount: Money },
    StockReserved,
    StockRejected { reason: String, sku: Sku },
    StockReleased,
    OrderConfirmed,
    OrderRejected { reason: String, refund: bool, release: bool },
}

/// What a customer ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created {
    pub(super) user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<String>,
    pub(super) items: Vec<Line>,
    pub(super) total_amount: Money,
}

impl Fact {
    /// Its name in the stream, which is that of the event that told of it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::OrderCreated(_) => "OrderCreated",
            Self::PaymentCompleted { .. } => "PaymentCompleted",
            Self::PaymentFailed { .. } => "PaymentFailed",
            Self::PaymentRefunded { .. } => "PaymentRefunded",
            Self::StockReserved => "StockReserved",
            Self::StockRejected { .. } => "StockRejected",
            Self::StockReleased => "StockReleased",
            Self::OrderConfirmed => "OrderConfirmed",
            Self::OrderRejected { .. } => "OrderRejected",
        }
    }

    /// A line for the customer.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::OrderCreated(created) => {
                let pieces: u64 = created.items.iter().map(|line| u64::from(line.quantity)).sum();
                format!("ordered {pieces} {}", if pieces == 1 { "piece" } else { "pieces" })
            }
            Self::PaymentCompleted { payment_id, .. } => format!("paid, {payment_id}"),
            Self::PaymentFailed { reason } => format!("the bank said no: {reason}"),
            Self::PaymentRefunded { .. } => "paid back".to_owned(),
            Self::StockReserved => "set aside".to_owned(),
            Self::StockRejected { reason, .. } | Self::OrderRejected { reason, .. } => {
                reason.clone()
            }
            Self::StockReleased => "put back on the shelf".to_owned(),
            Self::OrderConfirmed => "confirmed".to_owned(),
        }
    }
}

/// How an order stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    #[default]
    Pending,
    Confirmed,
    Rejected {
        reason: String,
    },
}

/// What another service said: it has done its part, or why it will not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Refused(String),
}

/// An order, replayed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Order {
    /// How many facts it is made of: the version that the next append expects.
    pub(super) version: u32,
    pub(super) created: Option<Created>,
    pub(super) status: Status,
    payment: Option<Answer>,
    stock: Option<Answer>,
    refunded: bool,
    released: bool,
}

impl Order {
    /// The order as it stands after `facts`.
    pub(super) fn replay<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Self {
        let mut order = Self::default();
        facts.into_iter().for_each(|fact| order.apply(fact));
        order
    }

    /// Takes in what happened. It was decided before: nothing is refused here.
    pub(super) fn apply(&mut self, fact: &Fact) {
        self.version += 1;
        match fact {
            Fact::OrderCreated(created) => self.created = Some(created.clone()),
            Fact::PaymentCompleted { .. } => self.payment = Some(Answer::Done),
            Fact::PaymentFailed { reason } => self.payment = Some(Answer::Refused(reason.clone())),
            Fact::StockReserved => self.stock = Some(Answer::Done),
            Fact::StockRejected { reason, .. } => {
                self.stock = Some(Answer::Refused(reason.clone()))
            }
            Fact::PaymentRefunded { .. } => self.refunded = true,
            Fact::StockReleased => self.released = true,
            Fact::OrderConfirmed => self.status = Status::Confirmed,
            Fact::OrderRejected { reason, .. } => {
                self.status = Status::Rejected { reason: reason.clone() };
            }
        }
    }

    /// Whether `fact` tells this order something that it has not heard before.
    pub(super) fn is_news(&self, fact: &Fact) -> bool {
        match fact {
            Fact::OrderCreated(_) => self.created.is_none(),
            Fact::PaymentCompleted { .. } | Fact::PaymentFailed { .. } => self.payment.is_none(),
            Fact::StockReserved | Fact::StockRejected { .. } => self.stock.is_none(),
            Fact::PaymentRefunded { .. } => !self.refunded,
            Fact::StockReleased => !self.released,
            Fact::OrderConfirmed | Fact::OrderRejected { .. } => self.status == Status::Pending,
        }
    }

    /// How the order ends, once both payment and stock have answered.
    pub(super) fn ending(&self) -> Option<Fact> {
        if self.status != Status::Pending {
            return None;
        }
        let (payment, stock) = (self.payment.as_ref()?, self.stock.as_ref()?);
        let reason = match (payment, stock) {
            (Answer::Done, Answer::Done) => return Some(Fact::OrderConfirmed),
            (Answer::Refused(reason), Answer::Done) | (Answer::Done, Answer::Refused(reason)) => {
                reason.clone()
            }
            (Answer::Refused(payment), Answer::Refused(stock)) => format!("{payment}; {stock}"),
        };
        let (refund, release) = (*payment == Answer::Done, *stock == Answer::Done);
        Some(Fact::OrderRejected { reason, refund, release })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid() -> Fact {
        Fact::PaymentCompleted { payment_id: PaymentId("ch_1".into()), amount: 100 }
    }

    fn broke() -> Fact {
        Fact::PaymentFailed { reason: "insufficient funds".into() }
    }

    fn sold_out() -> Fact {
        Fact::StockRejected { reason: "sold out".into(), sku: Sku("tea".into()) }
    }

    fn rejected(reason: &str, refund: bool, release: bool) -> Option<Fact> {
        Some(Fact::OrderRejected { reason: reason.into(), refund, release })
    }

    #[test]
    fn an_order_waits_for_both_answers_in_either_order() {
        assert_eq!(Order::replay([&paid()]).ending(), None);
        assert_eq!(Order::replay([&Fact::StockReserved]).ending(), None);
        assert_eq!(Order::replay([&broke()]).ending(), None);
        for facts in [[paid(), Fact::StockReserved], [Fact::StockReserved, paid()]] {
            assert_eq!(Order::replay(&facts).ending(), Some(Fact::OrderConfirmed));
        }
    }

    #[test]
    fn what_was_done_before_a_rejection_is_undone_and_nothing_else() {
        let order = Order::replay([&broke(), &Fact::StockReserved]);
        assert_eq!(order.ending(), rejected("insufficient funds", false, true));
        let order = Order::replay([&sold_out(), &paid()]);
        assert_eq!(order.ending(), rejected("sold out", true, false));
        let order = Order::replay([&broke(), &sold_out()]);
        assert_eq!(order.ending(), rejected("insufficient funds; sold out", false, false));
    }

    #[test]
    fn a_second_answer_is_no_news_and_an_end_is_final() {
        let mut order = Order::replay([&paid(), &Fact::StockReserved]);
        assert!(!order.is_news(&broke()) && !order.is_news(&sold_out()));
        order.apply(&Fact::OrderConfirmed);
        assert_eq!((order.ending(), order.version), (None, 3));
    }
}
