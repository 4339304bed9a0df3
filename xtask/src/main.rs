//! The project's own chores: `cargo xtask test`, `bench`, `torture` and `fuzz`.

mod bench;
mod command;
mod fuzz;
mod layers;
mod licences;
mod runs;
mod services;
mod test;
mod tools;
mod torture;
mod workspace;

use std::process::ExitCode;

/// What a chore ends with. The message says what happened, to what, and what to do.
type Outcome<T = ()> = Result<T, String>;

const HELP: &str = "\
The project's own chores.

  cargo xtask test [--deep] [--without NAME]... [--only PART]
      Everything that a change must pass, in order. `--deep` runs the full counts.
      `--without NAME` leaves out a part, or a suite whose tools this machine cannot have.
      `cargo xtask test --help` lists the parts and the suites.

  cargo xtask bench [NAME]... [--runs N] [--rate N] [--seconds N] [--orders N] ...
      Measures, and prints each figure beside its goal and its floor.
      `cargo xtask bench --help` lists the figures.

  cargo xtask torture power-cut|kill [--times N] [--seed S] ...
      Cuts the log off under load, and checks what it left.

  cargo xtask fuzz [TARGET] [--runs N] [--seconds N]
      Feeds the readers of the log's files with bytes that nobody wrote.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let chore = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let outcome = match chore.as_deref() {
        Some("test") => test::run(&rest),
        Some("bench") => bench::run(&rest).map(|()| ExitCode::SUCCESS),
        Some("torture") => torture::run(&rest).map(|()| ExitCode::SUCCESS),
        Some("fuzz") => fuzz::run(&rest).map(|()| ExitCode::SUCCESS),
        None | Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => Err(format!("there is no chore `{other}`\n\n{HELP}")),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("{message}");
        ExitCode::FAILURE
    })
}
