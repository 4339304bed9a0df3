//! Binary CloudEvents 1.0: the attributes in a message's headers, the data alone in its body.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::message::Headers;
use super::parse::{Draft, Name, checked_text, cloud_name};
use super::time::TimeText;
use super::write::Head;
use super::{DecodeError, Envelope, EventId, Limits};

/// The attribute that a header holds. Kafka's binding writes `ce_id`, HTTP's `ce-id`.
fn attribute(header: &str) -> Option<&str> {
    let (prefix, name) = header.split_at_checked(3)?;
    (prefix.eq_ignore_ascii_case("ce_") || prefix.eq_ignore_ascii_case("ce-")).then_some(name)
}

#[inline]
pub(super) fn is_binary(headers: &Headers) -> bool {
    headers.iter().any(|(name, _)| attribute(name) == Some("specversion"))
}

pub(super) fn parse_binary<'a>(
    headers: &'a Headers,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Envelope<'a>, DecodeError> {
    read(headers, body, limits).map_err(|error| error.with_id(|| id_of(headers)))
}

fn id_of(headers: &Headers) -> Option<EventId> {
    let (_, id) = headers.iter().find(|(name, _)| attribute(name) == Some("id"))?;
    EventId::parse(std::str::from_utf8(id).ok()?).ok()
}

fn read<'a>(
    headers: &'a Headers,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Envelope<'a>, DecodeError> {
    let mut draft = Draft::default();
    for (header, value) in headers {
        let content_type = header.eq_ignore_ascii_case("content-type");
        let name = match attribute(header) {
            _ if content_type => "datacontenttype",
            Some(name) => name,
            None => continue,
        };
        let fault = |reason: Cow<'static, str>| DecodeError::member(name.to_owned(), reason);
        let text = std::str::from_utf8(value).map_err(|_| fault("is not UTF-8".into()))?;
        let kind = match cloud_name(name) {
            // The body is the data; a header of that name is an attribute like any other.
            Name::Data => Name::Extra,
            kind => kind,
        };
        draft.once(kind, name)?;
        draft.set(kind, Cow::Borrowed(name), Cow::Borrowed(text)).map_err(fault)?;
    }
    let text = checked_text(body, limits)?;
    if !text.is_empty() {
        draft.set_data(text);
    }
    draft.finish(cloud_name)
}

pub(super) fn binary_headers(head: &Head<'_>) -> Headers {
    let mut headers = Headers::new();
    let mut add = |name: &str, value: &str| {
        headers.push((Arc::from(name), Bytes::copy_from_slice(value.as_bytes())));
    };
    add("ce_specversion", "1.0");
    head.each_cloud_attribute(&mut TimeText::new(), &mut |name, text| {
        add(&format!("ce_{name}"), text);
    });
    if !head.has_content_type() {
        add("content-type", "application/json");
    }
    for (name, value) in head.extra {
        match name.as_ref() {
            "datacontenttype" => add("content-type", &text_of(value)),
            name if cloud_name(name).can_be_extra() => add(&format!("ce_{name}"), &text_of(value)),
            _ => {}
        }
    }
    headers
}

/// A header holds a string without its quotes, and any other value as its JSON.
fn text_of(value: &RawValue) -> Cow<'_, str> {
    match serde_json::from_str::<String>(value.get()) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(value.get()),
    }
}
