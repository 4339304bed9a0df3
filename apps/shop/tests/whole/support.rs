//! Starts the shop, asks it, waits for what is to become true.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long a condition may take to become true, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A shop in a folder of its own. It is killed when it is dropped.
pub(crate) struct Shop {
    child: Child,
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
    dir: TempDir,
    faults: String,
    /// What it has said on its standard error.
    said: Arc<Mutex<String>>,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Value,
}

/// What a run of the program that does not serve has left.
pub(crate) struct Finished {
    pub(crate) success: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The program, ready for arguments, without the variables of whoever runs the tests.
pub(crate) fn program() -> Command {
    alone(Command::new(env!("CARGO_BIN_EXE_shop")))
}

fn alone(mut command: Command) -> Command {
    for name in ["LISTEN", "DATA", "BROKER", "STORE", "SMTP", "SABOTAGE"] {
        command.env_remove(format!("SHOP_{name}"));
    }
    command.env_remove("RUST_LOG").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs the program to its end.
pub(crate) async fn run(command: &mut Command) -> Finished {
    let run = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = run.expect("the program ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished {
        success: output.status.success(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

impl Shop {
    pub(crate) async fn start() -> Self {
        Self::with_faults("").await
    }

    /// A shop with faults that were built in on purpose.
    pub(crate) async fn with_faults(faults: &str) -> Self {
        Self::launch(program(), faults, &[]).await
    }

    /// A shop with these options.
    pub(crate) async fn with(options: &[&str]) -> Self {
        Self::launch(program(), "", options).await
    }

    /// A shop that may have so many files and connections open.
    pub(crate) async fn with_descriptors(most: u32) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {most}; exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_shop"));
        Self::launch(alone(command), "", &[]).await
    }

    async fn launch(command: Command, faults: &str, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let said = Arc::default();
        let (child, address) = launch(command, dir.path(), faults, options, &said).await;
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self { child, address, client, dir, faults: faults.to_owned(), said }
    }

    /// What it has said on its standard error so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn data(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Kills it as a power cut would the process, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again on the same folder, on another port, with these options.
    pub(crate) async fn restart(&mut self, options: &[&str]) {
        let (dir, said) = (self.dir.path(), &self.said);
        (self.child, self.address) = launch(program(), dir, &self.faults, options, said).await;
        // Connections to the one before are of no use, also where the port is the same.
        self.client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    }

    /// Stops it as the system does; it has to end well.
    pub(crate) async fn terminate(&mut self) {
        self.tell_to_end().await;
        assert!(self.end().await.success(), "it ends well");
    }

    /// Sends it SIGTERM, and does not wait.
    pub(crate) async fn tell_to_end(&self) {
        let id = self.child.id().unwrap().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
        assert!(told.success());
    }

    /// Waits until it has ended.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("it ends").unwrap()
    }

    /// A connection of its own, on which these bytes have been sent.
    pub(crate) async fn connect(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(Full::from(body.to_vec())).unwrap()).await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let response = self.send(method, path, headers, body).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { status, headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, &[], b"").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        answer.body
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let mut all = vec![(header::CONTENT_TYPE.as_str(), "application/json")];
        all.extend_from_slice(headers);
        self.ask(Method::POST, path, &all, body.to_string().as_bytes()).await
    }

    /// Orders one product; gives the order's id.
    pub(crate) async fn order(&self, user: &str, sku: &str, quantity: u32) -> String {
        let answer = self.post("/orders", &order(user, sku, quantity)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        text(&answer.body, "orderId")
    }

    /// Waits until `condition` holds for what is at `path`; gives that.
    pub(crate) async fn until(
        &self,
        what: &str,
        path: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.get(path).await;
            if condition(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{what}: it stays at {seen}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the order has ended; gives it.
    pub(crate) async fn ended(&self, order_id: &str) -> Value {
        let path = format!("/orders/{order_id}");
        self.until("the order ends", &path, |order| order["status"] != "pending").await
    }

    /// Waits until so many orders at least were accepted, all of them have ended and nothing is on
    /// its way; gives the proof. An answer may be a second old, so that without the number it could
    /// be about the time before the last order.
    pub(crate) async fn settled(&self, orders: i64) -> Value {
        self.until("everything settles", "/proof", |proof| {
            let ended = number(proof, "confirmed") + number(proof, "rejected");
            let mailed = number(proof, "mails") == ended;
            let still = proof["inFlight"] == 0 && proof["settling"] == 0;
            let accepted = number(proof, "accepted");
            still && mailed && accepted >= orders && accepted + number(proof, "unanswered") == ended
        })
        .await
    }

    pub(crate) async fn stop_service(&self, name: &str) {
        let answer = self.post(&format!("/services/{name}/stop"), &json!({})).await;
        assert_eq!((answer.status, &answer.body["state"]), (StatusCode::OK, &json!("stopped")));
    }

    pub(crate) async fn start_service(&self, name: &str) {
        let answer = self.post(&format!("/services/{name}/start"), &json!({})).await;
        assert_eq!((answer.status, &answer.body["state"]), (StatusCode::OK, &json!("running")));
    }

    pub(crate) async fn bank(&self, mode: Value) {
        let answer = self.post("/bank", &mode).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.body["state"], mode["mode"]);
    }
}

/// Nothing is lost, charged twice or sold twice, and the ledgers agree.
pub(crate) fn assert_sound(proof: &Value) {
    for figure in ["lost", "chargedTwice", "oversold"] {
        assert_eq!(proof[figure], 0, "{figure}: {proof}");
    }
    let kept = number(proof, "charges") - number(proof, "refunds");
    assert_eq!(kept, number(proof, "toBeCharged"), "{proof}");
    assert_eq!(proof["ok"], true, "{proof}");
}

pub(crate) fn order(user: &str, sku: &str, quantity: u32) -> Value {
    json!({ "userId": user, "items": [{ "sku": sku, "quantity": quantity }] })
}

pub(crate) fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}

pub(crate) fn number(value: &Value, member: &str) -> i64 {
    value[member].as_i64().unwrap_or_else(|| panic!("no {member} in {value}"))
}

/// A count of repetitions, from the environment.
pub(crate) fn count(variable: &str, usual: usize) -> usize {
    let wanted = std::env::var(variable).ok();
    wanted.map_or(usual, |text| text.parse().expect("a count is a number"))
}

/// The status of the answer that comes on this connection; 0 where none does.
pub(crate) async fn status_on(stream: &mut TcpStream) -> u16 {
    let mut start = [0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut start)).await;
    match read.expect("an answer comes") {
        Ok(_) => std::str::from_utf8(&start[9..]).unwrap().parse().unwrap(),
        Err(_) => 0,
    }
}

async fn launch(
    mut command: Command,
    dir: &Path,
    faults: &str,
    options: &[&str],
    said: &Arc<Mutex<String>>,
) -> (Child, String) {
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(dir).args(options);
    let mut child = command
        .env("SHOP_SABOTAGE", faults)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let read = tokio::time::timeout(PATIENCE, output.read_line(&mut line)).await;
    read.expect("the shop opens").unwrap();
    let Some((_, address)) = line.trim().split_once("http://") else {
        let mut errors = String::new();
        child.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
        panic!("the shop did not open: {line}{errors}");
    };
    let (mut errors, said) = (BufReader::new(child.stderr.take().unwrap()).lines(), said.clone());
    drop(tokio::spawn(async move {
        while let Ok(Some(line)) = errors.next_line().await {
            said.lock().unwrap().push_str(&(line + "\n"));
        }
    }));
    (child, address.to_owned())
}

/// Looks until `met` holds: what another process does, no paused clock can tell.
pub(crate) async fn eventually(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !met().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}
