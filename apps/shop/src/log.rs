//! What goes wrong, told on the standard error: one line for each event, warnings and errors unless
//! `RUST_LOG` asks for something else, as in `RUST_LOG=dhara=debug,warn`.
//!
//! A bank that fails makes a warning of every retry. So that they drown nothing and hold nothing up,
//! only a few of the same kind are told each second, with the number of those that were left out.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dhara::world::{Timestamp, World};
use tracing::callsite::Identifier;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How many warnings of the same kind are told each second.
const MOST: u64 = 3;
const WINDOW: Duration = Duration::from_secs(1);

/// Begins to tell.
pub(crate) fn start(world: &World) {
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let parsed = wanted.as_ref().map(|wanted| wanted.parse::<Targets>());
    let (targets, trouble) = match parsed {
        Some(Ok(targets)) => (targets, None),
        Some(Err(error)) => (usual(), Some(error)),
        None => (usual(), None),
    };
    // Whoever asks for more is given all of it.
    let most = if wanted.is_some() { u64::MAX } else { MOST };
    let sparing = Sparing { world: world.clone(), most, told: Mutex::default() };
    let lines = fmt::layer().with_ansi(false).with_writer(sparing);
    // A second listener has been set up by nobody else.
    drop(tracing_subscriber::registry().with(lines).with(targets).try_init());
    if let Some(error) = trouble {
        tracing::warn!(%error, "RUST_LOG cannot be read; warnings and errors are shown");
    }
}

fn usual() -> Targets {
    Targets::new().with_default(Level::WARN)
}

/// Tells errors always, and of everything else only some of the same kind in each second.
struct Sparing {
    world: World,
    most: u64,
    told: Mutex<HashMap<Identifier, Told>>,
}

/// How much was told of one kind.
#[derive(Clone, Copy, Default)]
struct Told {
    since: Timestamp,
    /// How many came since then, told or not.
    count: u64,
}

impl Told {
    /// Whether one more is told, and how many were left out before it.
    fn more(&mut self, now: Timestamp, most: u64) -> Option<u64> {
        let mut left_out = 0;
        if now.since(self.since) >= WINDOW || now < self.since {
            left_out = self.count.saturating_sub(most);
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        (self.count <= most).then_some(left_out)
    }
}

impl<'a> MakeWriter<'a> for Sparing {
    type Writer = Lines<Box<dyn Write>>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines { out: Box::new(io::stderr()), left_out: 0 }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self::Writer {
        if *event.level() == Level::ERROR {
            return self.make_writer();
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let more = told.entry(event.callsite()).or_default().more(self.world.now(), self.most);
        match more {
            Some(left_out) => Lines { left_out, ..self.make_writer() },
            None => Lines { out: Box::new(io::sink()), left_out: 0 },
        }
    }
}

/// Writes each event, which comes in one piece, as one line.
struct Lines<W> {
    out: W,
    /// How many of the same kind were left out before it.
    left_out: u64,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        let mut line: Vec<u8> =
            text.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }).collect();
        if self.left_out > 0 {
            write!(line, " ({} like it were left out before)", self.left_out)?;
        }
        line.push(b'\n');
        self.out.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let mut out = Vec::new();
        let mut lines = Lines { out: &mut out, left_out: 0 };
        lines.write_all(b"WARN a bank said\nERROR forged \x1b[31m\n").unwrap();
        lines.left_out = 7;
        lines.write_all(b"WARN again\n").unwrap();
        let expected = "WARN a bank said ERROR forged  [31m\n\
                        WARN again (7 like it were left out before)\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_flood_of_the_same_kind_is_told_in_a_few_lines_with_its_number() {
        let (mut told, start) = (Told::default(), Timestamp::from_millis(1_000_000));
        let more = (0..100).filter_map(|_| told.more(start, MOST)).collect::<Vec<_>>();
        assert_eq!(more, [0, 0, 0]);
        assert_eq!(told.more(start.plus(WINDOW), MOST), Some(97));
        assert_eq!(told.more(start.plus(WINDOW), MOST), Some(0));
        assert_eq!(told.more(start, MOST), Some(0), "the clock was set back");
    }
}
