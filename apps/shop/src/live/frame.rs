//! One event as it goes out to clients.

use dhara::Envelope;
use dhara::broker::Delivery;
use serde_json::json;

/// An event of the ring.
pub(super) struct Frame {
    /// Its id; empty where it could not be read.
    pub(super) event_id: String,
    data: String,
}

impl Frame {
    pub(super) fn of(delivery: &Delivery) -> Self {
        let Delivery { topic, partition, offset, key, body, .. } = delivery;
        let key = key.as_deref().map(String::from_utf8_lossy);
        let head = json!({
            "topic": topic.as_str(), "partition": partition, "offset": offset, "key": key,
        });
        let (event_id, event) = match Envelope::parse(body) {
            Ok(envelope) => (envelope.id.to_string(), one_line(body)),
            Err(_) => (String::new(), "null".to_owned()),
        };
        let head = head.to_string();
        // The head is an object with members: the event becomes one more.
        let head = head.strip_suffix('}').unwrap_or(&head);
        Self { event_id, data: format!("{head},\"event\":{event}}}") }
    }

    pub(super) fn write(&self, run: u64, number: u64, out: &mut Vec<u8>) {
        let Self { event_id, data } = self;
        let text = format!("event: event\nid: {run:x}.{number}.{event_id}\ndata: {data}\n\n");
        out.extend_from_slice(text.as_bytes());
    }
}

/// The event's JSON without line breaks, which would end a line of data.
fn one_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.contains(['\n', '\r']) {
        // Inside of strings JSON has none, so they are white space.
        true => text.replace(['\n', '\r'], " "),
        false => text.into_owned(),
    }
}

/// The filling, the number and the event of a cursor.
pub(super) fn parse_cursor(cursor: &str) -> Option<(u64, u64, &str)> {
    let (run, rest) = cursor.split_once('.')?;
    let (number, event_id) = rest.split_once('.')?;
    Some((u64::from_str_radix(run, 16).ok()?, number.parse().ok()?, event_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{FIRST, Ring};

    fn ring(run: u64, events: std::ops::Range<u64>) -> Ring {
        let mut ring = Ring { run, ..Ring::default() };
        for event in events {
            ring.push(Frame { event_id: format!("evt_{event:04}"), data: "{}".into() });
        }
        ring
    }

    #[test]
    fn a_client_goes_on_where_it_was_also_in_another_run() {
        let first = ring(7, 0..200);
        assert_eq!(first.resume(None), 200 - FIRST, "a new client sees the last few");
        assert_eq!(first.resume(Some("7.120.evt_0120")), 121);
        assert_eq!(first.resume(Some("nonsense")), 200 - FIRST);
        let second = ring(8, 150..260);
        assert_eq!(second.resume(Some("7.199.evt_0199")), 50, "evt_0200 is number 50 there");
        assert_eq!(second.resume(Some("7.300.evt_0300")), 110, "nothing newer");
    }
}
