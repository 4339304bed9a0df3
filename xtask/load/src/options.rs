//! What the command line asks for.

use std::time::Duration;

use crate::Outcome;

/// How the generator learns that an order has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Every order, through the shop's stream of events.
    Stream,
    /// Some twenty orders a second, by asking for them until they have ended.
    Sample,
    /// Not at all.
    Nothing,
}

/// The load to make.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// `host:port` of the shop.
    pub(crate) at: String,
    /// Orders a second; none for as many as the connections take.
    pub(crate) rate: Option<u32>,
    /// How many orders in all.
    pub(crate) orders: u64,
    /// Orders that are due in this first while are sent and not measured.
    pub(crate) warm: Duration,
    pub(crate) connections: usize,
    pub(crate) follow: Follow,
}

const HELP: &str = "\
shop-load --at HOST:PORT [--rate N --seconds N | --orders N] [--warm SECONDS]
          [--connections N] [--follow stream|sample|nothing]";

impl Options {
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Outcome<Options> {
        let mut options = Options {
            at: String::new(),
            rate: None,
            orders: 0,
            warm: Duration::ZERO,
            connections: 64,
            follow: Follow::Nothing,
        };
        let mut seconds = 0;
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let value =
                arguments.next().ok_or_else(|| format!("`{name}` needs a value\n{HELP}"))?;
            match name.as_str() {
                "--at" => options.at = value,
                "--rate" => options.rate = Some(number(&name, &value)?),
                "--seconds" => seconds = number(&name, &value)?,
                "--orders" => options.orders = number(&name, &value)?,
                "--warm" => options.warm = Duration::from_secs(number(&name, &value)?),
                "--connections" => options.connections = number(&name, &value)?,
                "--follow" => options.follow = follow(&value)?,
                _ => return Err(format!("`{name}` is no option\n{HELP}").into()),
            }
        }
        if let Some(rate) = options.rate {
            options.orders = u64::from(rate) * (seconds + options.warm.as_secs());
        }
        if options.at.is_empty() || options.orders == 0 || options.connections == 0 {
            return Err(format!("nothing to do\n{HELP}").into());
        }
        Ok(options)
    }
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Outcome<N> {
    value.parse().map_err(|_| format!("`{name}` takes a number, not `{value}`").into())
}

fn follow(value: &str) -> Outcome<Follow> {
    match value {
        "stream" => Ok(Follow::Stream),
        "sample" => Ok(Follow::Sample),
        "nothing" => Ok(Follow::Nothing),
        _ => Err(format!("`--follow` takes stream, sample or nothing, not `{value}`").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Outcome<Options> {
        Options::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_warm_up_comes_on_top_of_the_measured_time() {
        let options = read("--at a:1 --rate 200 --seconds 30 --warm 2 --follow stream").unwrap();
        assert_eq!(options.orders, 6_400);
        assert_eq!(options.follow, Follow::Stream);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["", "--at a:1", "--at a:1 --orders", "--at a:1 --orders x", "--what 1"] {
            assert!(read(line).is_err(), "{line:?} passed");
        }
    }
}
