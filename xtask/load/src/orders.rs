//! The orders that are sent: as different as customers are, and the same in every run.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::Outcome;

/// What the shop sells, by SKU.
#[derive(Debug)]
pub(crate) struct Catalogue(Vec<String>);

impl Catalogue {
    /// Reads the answer of `GET /inventory`. What there is too little of for `orders` orders is
    /// left out: an order that is rejected takes another path through the shop.
    pub(crate) fn read(answer: &Value, orders: u64) -> Outcome<Catalogue> {
        let skus: Vec<String> = answer
            .get("items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|item| item.get("available").and_then(Value::as_u64) >= Some(orders))
            .filter_map(|item| item.get("sku")?.as_str().map(str::to_owned))
            .collect();
        if skus.is_empty() {
            return Err(format!("the shop has not enough of anything for {orders} orders").into());
        }
        Ok(Catalogue(skus))
    }

    /// The body of the order `number`: one to three items of one or two pieces each.
    pub(crate) fn order(&self, number: u64) -> Bytes {
        let mut dice = Dice(number);
        let first = dice.below(self.0.len());
        let count = (1 + dice.below(3)).min(self.0.len());
        // Neighbours in the catalogue, so that no SKU stands twice in an order.
        let items: Vec<Value> = (self.0.iter().cycle().skip(first).take(count))
            .map(|sku| json!({ "sku": sku, "quantity": 1 + dice.below(2) }))
            .collect();
        let user = format!("user_{}", dice.below(10_000));
        Bytes::from(json!({ "userId": user, "items": items }).to_string())
    }
}

/// SplitMix64: nothing hangs on how random it is.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let rolled = (mixed ^ (mixed >> 31)) % (limit.max(1) as u64);
        usize::try_from(rolled).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(stock: &[(&str, u64)]) -> Value {
        let item = |(sku, available): &(&str, u64)| json!({ "sku": sku, "available": available });
        json!({ "items": stock.iter().map(item).collect::<Vec<_>>() })
    }

    #[test]
    fn orders_are_the_same_in_every_run_and_name_no_sku_twice() {
        let catalogue =
            Catalogue::read(&inventory(&[("a", 200), ("b", 300), ("rare", 10)]), 200).unwrap();
        for number in 0..200 {
            assert_eq!(catalogue.order(number), catalogue.order(number));
            let order: Value = serde_json::from_slice(&catalogue.order(number)).unwrap();
            let skus: Vec<_> =
                order["items"].as_array().unwrap().iter().map(|item| &item["sku"]).collect();
            assert!(!skus.iter().any(|sku| **sku == "rare"), "{order}");
            assert!(skus.len() == 1 || skus.len() == 2 && skus[0] != skus[1], "{order}");
        }
    }

    #[test]
    fn an_empty_shop_is_an_error() {
        assert!(Catalogue::read(&inventory(&[]), 1).is_err());
        assert!(Catalogue::read(&inventory(&[("rare", 10)]), 11).is_err());
    }
}
