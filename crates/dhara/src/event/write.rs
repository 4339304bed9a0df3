//! Writes envelopes.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::scan::plain_len;
use super::time::TimeText;
use super::{CorrelationId, Envelope, EventId};
use crate::world::Timestamp;

/// Everything of an envelope but its data.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) id: &'a EventId,
    pub(super) event_type: &'a str,
    pub(super) timestamp: Timestamp,
    pub(super) source: &'a str,
    pub(super) version: u32,
    pub(super) subject: Option<&'a str>,
    pub(super) correlation_id: Option<&'a CorrelationId>,
    pub(super) causation_id: Option<&'a EventId>,
    pub(super) traceparent: Option<&'a str>,
    pub(super) extra: &'a [(Cow<'a, str>, Cow<'a, RawValue>)],
}

impl Head<'_> {
    /// Appends the native envelope as far as its data; the data and a `}` are to follow, or a `}`
    /// alone.
    pub(super) fn write_native(&self, time: &mut TimeText, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"eventId\":");
        self.id.write_json(out);
        out.extend_from_slice(b",\"eventType\":");
        quoted(self.event_type, out);
        out.extend_from_slice(b",\"timestamp\":\"");
        time.write(self.timestamp, out);
        out.extend_from_slice(b"\",\"source\":");
        quoted(self.source, out);
        if self.version != 1 {
            out.extend_from_slice(b",\"version\":");
            number(self.version, out);
        }
        if let Some(subject) = self.subject {
            out.extend_from_slice(b",\"subject\":");
            quoted(subject, out);
        }
        if let Some(id) = self.correlation_id {
            out.extend_from_slice(b",\"correlationId\":");
            id.write_json(out);
        }
        if let Some(id) = self.causation_id {
            out.extend_from_slice(b",\"causationId\":");
            id.write_json(out);
        }
        if let Some(traceparent) = self.traceparent {
            out.extend_from_slice(b",\"traceparent\":");
            quoted(traceparent, out);
        }
        self.write_extra(super::parse::native_name, out);
    }

    /// As [`Head::write_native`], as a structured CloudEvent.
    pub(super) fn write_cloud(&self, time: &mut TimeText, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"specversion\":\"1.0\"");
        self.each_cloud_attribute(time, &mut |name, text| {
            out.push(b',');
            quoted(name, out);
            out.push(b':');
            match name {
                // An integer is a number in the JSON format.
                "eventversion" => out.extend_from_slice(text.as_bytes()),
                _ => quoted(text, out),
            }
        });
        if !self.has_content_type() {
            out.extend_from_slice(b",\"datacontenttype\":\"application/json\"");
        }
        self.write_extra(super::parse::cloud_name, out);
    }

    /// Hands on the attributes of a CloudEvent that Dhara gives a meaning to, `specversion` and
    /// `datacontenttype` excepted.
    pub(super) fn each_cloud_attribute(
        &self,
        time: &mut TimeText,
        with: &mut dyn FnMut(&str, &str),
    ) {
        self.id.with_text(|text| with("id", text));
        with("source", self.source);
        with("type", self.event_type);
        if self.timestamp != Timestamp::default() {
            let mut text = Vec::new();
            time.write(self.timestamp, &mut text);
            with("time", &String::from_utf8_lossy(&text));
        }
        if let Some(subject) = self.subject {
            with("subject", subject);
        }
        if self.version != 1 {
            with("eventversion", &self.version.to_string());
        }
        if let Some(id) = self.correlation_id {
            id.with_text(|text| with("correlationid", text));
        }
        if let Some(id) = self.causation_id {
            id.with_text(|text| with("causationid", text));
        }
        if let Some(traceparent) = self.traceparent {
            with("traceparent", traceparent);
        }
    }

    pub(super) fn has_content_type(&self) -> bool {
        self.extra.iter().any(|(name, _)| name == "datacontenttype")
    }

    /// Unknown members whose names mean something in the format that is written are left out: it
    /// would have them twice.
    fn write_extra(&self, names: super::parse::Names, out: &mut Vec<u8>) {
        for (name, value) in self.extra {
            if !names(name).can_be_extra() {
                continue;
            }
            out.push(b',');
            quoted(name, out);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
    }
}

/// Appends `text` as a JSON string.
pub(super) fn quoted(text: &str, out: &mut Vec<u8>) {
    if plain_len(text.as_bytes()) == text.len() {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        escaped(text, out);
    }
}

#[cold]
fn escaped(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            control if control < ' ' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

fn number(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(number.to_string().as_bytes());
}

impl Envelope<'_> {
    fn head(&self) -> Head<'_> {
        Head {
            id: &self.id,
            event_type: &self.event_type,
            timestamp: self.timestamp,
            source: &self.source,
            version: self.version,
            subject: self.subject.as_deref(),
            correlation_id: self.correlation_id.as_ref(),
            causation_id: self.causation_id.as_ref(),
            traceparent: self.traceparent.as_deref(),
            extra: &self.extra,
        }
    }

    /// Appends the envelope in Dhara's own JSON: the members that are known in their order, those
    /// that are not in theirs, the data last, as it was read.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.head().write_native(&mut TimeText::new(), out);
        self.write_data(out);
    }

    /// Appends the envelope as a structured CloudEvent 1.0 (`application/cloudevents+json`).
    pub fn write_cloud_event(&self, out: &mut Vec<u8>) {
        self.head().write_cloud(&mut TimeText::new(), out);
        self.write_data(out);
    }

    /// The envelope as the headers of a binary CloudEvent 1.0, whose body is the data alone.
    pub fn to_binary_headers(&self) -> super::message::Headers {
        super::cloud::binary_headers(&self.head())
    }

    fn write_data(&self, out: &mut Vec<u8>) {
        if let Some(data) = self.data {
            out.extend_from_slice(b",\"data\":");
            out.extend_from_slice(data.as_bytes());
        }
        out.push(b'}');
    }
}
