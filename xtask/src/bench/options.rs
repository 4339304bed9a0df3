//! What the command line of `bench` asks for.

use std::path::PathBuf;

use super::figures::{FIGURES, Figure};
use crate::Outcome;

/// The figures that are wanted, and how they are measured.
pub(super) struct Options {
    names: Vec<String>,
    pub(super) runs: u32,
    /// Orders a second of the sustained load.
    pub(super) rate: u32,
    /// How long a load lasts; none for each figure's own time.
    pub(super) seconds: Option<u32>,
    /// Orders in the full folder.
    pub(super) orders: u64,
    /// Whether the full folder is filled anew.
    pub(super) fresh: bool,
    /// Gigabytes of the largest log.
    pub(super) gigabytes: u64,
    /// Whether the figures of the log are measured on small ones, for a look.
    pub(super) quick: bool,
    /// A shop that was built elsewhere, to be measured instead of this workspace's.
    pub(super) shop: Option<PathBuf>,
}

impl Options {
    pub(super) fn read(arguments: &[String]) -> Outcome<Options> {
        let mut options = Options {
            names: Vec::new(),
            runs: 3,
            rate: 1_500,
            seconds: None,
            orders: 1_000_000,
            fresh: false,
            gigabytes: 10,
            quick: false,
            shop: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--runs" => options.runs = number(argument, arguments.next())?,
                "--rate" => options.rate = number(argument, arguments.next())?,
                "--seconds" => options.seconds = Some(number(argument, arguments.next())?),
                "--orders" => options.orders = number(argument, arguments.next())?,
                "--gigabytes" => options.gigabytes = number(argument, arguments.next())?,
                "--quick" => options.quick = true,
                "--fresh" => options.fresh = true,
                "--shop" => {
                    let path = arguments.next().ok_or("`--shop` takes the path of a program")?;
                    options.shop = Some(PathBuf::from(path));
                }
                name if FIGURES.iter().any(|figure| figure.name == name) => {
                    options.names.push(name.to_owned());
                }
                other => {
                    return Err(format!("there is no figure or option `{other}`\n\n{}", help()));
                }
            }
        }
        Ok(options)
    }

    /// Without names every figure is wanted but those that are measured on demand alone.
    pub(super) fn wants(&self, figure: &Figure) -> bool {
        if self.names.is_empty() {
            return figure.usual;
        }
        self.names.iter().any(|name| name == figure.name)
    }
}

/// A number that is not zero.
fn number<N: std::str::FromStr + Default + PartialEq>(
    option: &str,
    value: Option<&String>,
) -> Outcome<N> {
    value
        .and_then(|value| value.parse().ok())
        .filter(|number| *number != N::default())
        .ok_or_else(|| format!("`{option}` takes a number above zero"))
}

pub(super) fn help() -> String {
    let mut help = String::from(
        "cargo xtask bench [NAME]... [--runs N] [--rate N] [--seconds N] [--orders N] [--fresh]
                  [--gigabytes N] [--quick] [--shop PATH]\n\n",
    );
    for figure in FIGURES {
        let when = if figure.usual { "" } else { " (only when named)" };
        help += &format!("  {:<10} {}{when}\n", figure.name, figure.about);
    }
    help + "\n\
        --runs N      runs of each figure, of which the median is shown (3)\n\
        --rate N      orders a second of `sustained` (1500)\n\
        --seconds N   how long each load lasts (30 for `latency`, 60 for `sustained`)\n\
        --orders N    orders in the folder of `million` (1000000)\n\
        --fresh       fill that folder anew\n\
        --gigabytes N the largest log of `log` (10)\n\
        --quick       small logs and one run for `log`: a look, not a measurement\n\
        --shop PATH   measure this program instead of the workspace's\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(line: &str) -> Outcome<Vec<&'static str>> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let options = Options::read(&arguments)?;
        Ok(FIGURES
            .iter()
            .filter(|figure| options.wants(figure))
            .map(|figure| figure.name)
            .collect())
    }

    #[test]
    fn a_slow_figure_is_measured_only_when_named() {
        assert!(!wanted("").unwrap().contains(&"build"));
        assert_eq!(wanted("build --runs 1").unwrap(), ["build"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["speed", "--runs", "--runs 0", "--rate x"] {
            assert!(wanted(line).is_err(), "{line:?} passed");
        }
    }
}
