//! What a shop costs that nobody visits.

use std::time::{Duration, Instant};

use super::super::Bench;
use super::super::shop::{Data, Shop, load};
use super::super::table::{Goal, Row};
use crate::Outcome;

const REST: Duration = Duration::from_secs(3);
const WATCH: Duration = Duration::from_secs(10);

pub(super) fn measure(bench: &Bench) -> Outcome<Vec<Row>> {
    let (program, generator) = (bench.shop()?, bench.generator()?);
    bench.repeat(|| {
        let data = Data::new(bench);
        let shop = Shop::start(&program, &data.0)?;
        // A shop that has never worked would look better than it is.
        load(&generator, shop.at, &["--orders", "1000", "--connections", "16"])?;
        shop.settled(WATCH)?;
        std::thread::sleep(REST);
        let (before, began) = (shop.usage(), Instant::now());
        std::thread::sleep(WATCH);
        let (after, took) = (shop.usage(), began.elapsed());
        shop.stop()?;
        let share = (after.cpu_seconds - before.cpu_seconds) / took.as_secs_f64() * 100.0;
        Ok(vec![
            Row::new("idle memory of shop and bank", after.megabytes, "MB")
                .goal(Goal::AtMost(60.0)),
            Row::new("idle processor of shop and bank", share, "% of a core")
                .goal(Goal::AtMost(1.0)),
        ])
    })
}
