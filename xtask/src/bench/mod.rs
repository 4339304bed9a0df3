//! `cargo xtask bench`: every figure beside its goal and its floor.

mod figures;
mod floor;
mod http;
mod options;
mod process;
mod shop;
mod table;

use std::path::PathBuf;

use crate::Outcome;
use crate::command;
use crate::workspace::{Workspace, cache};
use figures::FIGURES;
use floor::Floor;
use options::Options;
use table::Row;

/// What the figures share.
struct Bench {
    workspace: Workspace,
    options: Options,
    /// Where data is written: on the disk whose floor is measured.
    folder: PathBuf,
    floor: Floor,
}

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print!("{}", options::help());
        return Ok(());
    }
    let options = Options::read(arguments)?;
    let folder = cache()?.join("bench");
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let floor = floor::measure(&folder)?;
    let bench = Bench { workspace: Workspace::load()?, options, folder, floor };
    let mut rows = bench.floor.rows();
    let mut failures = Vec::new();
    for figure in FIGURES.iter().filter(|figure| bench.options.wants(figure)) {
        eprintln!("==== {}", figure.name);
        match (figure.measure)(&bench) {
            Ok(more) => rows.extend(more),
            Err(error) => failures.push(format!("{}: {error}", figure.name)),
        }
    }
    println!("\n{}", table::render(&rows));
    println!("{}", bench.machine());
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

impl Bench {
    /// Measures `runs` times, each run giving the same rows, and puts the runs together.
    fn repeat(&self, mut run: impl FnMut() -> Outcome<Vec<Row>>) -> Outcome<Vec<Row>> {
        let mut rows: Vec<Row> = Vec::new();
        for number in 1..=self.options.runs {
            eprintln!("run {number} of {}", self.options.runs);
            table::gather(&mut rows, run()?);
        }
        Ok(rows)
    }

    /// The shop that is measured.
    fn shop(&self) -> Outcome<PathBuf> {
        self.options.shop.clone().map_or_else(|| self.build("shop"), Ok)
    }

    /// The program that loads it.
    fn generator(&self) -> Outcome<PathBuf> {
        self.build("shop-load")
    }

    /// Builds a program of ours for release and tells where it is.
    fn build(&self, package: &str) -> Outcome<PathBuf> {
        let mut cargo = command::cargo(&self.workspace.root);
        command::run(cargo.args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--package",
            package,
        ]))?;
        Ok(self.workspace.target.join("release").join(package))
    }

    /// What the figures were measured on.
    fn machine(&self) -> String {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let model = model.unwrap_or_else(|| "an unnamed processor".to_owned());
        format!("{cores} cores of {model}; medians of {} runs", self.options.runs)
    }
}
