//! A keep-alive connection to the shop.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::Outcome;

/// An answer that takes longer counts as an error.
const LIMIT: Duration = Duration::from_secs(10);

/// One connection, opened again when it is lost.
pub(crate) struct Client {
    at: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(crate) fn new(at: &str) -> Client {
        Client { at: at.to_owned(), sender: None }
    }

    /// Opens the connection ahead of the first request.
    pub(crate) async fn connect(&mut self) -> Outcome {
        self.sender().await.map(|_| ())
    }

    /// Sends an order: its id when the shop accepted it, or else what the shop said.
    pub(crate) async fn order(&mut self, body: Bytes) -> Outcome<String> {
        let (status, body) = self.whole(Method::POST, "/orders", body).await?;
        if status != StatusCode::CREATED {
            let said = String::from_utf8_lossy(&body).chars().take(300).collect::<String>();
            return Err(format!("{status}: {said}").into());
        }
        let answer: Value = serde_json::from_slice(&body)?;
        let id = answer.get("orderId").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| "a 201 without `orderId`".into())
    }

    /// The JSON that stands at `path`.
    pub(crate) async fn get(&mut self, path: &str) -> Outcome<Value> {
        let (status, body) = self.whole(Method::GET, path, Bytes::new()).await?;
        if status != StatusCode::OK {
            return Err(format!("GET {path} answered {status}").into());
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// The answer at `path`, as it streams in.
    pub(crate) async fn stream(&mut self, path: &str) -> Outcome<Response<Incoming>> {
        let answer = self.send(Method::GET, path, Bytes::new()).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("GET {path} answered {}", answer.status()).into());
        }
        Ok(answer)
    }

    async fn whole(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Outcome<(StatusCode, Bytes)> {
        let exchange = async {
            let answer = self.send(method, path, body).await?;
            let status = answer.status();
            Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        let ended = tokio::time::timeout(LIMIT, exchange)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}").into()));
        if ended.is_err() {
            self.sender = None;
        }
        ended
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Outcome<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.at)
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        Ok(self.sender().await?.send_request(request).await?)
    }

    async fn sender(&mut self) -> Outcome<&mut SendRequest<Full<Bytes>>> {
        let kept = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match kept {
            Some(sender) => sender,
            None => open(&self.at).await?,
        };
        Ok(self.sender.insert(sender))
    }
}

async fn open(at: &str) -> Outcome<SendRequest<Full<Bytes>>> {
    let socket =
        TcpStream::connect(at).await.map_err(|error| format!("cannot reach {at}: {error}"))?;
    socket.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
    // A lost connection shows at the next request on it.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}
