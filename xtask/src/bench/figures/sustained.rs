//! Whether a rate of orders holds: sent when they are due, whatever the shop answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::Bench;
use super::super::shop::{Data, Shop, load, number};
use super::super::table::{Goal, Row};
use super::latency::whole;
use crate::Outcome;

const SECONDS: u32 = 60;
const WARM: u32 = 5;
/// How long the shop may take to finish what is under way when the load ends.
const PATIENCE: Duration = Duration::from_secs(120);
/// So many events under way are nothing: without them a ratio would be made of noise.
const FEW: f64 = 200.0;

/// The share of a rate that counts as holding it: the last answers come after the time is over.
const IN_TIME: f64 = 0.995;

/// What was seen of the shop at one moment.
struct Sample {
    /// Events that some service has still to handle or to send.
    under_way: f64,
    megabytes: f64,
    cpu_seconds: f64,
    at: Instant,
}

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    let (shop, generator) = (bench.shop()?, bench.generator()?);
    let seconds = bench.options.seconds.unwrap_or(SECONDS).to_string();
    let (rate, warm) = (bench.options.rate.to_string(), WARM.to_string());
    bench.repeat(|| {
        let data = Data::new(bench);
        let shop = Shop::start(&shop, &data.0)?;
        let done = AtomicBool::new(false);
        let (found, samples) = std::thread::scope(|scope| {
            let sampler = scope.spawn(|| sample(&shop, &done));
            let arguments = [
                "--rate",
                &rate,
                "--seconds",
                &seconds,
                "--warm",
                &warm,
                "--connections",
                "256",
                "--follow",
                "sample",
            ];
            let found = load(&generator, shop.at, &arguments);
            done.store(true, Ordering::Relaxed);
            (found, sampler.join().unwrap_or_default())
        });
        let found = found?;
        let (proof, drained) = shop.settled(PATIENCE)?;
        shop.stop()?;
        kept(&proof)?;
        whole(&found)?;
        Ok(rows(bench, &found, &samples, drained))
    })
}

/// Looks at the shop every second until the load is `done`.
fn sample(shop: &Shop, done: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    let warm = Instant::now() + Duration::from_secs(u64::from(WARM));
    while !done.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_secs(1));
        // An overloaded shop may not answer in time; the other samples tell.
        let Ok(health) = shop.get("/health") else { continue };
        let usage = shop.usage();
        if Instant::now() > warm {
            samples.push(Sample {
                under_way: under_way(&health),
                megabytes: usage.megabytes,
                cpu_seconds: usage.cpu_seconds,
                at: Instant::now(),
            });
        }
    }
    samples
}

fn under_way(health: &Value) -> f64 {
    let services = health.get("services").and_then(Value::as_array);
    services
        .into_iter()
        .flatten()
        .map(|service| {
            ["lag", "retrying", "outbox"].iter().map(|member| number(service, member)).sum::<f64>()
        })
        .sum()
}

fn rows(bench: &Bench, found: &Value, samples: &[Sample], drained: Duration) -> Vec<Row> {
    let rate = bench.options.rate;
    let third = samples.len() / 3;
    let first: Vec<&Sample> = samples.iter().take(third.max(1)).collect();
    let last: Vec<&Sample> = samples.iter().rev().take(third.max(1)).collect();
    let mean = |part: &[&Sample], of: fn(&Sample) -> f64| {
        part.iter().map(|sample| of(sample)).sum::<f64>() / part.len().max(1) as f64
    };
    let under_way = |sample: &Sample| sample.under_way;
    let megabytes = |sample: &Sample| sample.megabytes;
    let seconds = number(found, "seconds");
    let sent = number(found, "sent") / seconds;
    let (last_under_way, last_megabytes) = (mean(&last, under_way), mean(&last, megabytes));
    let growth = (last_under_way + FEW) / (mean(&first, under_way) + FEW);
    let name = |what: &str| format!("{what}, {rate} orders/s");
    vec![
        Row::new(name("accepted in a second"), sent, "orders")
            .goal(Goal::AtLeast(f64::from(rate) * IN_TIME))
            .floor("syncs in a second", bench.floor.syncs_per_second()),
        Row::new(name("events under way, last third"), last_under_way, ""),
        Row::new(name("growth of them since the first third"), growth, "x").goal(Goal::AtMost(1.5)),
        Row::new(name("memory, last third"), last_megabytes, "MB"),
        Row::new(
            name("growth of it since the first third"),
            last_megabytes / mean(&first, megabytes),
            "x",
        )
        .goal(Goal::AtMost(1.25)),
        Row::new(name("until all had ended after the load"), drained.as_secs_f64(), "s")
            .goal(Goal::AtMost(2.0)),
        Row::new(name("due to 201 p50"), number(found, "accepted/p50") / 1e3, "ms")
            .floor("sync p50", bench.floor.p50),
        Row::new(name("due to 201 p99"), number(found, "accepted/p99") / 1e3, "ms")
            .floor("sync p99", bench.floor.p99),
        Row::new(name("due to confirmed p50"), number(found, "confirmed/p50") / 1e3, "ms"),
        Row::new(name("due to confirmed p99"), number(found, "confirmed/p99") / 1e3, "ms"),
        Row::new(name("processor of shop and bank"), cores(samples), "cores"),
        Row::new(name("processor of the load generator"), number(found, "cpuSeconds"), "s"),
    ]
}

fn cores(samples: &[Sample]) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return f64::NAN };
    (last.cpu_seconds - first.cpu_seconds) / last.at.duration_since(first.at).as_secs_f64()
}

/// A rate at which something is lost holds nothing.
fn kept(proof: &Value) -> Outcome {
    let broken =
        ["lost", "chargedTwice", "oversold"].iter().any(|member| number(proof, member) > 0.0);
    if broken { Err(format!("the proof failed: {proof}")) } else { Ok(()) }
}
