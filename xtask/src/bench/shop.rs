//! A shop that is started, loaded and stopped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::{self, Usage};
use super::{Bench, http};
use crate::Outcome;

/// How long a shop may take to answer after its start, or to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running shop. Dropped, it is killed.
pub(super) struct Shop {
    child: Child,
    pub(super) at: SocketAddr,
    log: PathBuf,
    began: Instant,
}

impl Shop {
    /// Starts `program` on `data`; it need not answer yet.
    pub(super) fn launch(program: &Path, data: &Path) -> Outcome<Shop> {
        let at = free_address()?;
        let log = data.with_extension("log");
        let told = |error: std::io::Error| format!("cannot start {}: {error}", program.display());
        let output = File::create(&log).map_err(told)?;
        let errors = output.try_clone().map_err(told)?;
        let mut command = Command::new(program);
        command.args(["--listen", &at.to_string(), "--data"]).arg(data);
        let began = Instant::now();
        let child =
            command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().map_err(told)?;
        Ok(Shop { child, at, log, began })
    }

    /// Starts `program` and waits until it answers.
    pub(super) fn start(program: &Path, data: &Path) -> Outcome<Shop> {
        let mut shop = Shop::launch(program, data)?;
        shop.until(Duration::from_millis(20), |at| {
            http::ask(at, "GET", "/health", "").is_ok_and(|(status, _)| status == 200)
        })?;
        Ok(shop)
    }

    /// Sends `order` until it is accepted; the time since the process was started.
    pub(super) fn first_accepted(&mut self, order: &str) -> Outcome<Duration> {
        self.until(Duration::from_millis(1), |at| {
            http::ask(at, "POST", "/orders", order).is_ok_and(|(status, _)| status == 201)
        })?;
        Ok(self.began.elapsed())
    }

    fn until(&mut self, pause: Duration, done: impl Fn(SocketAddr) -> bool) -> Outcome {
        loop {
            if done(self.at) {
                return Ok(());
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || self.began.elapsed() > PATIENCE {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<&str> = said.lines().rev().take(10).collect();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                let how = ended
                    .map_or("does not answer".to_owned(), |status| format!("ended with {status}"));
                return Err(format!("the shop {how}; it said:\n{tail}"));
            }
            std::thread::sleep(pause);
        }
    }

    pub(super) fn get(&self, path: &str) -> Outcome<Value> {
        http::get(self.at, path)
    }

    /// What the shop and its stand-in bank use.
    pub(super) fn usage(&self) -> Usage {
        process::usage(self.child.id())
    }

    /// Waits until no accepted order is under way, and gives the proof and the time it took.
    pub(super) fn settled(&self, patience: Duration) -> Outcome<(Value, Duration)> {
        let began = Instant::now();
        loop {
            let proof = self.get("/proof")?;
            let ended = number(&proof, "confirmed") + number(&proof, "rejected");
            if ended >= number(&proof, "accepted") {
                return Ok((proof, began.elapsed()));
            }
            if began.elapsed() > patience {
                return Err(format!("orders are still under way after {patience:?}: {proof}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the shop as an operator does, and waits for it.
    pub(super) fn stop(mut self) -> Outcome {
        crate::command::read(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("the shop did not end within {PATIENCE:?} after SIGTERM"))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of data for one run, removed with its log when it is dropped.
pub(super) struct Data(pub(super) PathBuf);

impl Data {
    pub(super) fn new(bench: &Bench) -> Data {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let data = Data(bench.folder.join(format!("run-{}-{number}", std::process::id())));
        data.remove();
        data
    }

    fn remove(&self) {
        // What cannot be removed is seen by whoever makes it again.
        let _ = std::fs::remove_dir_all(&self.0);
        let _ = std::fs::remove_file(self.0.with_extension("log"));
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Runs the load generator against `at`, and reads what it found.
pub(super) fn load(generator: &Path, at: SocketAddr, arguments: &[&str]) -> Outcome<Value> {
    let mut command = Command::new(generator);
    command.args(["--at", &at.to_string()]).args(arguments);
    let printed = crate::command::read(&mut command)?;
    serde_json::from_str(&printed)
        .map_err(|error| format!("the load generator printed no JSON: {error}"))
}

/// An order of one piece of what the shop names first.
pub(super) fn small_order(shop: &Shop) -> Outcome<String> {
    let products = shop.get("/products")?;
    let sku = products.pointer("/products/0/sku").and_then(Value::as_str);
    let sku = sku.ok_or("the shop sells nothing")?;
    Ok(serde_json::json!({ "userId": "user_456", "items": [{ "sku": sku, "quantity": 1 }] })
        .to_string())
}

/// The number that stands at `member`, which may be a path with slashes; 0 when there is none.
pub(super) fn number(value: &Value, member: &str) -> f64 {
    value.pointer(&format!("/{member}")).and_then(Value::as_f64).unwrap_or(0.0)
}

fn free_address() -> Outcome<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no port is free: {error}"))
}
