//! A stand-in for a bank: a process of its own, spoken to over HTTP.
//!
//! It is the shop's own binary, run as `shop bank --data DIR`. It knows nothing of the shop: it
//! keeps its books in a ledger of its own, which is on disk before it answers, and remembers the
//! idempotency keys it was given for ever. It can be told to be slow, or to fail at a rate.

mod books;
mod child;
mod server;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dhara::world::{World, disk::Lock};

use books::Books;
pub(crate) use books::Summary;
pub(crate) use child::{BankProcess, Mode, ModeKind};

/// What the bank is started with.
pub(crate) struct Options {
    /// The folder of its ledger.
    pub(crate) data: PathBuf,
}

/// Runs the bank until its standard input closes: that happens too when whoever started it is
/// killed, so that no bank is ever left behind. It prints its address as its first line.
pub(crate) async fn run(options: Options, world: World) -> Result<(), String> {
    let explain = |what: &str, error: &dyn std::fmt::Display| {
        format!("cannot {what} the bank's folder {}: {error}", options.data.display())
    };
    world.disk().create_dir_all(&options.data).map_err(|e| explain("make", &e))?;
    let _lock = lock(&world, &options.data).await.map_err(|e| explain("lock", &e))?;
    let books = Books::open(&world, &options.data).map_err(|e| e.to_string())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(|e| format!("the bank cannot listen on 127.0.0.1: {e}"))?;
    let address = listener.local_addr().map_err(|e| format!("the bank has no address: {e}"))?;
    let orphaned = world.spawn_blocking(wait_for_end_of_input);
    let mut out = std::io::stdout();
    writeln!(out, "{address}").and_then(|()| out.flush()).map_err(|e| e.to_string())?;
    let serving = server::serve(listener, books, world.clone());
    tokio::select! {
        outcome = serving => outcome.map_err(|e| format!("the bank cannot serve: {e}")),
        _ = orphaned => Ok(()),
    }
}

fn wait_for_end_of_input() {
    let mut buffer = [0_u8; 64];
    let mut input = std::io::stdin().lock();
    while input.read(&mut buffer).is_ok_and(|read| read > 0) {}
}

/// An earlier bank on this folder ends soon after its owner, so the lock is worth waiting for.
async fn lock(world: &World, dir: &Path) -> std::io::Result<Box<dyn Lock>> {
    let path = dir.join("lock");
    for _ in 0..1000 {
        match world.disk().lock(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                world.sleep(Duration::from_millis(10)).await;
            }
            other => return other,
        }
    }
    world.disk().lock(&path)
}
