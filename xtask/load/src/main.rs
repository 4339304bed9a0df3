//! An outside client that loads the shop and measures it.
//!
//! It is a process of its own, so that the processor time it costs can be told from the shop's.
//! What it finds it prints as one JSON object; `cargo xtask bench` makes tables of it.

mod client;
mod follow;
mod load;
mod options;
mod orders;
mod pace;
mod report;

use std::process::ExitCode;

use options::Options;

/// What a step of the work ends with.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome {
    let options = Options::read(std::env::args().skip(1))?;
    // One thread: what the generator costs stays small beside the shop, and easy to state.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(load::run(&options))?;
    println!("{report}");
    Ok(())
}
