//! Real servers for the suites that need one: started on a free port with their data in a folder
//! of the run, reached from this machine alone, and stopped by their own process id.

mod postgres;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) use postgres::POSTGRES;

use crate::{Outcome, command};

/// A server that a suite needs.
pub(crate) struct Service {
    /// Makes sure that the server's programs are there.
    pub(crate) bring: fn() -> Outcome,
    pub(crate) start: fn() -> Outcome<Running>,
}

/// A server that runs until this goes.
pub(crate) struct Running {
    /// What the tests find in their environment: its URL, say.
    pub(crate) told: Vec<(&'static str, String)>,
    process: Child,
    /// The signal at which it ends at once and in good order.
    signal: &'static str,
    folder: PathBuf,
}

/// How long a server may take to end before it is killed.
const END_LIMIT: Duration = Duration::from_secs(20);

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.process.id().to_string();
        // Where the signal cannot be sent the process has ended, or is killed below.
        let _ = command::read(Command::new("kill").args([self.signal, &id]));
        let began = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && began.elapsed() < END_LIMIT {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A port that nobody listens on at the moment.
fn free_port() -> Outcome<u16> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no port is free on 127.0.0.1: {error}"))
}

/// A new folder for the data of `server`.
fn folder(server: &str) -> Outcome<PathBuf> {
    let folder = std::env::temp_dir().join(format!("dhara-{server}-{}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    Ok(folder)
}

/// Starts `command` with its output in the file `log`.
fn spawn(command: &mut Command, log: &Path) -> Outcome<Child> {
    let shown = command::line(command);
    eprintln!("$ {shown}");
    let failed = |error: std::io::Error| format!("cannot start `{shown}`: {error}");
    let out = std::fs::File::create(log).map_err(failed)?;
    let err = out.try_clone().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(failed)
}

/// Waits until `ready` says so; an error shows what the server wrote.
fn wait_until(
    running: &mut Running,
    log: &Path,
    limit: Duration,
    ready: impl Fn() -> bool,
) -> Outcome {
    let began = Instant::now();
    while !ready() {
        let ended = !matches!(running.process.try_wait(), Ok(None));
        if ended || began.elapsed() > limit {
            let wrote = std::fs::read_to_string(log).unwrap_or_default();
            let what = if ended { "ended" } else { "did not answer in time" };
            return Err(format!("the server {what}; it wrote:\n{}", wrote.trim_end()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
