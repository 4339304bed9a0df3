//! The reference shop: five services that are joined by events alone.
//!
//! `shop` serves the shop; `shop bank` is the stand-in for a bank that it starts for itself.

mod addressee;
mod app;
mod bank;
mod config;
mod console;
mod door;
mod events;
mod extract;
mod guard;
mod ledger;
mod live;
mod log;
mod page;
mod problem;
mod proof;
mod receipts;
mod sabotage;
mod services;
mod supervisor;
#[cfg(test)]
mod testing;
mod time_text;

use std::convert::Infallible;
use std::io::Write;
use std::process::ExitCode;

use dhara::world::{Task, World};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use config::{Command, Config};

/// The exit code of a shop that ended at once, with its work as a kill leaves it.
const TOLD_TWICE: i32 = 130;

fn main() -> ExitCode {
    let command = config::read(std::env::args_os().skip(1), |name| std::env::var_os(name));
    let outcome = command.and_then(|command| match command {
        Command::Print(text) => print(&text),
        Command::Bank(data) => {
            log::start(&World::real());
            let bank = bank::run(bank::Options { data }, World::real());
            run(Builder::new_current_thread(), bank)
        }
        Command::Serve(config) => {
            log::start(&World::real());
            run(Builder::new_multi_thread(), serve(config))
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            // A message of several lines would not be the one line that it is to be.
            let line = what.split_whitespace().collect::<Vec<_>>().join(" ");
            drop(writeln!(std::io::stderr(), "shop: {line}"));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<(), String> {
    writeln!(std::io::stdout(), "{}", text.trim_end()).map_err(|error| error.to_string())
}

fn run(mut builder: Builder, work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = builder.enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
    let outcome = runtime.block_on(work);
    // A thread that waits for the standard input would hold the process up.
    Runtime::shutdown_background(runtime);
    outcome
}

async fn serve(config: Config) -> Result<(), String> {
    let world = World::real();
    let stopped = stop_signal(&world)?;
    let app = app::App::open(&config, &world).await?;
    let address = app.address()?;
    drop(writeln!(std::io::stdout(), "The shop is open: http://{address}"));
    app.serve(stopped).await
}

/// Done when the process is told to end: SIGTERM, Ctrl-C. Told a second time, it ends at once.
fn stop_signal(world: &World) -> Result<impl Future<Output = ()> + use<>, String> {
    let listen = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let (tell, told) = oneshot::channel();
    let listening = world.spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
        };
        next().await;
        // A shop that has not opened yet, or has ended, hears of it in time or not at all.
        let _ = tell.send(());
        next().await;
        drop(writeln!(std::io::stderr(), "shop: ended at once, as it was told twice"));
        std::process::exit(TOLD_TWICE);
    });
    drop::<Task<Infallible>>(listening);
    Ok(async move { drop(told.await) })
}
