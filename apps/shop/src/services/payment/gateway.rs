//! The bank, as payment sees it: two calls over HTTP, behind a breaker.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dhara::world::{World, timeout};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::breaker::Breaker;
use crate::events::{Money, PaymentId};

/// How long the bank may take over one call.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// A client of the bank; clones share its connections and its breaker.
#[derive(Clone)]
pub(crate) struct Gateway {
    client: Client<HttpConnector, Full<Bytes>>,
    /// Where the bank is; `None` while it is away.
    address: watch::Receiver<Option<SocketAddr>>,
    breaker: Breaker,
}

/// What the bank is asked for.
#[derive(Debug, Serialize)]
pub(super) struct ChargeRequest<'a> {
    pub(super) reference: &'a str,
    pub(super) account: &'a str,
    pub(super) amount: Money,
    pub(super) currency: &'a str,
}

/// The bank's word on a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Charged(PaymentId),
    Declined(String),
}

/// Why there is no word of the bank.
#[derive(Debug)]
pub(super) enum GatewayError {
    /// It is not running.
    Away,
    /// It cannot be reached, or broke off.
    Connection(String),
    TimedOut,
    /// It answered something else than it should.
    Answered(StatusCode, String),
    /// The payment service is being stopped.
    Stopping,
}

impl fmt::Display for GatewayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => f.write_str("the bank is down"),
            Self::Connection(why) => write!(f, "the bank cannot be reached: {why}"),
            Self::TimedOut => {
                write!(f, "the bank gave no answer within {} s", TIME_LIMIT.as_secs())
            }
            Self::Answered(status, body) => write!(f, "the bank answered {status}: {body}"),
            Self::Stopping => f.write_str("the payment service is being stopped"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChargeAnswer {
    charge_id: String,
}

#[derive(Deserialize)]
struct Refusal {
    reason: String,
}

impl Gateway {
    pub(crate) fn new(world: &World, address: watch::Receiver<Option<SocketAddr>>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(TIME_LIMIT));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { client, address, breaker: Breaker::new(world.clone()) }
    }

    /// Lets every call that waits for the bank go: the service is being stopped.
    pub(crate) fn end(&self) {
        self.breaker.end();
    }

    /// Charges once for each `key`, however often it is called.
    pub(super) async fn charge(
        &self,
        key: &str,
        charge: &ChargeRequest<'_>,
    ) -> Result<Verdict, GatewayError> {
        let body = serde_json::to_vec(charge)
            .map_err(|error| GatewayError::Connection(error.to_string()))?;
        let (status, body) = self.call("/charges", Some(key), body).await?;
        if status == StatusCode::PAYMENT_REQUIRED {
            let refusal: Refusal = read(status, &body)?;
            return Ok(Verdict::Declined(refusal.reason));
        }
        let answer: ChargeAnswer = read(status, &body)?;
        Ok(Verdict::Charged(PaymentId(answer.charge_id)))
    }

    /// Pays back what was charged under `reference`; once, however often it is called.
    pub(super) async fn refund(&self, reference: &str) -> Result<PaymentId, GatewayError> {
        let body = serde_json::json!({ "reference": reference }).to_string().into_bytes();
        let (status, body) = self.call("/refunds", None, body).await?;
        let answer: ChargeAnswer = read(status, &body)?;
        Ok(PaymentId(answer.charge_id))
    }

    async fn call(
        &self,
        path: &str,
        key: Option<&str>,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), GatewayError> {
        let permit = self.breaker.permit().await.ok_or(GatewayError::Stopping)?;
        let answer = timeout(TIME_LIMIT, self.send(path, key, body)).await;
        let answer = answer.unwrap_or(Err(GatewayError::TimedOut));
        match answer {
            // A bank that says no, or that it was asked wrongly, is up.
            Ok((status, body)) if !status.is_server_error() => {
                permit.succeeded();
                Ok((status, body))
            }
            Ok((status, body)) => {
                permit.failed();
                Err(GatewayError::Answered(status, text_of(&body)))
            }
            Err(error) => {
                permit.failed();
                Err(error)
            }
        }
    }

    async fn send(
        &self,
        path: &str,
        key: Option<&str>,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), GatewayError> {
        let broken = |error: &dyn fmt::Display| GatewayError::Connection(error.to_string());
        let address = (*self.address.borrow()).ok_or(GatewayError::Away)?;
        let mut request = Request::post(format!("http://{address}{path}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::from(body)).map_err(|e| broken(&e))?;
        let response = self.client.request(request).await.map_err(|e| broken(&e))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| broken(&e))?.to_bytes();
        Ok((status, body))
    }
}

fn read<T: serde::de::DeserializeOwned>(
    status: StatusCode,
    body: &Bytes,
) -> Result<T, GatewayError> {
    serde_json::from_slice(body).map_err(|_| GatewayError::Answered(status, text_of(body)))
}

fn text_of(body: &Bytes) -> String {
    String::from_utf8_lossy(body).chars().take(200).collect()
}
