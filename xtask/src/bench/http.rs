//! The least of an HTTP client, for a question now and then; loads are made by `shop-load`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::Outcome;

const LIMIT: Duration = Duration::from_secs(30);

/// Status and body of the answer to one request, on a connection of its own.
///
/// HTTP/1.0, so that the body needs no decoding and ends with the connection.
pub(super) fn ask(
    at: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut socket = TcpStream::connect(at)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_nodelay(true)?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nhost: {at}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| std::io::Error::other("an answer that is not HTTP"))
}

/// The JSON that stands at `path`.
pub(super) fn get(at: SocketAddr, path: &str) -> Outcome<Value> {
    let (status, body) =
        ask(at, "GET", path, "").map_err(|error| format!("GET {path}: {error}"))?;
    if status != 200 {
        return Err(format!("GET {path} answered {status}: {body}"));
    }
    serde_json::from_str(&body).map_err(|error| format!("GET {path} answered no JSON: {error}"))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_told_apart() {
        let answer = "HTTP/1.0 201 Created\r\nserver: x\r\n\r\n{\"a\":1}";
        assert_eq!(parse(answer), Some((201, "{\"a\":1}".to_owned())));
        assert_eq!(parse("nonsense"), None);
    }
}
