//! From before an order is sent to when an outside client sees it confirmed.

use serde_json::Value;

use super::super::Bench;
use super::super::shop::{Data, Shop, load, number};
use super::super::table::{Goal, Row};
use crate::Outcome;

const RATE: &str = "200";
const SECONDS: u32 = 30;

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    let (shop, generator) = (bench.shop()?, bench.generator()?);
    let seconds = bench.options.seconds.unwrap_or(SECONDS).to_string();
    bench.repeat(|| {
        let data = Data::new(bench);
        let shop = Shop::start(&shop, &data.0)?;
        let arguments =
            ["--rate", RATE, "--seconds", &seconds, "--warm", "3", "--follow", "stream"];
        let found = load(&generator, shop.at, &arguments)?;
        whole(&found)?;
        shop.stop()?;
        Ok(rows(bench, &found))
    })
}

fn rows(bench: &Bench, found: &Value) -> Vec<Row> {
    let milliseconds = |member: &str| number(found, member) / 1_000.0;
    let row = |name: &str, member: &str, goal, floor: (&str, f64)| {
        Row::new(format!("{name}, 200 orders/s"), milliseconds(member), "ms")
            .goal(goal)
            .floor(floor.0, floor.1)
    };
    let p50 = ("sync p50", bench.floor.p50);
    let p99 = ("sync p99", bench.floor.p99);
    vec![
        row("POST to confirmed p50", "confirmed/p50", Goal::AtMost(5.0), p50),
        row("POST to confirmed p99", "confirmed/p99", Goal::AtMost(50.0), p99),
        row("POST to 201 p50", "accepted/p50", Goal::None, p50),
        row("POST to 201 p99", "accepted/p99", Goal::None, p99),
    ]
}

/// A load in which something failed or vanished measures nothing.
pub(super) fn whole(found: &Value) -> Outcome {
    let confirmed = number(found, "confirmed/count");
    if number(found, "errors") > 0.0 || number(found, "unseen") > 0.0 || confirmed == 0.0 {
        return Err(format!("orders failed, or were never seen to end: {found}"));
    }
    if number(found, "rejected") > confirmed / 100.0 {
        return Err(format!(
            "over 1 % of the orders were rejected, which is another path: {found}"
        ));
    }
    Ok(())
}
