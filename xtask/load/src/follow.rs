//! Sees orders end, from outside: through the stream of events, or by asking for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use memchr::memmem;
use serde_json::Value;
use tokio::sync::mpsc::Receiver;

use crate::Outcome;
use crate::client::Client;

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Confirmed,
    Rejected,
}

/// The orders that were sent and those that were seen to end, matched in either arrival: the
/// stream may be quicker than the answer to the request.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ends(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    sent: HashMap<String, Instant>,
    ended: HashMap<String, (End, Instant)>,
    confirmed: Vec<Duration>,
    rejected: u64,
}

impl Ends {
    /// An order that should be seen to end, and when it was due.
    pub(crate) fn sent(&self, id: String, due: Instant) {
        let state = &mut *self.state();
        match state.ended.remove(&id) {
            Some((end, at)) => state.count(end, at.saturating_duration_since(due)),
            None => drop(state.sent.insert(id, due)),
        }
    }

    /// An order has ended, perhaps one that somebody else sent.
    pub(crate) fn ended(&self, id: &str, end: End, at: Instant) {
        let state = &mut *self.state();
        match state.sent.remove(id) {
            Some(due) => state.count(end, at.saturating_duration_since(due)),
            None => drop(state.ended.insert(id.to_owned(), (end, at))),
        }
    }

    /// How many are still to end.
    pub(crate) fn open(&self) -> usize {
        self.state().sent.len()
    }

    /// Time from due to confirmed of each confirmed order, and how many were rejected.
    pub(crate) fn take(&self) -> (Vec<Duration>, u64) {
        let state = &mut *self.state();
        (std::mem::take(&mut state.confirmed), state.rejected)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&mut self, end: End, took: Duration) {
        match end {
            End::Confirmed => self.confirmed.push(took),
            End::Rejected => self.rejected += 1,
        }
    }
}

/// Reads the shop's stream of events until it ends, and tells `ends` what it sees.
///
/// Only the topic of the orders is asked for; a shop that sends all of them is understood too.
pub(crate) async fn stream(
    at: String,
    ends: Ends,
    ready: tokio::sync::oneshot::Sender<()>,
) -> Outcome {
    let mut client = Client::new(&at);
    let mut body = client.stream("/events?topic=orders").await?.into_body();
    // Nobody waits any longer when the load was given up.
    let _ = ready.send(());
    let mut waiting = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let now = Instant::now();
        waiting.extend_from_slice(&data);
        let Some(whole) = memmem::rfind(&waiting, b"\n\n") else { continue };
        let rest = waiting.split_off(whole + 2);
        for block in split(&waiting) {
            if let Some((id, end)) = ended(block) {
                ends.ended(&id, end, now);
            }
        }
        waiting = rest;
    }
    Err("the stream of events ended".into())
}

/// The blocks of `bytes`, which blank lines divide.
fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memmem::find_iter(bytes, b"\n\n").map(move |end| {
        let block = bytes.get(start..end).unwrap_or_default();
        start = end + 2;
        block
    })
}

/// The order whose end a block of the stream tells. Most blocks tell something else, and are
/// not parsed.
fn ended(block: &[u8]) -> Option<(String, End)> {
    let end = if memmem::find(block, b"\"OrderConfirmed\"").is_some() {
        End::Confirmed
    } else if memmem::find(block, b"\"OrderRejected\"").is_some() {
        End::Rejected
    } else {
        return None;
    };
    let data = block.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"))?;
    let value: Value = serde_json::from_slice(data).ok()?;
    let named = value.get("event")?.get("eventType")?.as_str()?;
    if !matches!(named, "OrderConfirmed" | "OrderRejected") {
        return None;
    }
    Some((value.get("key")?.as_str()?.to_owned(), end))
}

/// Asks for one order after another until each has ended.
pub(crate) async fn ask(
    at: String,
    ends: Ends,
    orders: Arc<tokio::sync::Mutex<Receiver<String>>>,
) -> Outcome {
    let mut client = Client::new(&at);
    loop {
        let next = orders.lock().await.recv().await;
        let Some(id) = next else { return Ok(()) };
        let path = format!("/orders/{id}");
        loop {
            let order = client.get(&path).await?;
            let end = match order.get("status").and_then(Value::as_str) {
                Some("confirmed") => Some(End::Confirmed),
                Some("rejected") => Some(End::Rejected),
                _ => None,
            };
            if let Some(end) = end {
                ends.ended(&id, end, Instant::now());
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIRMED: &str = "event: event\nid: 7\ndata: {\"topic\":\"orders\",\"key\":\"order_1\",\
        \"event\":{\"eventType\":\"OrderConfirmed\",\"data\":{}}}\n\nevent: status\ndata: {}\n\n";

    #[test]
    fn a_confirmed_order_is_seen_among_other_blocks() {
        let seen: Vec<_> = split(CONFIRMED.as_bytes()).filter_map(ended).collect();
        assert_eq!(seen, [("order_1".to_owned(), End::Confirmed)]);
    }

    #[test]
    fn a_name_inside_the_data_is_no_end() {
        let block = br#"data: {"key":"k","event":{"eventType":"Note","data":"OrderConfirmed"}}"#;
        assert_eq!(ended(block), None);
    }

    #[test]
    fn an_end_that_comes_before_the_answer_counts_from_when_the_order_was_due() {
        let ends = Ends::default();
        let due = Instant::now();
        ends.ended("a", End::Confirmed, due + Duration::from_millis(3));
        ends.sent("a".to_owned(), due);
        ends.sent("b".to_owned(), due);
        ends.ended("b", End::Rejected, due + Duration::from_millis(4));
        assert_eq!(ends.open(), 0);
        assert_eq!(ends.take(), (vec![Duration::from_millis(3)], 1));
    }
}
