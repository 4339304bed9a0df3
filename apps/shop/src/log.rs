//! What goes wrong, told on the standard error: one line for each event, warnings and errors unless
//! `RUST_LOG` asks for something else, as in `RUST_LOG=dhara=debug,warn`.

use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to tell.
pub(crate) fn start() {
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let parsed = wanted.as_ref().map(|wanted| wanted.parse::<Targets>());
    let (targets, trouble) = match parsed {
        Some(Ok(targets)) => (targets, None),
        Some(Err(error)) => (usual(), Some(error)),
        None => (usual(), None),
    };
    let lines = fmt::layer().with_ansi(false).with_writer(|| Lines(io::stderr()));
    // A second listener has been set up by nobody else.
    drop(tracing_subscriber::registry().with(lines).with(targets).try_init());
    if let Some(error) = trouble {
        tracing::warn!(%error, "RUST_LOG cannot be read; warnings and errors are shown");
    }
}

fn usual() -> Targets {
    Targets::new().with_default(Level::WARN)
}

/// Writes each event, which comes in one piece, as one line.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        let mut line: Vec<u8> =
            text.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }).collect();
        line.push(b'\n');
        self.0.write_all(&line)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_it_says() {
        let mut out = Vec::new();
        Lines(&mut out).write_all(b"WARN a bank said\nERROR forged \x1b[31m\n").unwrap();
        assert_eq!(out, b"WARN a bank said ERROR forged  [31m\n");
    }
}
