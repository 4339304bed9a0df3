//! Chromium's DevTools protocol over a pair of pipes: no driver, no port, no WebSocket.
//!
//! With `--remote-debugging-pipe` Chromium reads commands from file descriptor 3 and writes answers
//! and events to 4, each a JSON object that ends with a zero byte. A shell maps our two pipes there.

#![expect(clippy::indexing_slicing, reason = "a JSON value gives null for what it does not hold")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Failure, Folder, Outcome};

/// How long a single command may take; Chromium's start is the longest.
const COMMAND: Duration = Duration::from_secs(60);

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The `--no-sandbox` is for root in a container; the one page opened is our own.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-pipe",
    "about:blank",
];

/// A Chromium with one page, driven command by command.
pub(crate) struct DevTools {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    events: Vec<Value>,
    _profile: Folder,
}

impl DevTools {
    /// Starts Chromium with a profile of its own and attaches to its page.
    pub(crate) fn start() -> Outcome<Self> {
        let profile = Folder::new("chromium")?;
        let mut child = spawn(&browser()?, profile.path())?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure("Chromium was started without its pipes".into()));
        };
        let (send, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if send.send(message).is_err() {
                    break;
                }
            }
        });
        let mut tools = Self {
            child,
            commands,
            messages,
            session: None,
            last_id: 0,
            events: Vec::new(),
            _profile: profile,
        };
        tools.attach()?;
        Ok(tools)
    }

    fn attach(&mut self) -> Outcome {
        let targets = self.call("Target.getTargets", json!({}))?;
        let page = targets["targetInfos"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|target| target["type"] == "page");
        let id = page
            .map(|target| target["targetId"].clone())
            .ok_or(Failure("Chromium has no page".into()))?;
        let attached =
            self.call("Target.attachToTarget", json!({"targetId": id, "flatten": true}))?;
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(())
    }

    /// Sends one command and waits for its answer; events that come meanwhile are kept.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Outcome<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut command = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&command)?;
        bytes.push(0);
        self.commands.write_all(&bytes)?;
        self.commands.flush()?;
        let deadline = Instant::now() + COMMAND;
        loop {
            let mut message = self.next_message(method, deadline)?;
            if message["id"] != id {
                self.events.push(message);
            } else if message.get("error").is_some() {
                return Err(Failure(format!("{method}: {}", message["error"]["message"])));
            } else {
                return Ok(message["result"].take());
            }
        }
    }

    fn next_message(&mut self, method: &str, deadline: Instant) -> Outcome<Value> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.messages.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                Failure(format!("Chromium did not answer {method} in {COMMAND:?}"))
            }
            RecvTimeoutError::Disconnected => {
                Failure(format!("Chromium ended before it answered {method}"))
            }
        })
    }

    /// What the page has reported since the last time: exceptions, errors of its console and of
    /// Chromium about it (violations of the content policy, failed requests), by source and text.
    pub(crate) fn complaints(&mut self) -> Vec<(String, String)> {
        self.events.drain(..).filter_map(|event| complaint(&event)).collect()
    }
}

impl Drop for DevTools {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn complaint(event: &Value) -> Option<(String, String)> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => {
            Some(("exception".into(), params["exceptionDetails"].to_string()))
        }
        "Runtime.consoleAPICalled"
            if ["error", "warning", "assert"].iter().any(|kind| params["type"] == *kind) =>
        {
            Some(("console".into(), params["args"].to_string()))
        }
        "Log.entryAdded" if params["entry"]["level"] == "error" => {
            let entry = &params["entry"];
            Some((
                entry["source"].as_str().unwrap_or("log").to_owned(),
                format!("{} {}", entry["text"], entry["url"]),
            ))
        }
        _ => None,
    }
}

fn browser() -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = || std::env::split_paths(&path);
    NAMES.iter().flat_map(|name| places().map(move |place| place.join(name))).find(|file| file.is_file()).ok_or_else(
        || {
            Failure(format!(
                "The page's test needs a real Chromium, and none of {} is on PATH. `cargo xtask test` installs it; \
                 by hand it is `apt-get install chromium` (Debian, the package chromium).",
                NAMES.join(", ")
            ))
        },
    )
}

fn spawn(browser: &Path, profile: &Path) -> Outcome<Child> {
    Command::new("sh")
        .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
        .arg(browser)
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Failure(format!("{} cannot be started: {error}", browser.display())))
}
