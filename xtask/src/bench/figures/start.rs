//! From the start of the process to the first order that it accepts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::super::Bench;
use super::super::shop::{Data, Shop, load, number, small_order};
use super::super::table::{Goal, Row};
use crate::Outcome;

/// How long the shop may take to finish what is under way when its folder is full.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn empty(bench: &Bench) -> Outcome<Vec<Row>> {
    let program = bench.shop()?;
    let floor = help(&program)?;
    let order = {
        let data = Data::new(bench);
        learn(&program, &data.0)?
    };
    bench.repeat(|| {
        let data = Data::new(bench);
        Ok(vec![row("empty folder", &program, &data.0, &order, floor)?.goal(Goal::AtMost(200.0))])
    })
}

pub(super) fn full(bench: &Bench) -> Outcome<Vec<Row>> {
    let program = bench.shop()?;
    let floor = help(&program)?;
    let folder = filled(bench, &program)?;
    let order = learn(&program, &folder)?;
    let name = format!("{} orders", bench.options.orders);
    bench.repeat(|| {
        Ok(vec![row(&name, &program, &folder, &order, floor)?.goal(Goal::AtMost(1_000.0))])
    })
}

/// An order that the shop would accept.
fn learn(program: &Path, data: &Path) -> Outcome<String> {
    let shop = Shop::start(program, data)?;
    let order = small_order(&shop)?;
    shop.stop()?;
    Ok(order)
}

fn row(name: &str, program: &Path, data: &Path, order: &str, floor: f64) -> Outcome<Row> {
    let mut shop = Shop::launch(program, data)?;
    let took = shop.first_accepted(order)?;
    shop.settled(PATIENCE)?;
    shop.stop()?;
    let name = format!("start to first order accepted, {name}");
    Ok(Row::new(name, took.as_secs_f64() * 1e3, "ms").floor("shop --help", floor))
}

/// Milliseconds that the program takes to do nothing.
fn help(program: &Path) -> Outcome<f64> {
    let mut times = Vec::new();
    for _ in 0..9 {
        let began = Instant::now();
        Command::new(program)
            .arg("--help")
            .stdout(Stdio::null())
            .status()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(4).copied().unwrap_or(f64::NAN))
}

/// A folder with the orders in it, kept for the next time.
fn filled(bench: &Bench, program: &Path) -> Outcome<PathBuf> {
    let orders = bench.options.orders;
    let folder = bench.folder.join(format!("orders-{orders}"));
    let mark = bench.folder.join(format!("orders-{orders}.filled"));
    if mark.is_file() && !bench.options.fresh {
        return Ok(folder);
    }
    let told = |error: std::io::Error| format!("cannot make {}: {error}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(told)?;
    }
    eprintln!("filling {} with {orders} orders, once", folder.display());
    let generator = bench.generator()?;
    let shop = Shop::start(program, &folder)?;
    let count = orders.to_string();
    let found = load(&generator, shop.at, &["--orders", &count, "--connections", "128"])?;
    eprintln!("{:.0} orders a second", number(&found, "sent") / number(&found, "seconds"));
    shop.settled(PATIENCE)?;
    shop.stop()?;
    std::fs::write(&mark, "").map_err(told)?;
    Ok(folder)
}
