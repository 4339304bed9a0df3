//! The bank's process, as the shop keeps it: started, told how to behave, started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dhara::world::{Task, World, timeout};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::books::{Books, Summary};

/// How long the bank may take to start: it may have to wait for an earlier one to end.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How long it may take to end once it was told to, and to answer what it is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause before a bank that ended by itself is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// How the bank is to behave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mode {
    pub(crate) kind: ModeKind,
    pub(crate) slow_ms: u64,
    pub(crate) fail_rate: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModeKind {
    #[default]
    Up,
    Slow,
    Failing,
    /// Its process is stopped.
    Down,
}

/// The bank that belongs to this shop.
#[derive(Clone)]
pub(crate) struct BankProcess {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    world: World,
    client: Client<HttpConnector, Full<Bytes>>,
    wanted: watch::Sender<Mode>,
    ending: watch::Sender<bool>,
    /// The mode that the bank has been brought into; `None` while it is not running.
    applied: watch::Sender<Option<Mode>>,
    address: watch::Sender<Option<SocketAddr>>,
}

impl BankProcess {
    /// Starts the bank, with its ledger in `dir`; the task ends with its process.
    pub(crate) fn start(world: &World, dir: PathBuf) -> (Self, Task<()>) {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let shared = Arc::new(Shared {
            dir,
            world: world.clone(),
            client,
            wanted: watch::Sender::new(Mode::default()),
            ending: watch::Sender::new(false),
            applied: watch::Sender::new(None),
            address: watch::Sender::new(None),
        });
        let keeping = world.spawn(keep(shared.clone()));
        (Self { shared }, keeping)
    }

    /// Where it is; `None` while it is away.
    pub(crate) fn address(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.shared.address.subscribe()
    }

    /// Brings the bank into a mode, and waits a while until it is there.
    pub(crate) async fn set(&self, mode: Mode) {
        self.shared.wanted.send_replace(mode);
        let there = |applied: &Option<Mode>| match mode.kind {
            ModeKind::Down => applied.is_none(),
            _ => *applied == Some(mode),
        };
        let mut applied = self.shared.applied.subscribe();
        let arrived = timeout(PATIENCE * 2, applied.wait_for(there)).await;
        drop(arrived);
    }

    /// Ends the bank, for good.
    pub(crate) fn end(&self) {
        self.shared.ending.send_replace(true);
        self.shared.wanted.send_modify(|mode| mode.kind = ModeKind::Down);
    }

    /// The bank's row in the shop's health.
    pub(crate) fn row(&self) -> Value {
        let wanted = *self.shared.wanted.borrow();
        let running = self.shared.applied.borrow().is_some();
        let state = if running { wanted.kind } else { ModeKind::Down };
        json!({ "state": state, "slowMs": wanted.slow_ms, "failRate": wanted.fail_rate })
    }

    /// What the bank's books say: asked of it, or read where it left them while it is away.
    pub(crate) async fn summary(&self) -> Result<Summary, String> {
        let address = *self.shared.address.borrow();
        if let Some(address) = address
            && let Some(Ok(body)) =
                timeout(PATIENCE, self.shared.call(Method::GET, address, "/ledger", None)).await
            && let Ok(summary) = serde_json::from_slice(&body)
        {
            return Ok(summary);
        }
        let dir = self.shared.dir.clone();
        let read = self.shared.world.spawn_blocking(move || Books::read(&dir)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

impl Shared {
    async fn call(
        &self,
        method: Method,
        address: SocketAddr,
        path: &str,
        body: Option<Value>,
    ) -> Result<Bytes, String> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok(body.to_bytes())
    }

    /// Tells a running bank how to behave.
    async fn apply(&self, address: SocketAddr, mode: Mode) {
        let body = json!({ "slowMs": mode.slow_ms, "failRate": mode.fail_rate });
        let told = timeout(PATIENCE, self.call(Method::PUT, address, "/mode", Some(body))).await;
        match told {
            Some(Ok(_)) => drop(self.applied.send_replace(Some(mode))),
            Some(Err(error)) => tracing::warn!(error, "the bank could not be told its mode"),
            None => tracing::warn!("the bank did not take its mode in time"),
        }
    }

    fn away(&self) {
        self.address.send_replace(None);
        self.applied.send_replace(None);
    }
}

/// Keeps a bank running for as long as one is wanted, until its owner is gone.
async fn keep(shared: Arc<Shared>) {
    let mut wanted = shared.wanted.subscribe();
    let mut ending = shared.ending.subscribe();
    loop {
        tokio::select! {
            _ = ending.wait_for(|ending| *ending) => return,
            _ = wanted.wait_for(|mode| mode.kind != ModeKind::Down) => (),
        }
        match launch(&shared.dir).await {
            Ok((child, address)) => accompany(&shared, child, address, &mut wanted).await,
            Err(error) => tracing::error!(error, "the bank did not start"),
        }
        shared.away();
        shared.world.sleep(RESTART_PAUSE).await;
    }
}

/// Stays with a running bank until it ends, or is no more wanted.
async fn accompany(
    shared: &Shared,
    mut child: Child,
    address: SocketAddr,
    wanted: &mut watch::Receiver<Mode>,
) {
    // Waiting for a child closes its input, and this one ends when its input does.
    let input = child.stdin.take();
    loop {
        let mode = *wanted.borrow_and_update();
        if mode.kind == ModeKind::Down {
            shared.away();
            drop(input);
            if timeout(PATIENCE, child.wait()).await.is_none() {
                drop(child.kill().await);
            }
            return;
        }
        shared.apply(address, mode).await;
        shared.address.send_replace(Some(address));
        tokio::select! {
            status = child.wait() => {
                tracing::warn!(?status, "the bank ended; it is started again");
                return;
            }
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

async fn launch(dir: &Path) -> Result<(Child, SocketAddr), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .arg("bank")
        .arg("--data")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C in a terminal is told to the whole group: the bank ends when the shop says so.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let output = child.stdout.take().ok_or("the bank has no output")?;
    let mut line = String::new();
    let mut output = BufReader::new(output);
    let read = timeout(START_LIMIT, output.read_line(&mut line)).await;
    read.ok_or("the bank gave no address in time")?.map_err(|error| error.to_string())?;
    let address = line.trim().parse();
    Ok((child, address.map_err(|_| format!("the bank gave no address but {line:?}"))?))
}
