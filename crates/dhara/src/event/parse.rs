//! Reads an envelope from a body.

use std::borrow::Cow;

use super::scan::{Cursor, Fault, plain_len};
use super::{BadId, CorrelationId, DecodeError, Envelope, EventId, Limits, salvage, time};
use crate::world::Timestamp;

/// More members than this that mean nothing to us are refused: they are kept one by one.
const MAX_EXTRA: usize = 256;

pub(super) fn body<'a>(body: &'a [u8], limits: &Limits) -> Result<Envelope<'a>, DecodeError> {
    let text = checked_text(body, limits)?;
    let mut cursor = Cursor::new(text);
    if !cursor.take(b'{') {
        let found = cursor.unexpected("the `{` of an envelope");
        return Err(DecodeError::body(found));
    }
    let native = cursor.peek() == Some(b'"') && cursor.rest().starts_with("\"eventId\"");
    let names = if native || !salvage::is_cloud_event(body) { native_name } else { cloud_name };
    let mut draft = Draft::default();
    if native {
        draft.read_own(&mut cursor);
    }
    read_members(&mut cursor, names, &mut draft)?;
    draft.finish(names)
}

/// The body as text, when it is no larger, no deeper and nothing else than a text may be.
pub(super) fn checked_text<'a>(body: &'a [u8], limits: &Limits) -> Result<&'a str, DecodeError> {
    if body.len() > limits.max_bytes {
        let (size, limit) = (body.len(), limits.max_bytes);
        let reason = format!("has {size} bytes, which is over the limit of {limit}");
        return Err(DecodeError::body(reason));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        DecodeError::body(format!("is not UTF-8 at byte {}", error.valid_up_to()))
    })?;
    if openers(body) > limits.max_depth && salvage::depth(body) > limits.max_depth {
        let limit = limits.max_depth;
        return Err(DecodeError::body(format!("lies deeper than {limit} levels")));
    }
    Ok(text)
}

/// How many `{` and `[` there are, strings included: never fewer than the body is deep.
fn openers(body: &[u8]) -> usize {
    // The two differ in one bit. A chunk is a multiple of sixteen bytes and no longer than
    // its counter can count, which lets the compiler count sixteen at a time.
    body.chunks(240)
        .map(|chunk| {
            let count = chunk.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
            usize::from(count)
        })
        .sum()
}

/// What a member of an envelope is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Id,
    Type,
    Time,
    Source,
    Version,
    Subject,
    Correlation,
    Causation,
    Traceparent,
    Data,
    /// CloudEvents' own version.
    Spec,
    /// The media type of a CloudEvent's data.
    ContentType,
    Extra,
}

impl Name {
    /// Whether a member of this name, among those kept as they are, is written.
    pub(super) fn can_be_extra(self) -> bool {
        matches!(self, Self::Extra | Self::ContentType)
    }
}

pub(super) fn native_name(name: &str) -> Name {
    match name {
        "eventId" => Name::Id,
        "eventType" => Name::Type,
        "timestamp" => Name::Time,
        "source" => Name::Source,
        "version" => Name::Version,
        "subject" => Name::Subject,
        "correlationId" => Name::Correlation,
        "causationId" => Name::Causation,
        "traceparent" => Name::Traceparent,
        "data" => Name::Data,
        _ => Name::Extra,
    }
}

pub(super) fn cloud_name(name: &str) -> Name {
    match name {
        "id" => Name::Id,
        "type" => Name::Type,
        "time" => Name::Time,
        "source" => Name::Source,
        "eventversion" => Name::Version,
        "subject" => Name::Subject,
        "correlationid" => Name::Correlation,
        "causationid" => Name::Causation,
        "traceparent" => Name::Traceparent,
        "data" => Name::Data,
        "specversion" => Name::Spec,
        "datacontenttype" => Name::ContentType,
        _ => Name::Extra,
    }
}

pub(super) type Names = fn(&str) -> Name;

fn read_members<'a>(
    cursor: &mut Cursor<'a>,
    names: Names,
    draft: &mut Draft<'a>,
) -> Result<(), DecodeError> {
    if !cursor.take(b'}') {
        loop {
            let key = cursor.string().map_err(DecodeError::body)?;
            if !cursor.take(b':') {
                return Err(DecodeError::body(cursor.unexpected("`:`")));
            }
            let name = names(&key);
            draft.once(name, &key)?;
            draft.read(name, key, cursor)?;
            if cursor.take(b'}') {
                break;
            }
            if !cursor.take(b',') {
                return Err(DecodeError::body(cursor.unexpected("`,` or `}`")));
            }
        }
    }
    match cursor.peek() {
        None => Ok(()),
        Some(_) => Err(DecodeError::body(cursor.unexpected("its end"))),
    }
}

/// An envelope whose members are still being read.
#[derive(Default)]
pub(super) struct Draft<'a> {
    /// A bit for each [`Name`] that was there.
    seen: u32,
    id: Option<EventId>,
    event_type: Option<Cow<'a, str>>,
    timestamp: Option<Timestamp>,
    source: Option<Cow<'a, str>>,
    version: Option<u32>,
    subject: Option<Cow<'a, str>>,
    correlation_id: Option<CorrelationId>,
    causation_id: Option<EventId>,
    traceparent: Option<Cow<'a, str>>,
    data: Option<&'a str>,
    extra: Vec<(Cow<'a, str>, Cow<'a, serde_json::value::RawValue>)>,
}

impl<'a> Draft<'a> {
    pub(super) fn once(&mut self, name: Name, key: &str) -> Result<(), DecodeError> {
        let bit = 1 << name as u32;
        let again = match name {
            Name::Extra => self.extra.iter().any(|(known, _)| known == key),
            _ => self.seen & bit != 0,
        };
        self.seen |= bit;
        match again {
            true => Err(DecodeError::member(key.to_owned(), "is given twice")),
            false => Ok(()),
        }
    }

    fn read(
        &mut self,
        name: Name,
        key: Cow<'a, str>,
        cursor: &mut Cursor<'a>,
    ) -> Result<(), DecodeError> {
        let named = key.clone();
        self.read_value(name, key, cursor)
            .map_err(|fault| DecodeError::member(named.into_owned(), fault))
    }

    fn read_value(
        &mut self,
        name: Name,
        key: Cow<'a, str>,
        cursor: &mut Cursor<'a>,
    ) -> Result<(), Fault> {
        match name {
            Name::Data => self.read_data(cursor),
            Name::Extra => {
                if self.extra.len() == MAX_EXTRA {
                    return Err(format!("is one unknown member more than {MAX_EXTRA}").into());
                }
                self.extra.push((key, Cow::Borrowed(cursor.raw()?)));
                Ok(())
            }
            Name::Version => {
                let raw = cursor.raw()?.get();
                if raw != "null" {
                    self.version = Some(version_of(raw.trim_matches('"'))?);
                }
                Ok(())
            }
            _ => match string_or_null(cursor)? {
                Some(text) => self.set(name, key, text),
                None => Ok(()),
            },
        }
    }

    /// Sets the member `name` from its text.
    pub(super) fn set(
        &mut self,
        name: Name,
        key: Cow<'a, str>,
        text: Cow<'a, str>,
    ) -> Result<(), Fault> {
        let id_fault = |bad: BadId| Fault::from(bad.to_string());
        match name {
            Name::Id => self.id = Some(EventId::parse(&text).map_err(id_fault)?),
            Name::Time => self.timestamp = Some(time::parse(&text)?),
            Name::Type if text.is_empty() => return Err("is empty".into()),
            Name::Type => self.event_type = Some(without_nul(text)?),
            Name::Source => self.source = Some(without_nul(text)?),
            Name::Version => self.version = Some(version_of(&text)?),
            Name::Spec if text != "1.0" => {
                return Err(format!("is {text:?}, and only CloudEvents 1.0 are read").into());
            }
            // What is empty counts as left out.
            _ if text.is_empty() => {}
            Name::Subject => self.subject = Some(without_nul(text)?),
            Name::Traceparent => self.traceparent = Some(without_nul(text)?),
            Name::Correlation => {
                self.correlation_id = Some(CorrelationId::parse(&text).map_err(id_fault)?);
            }
            Name::Causation => self.causation_id = Some(EventId::parse(&text).map_err(id_fault)?),
            // JSON goes without saying; any other type is kept.
            Name::ContentType if text == "application/json" => {}
            Name::ContentType | Name::Extra => {
                let raw = serde_json::value::to_raw_value(&text)
                    .map_err(|error| Fault::from(error.to_string()))?;
                self.extra.push((key, Cow::Owned(raw)));
            }
            Name::Spec | Name::Data => {}
        }
        Ok(())
    }

    /// Reads members as long as they stand as Dhara itself writes them: in its order, without white
    /// space, each followed by another. Whatever is otherwise is left to [`read_members`].
    fn read_own(&mut self, cursor: &mut Cursor<'a>) {
        if let Some(id) = own_id(cursor, b"\"eventId\":\"", EventId::split_from) {
            self.own(Name::Id).id = Some(id);
        }
        if let Some(text) = own_text(cursor, b"\"eventType\":\"") {
            self.own(Name::Type).event_type = Some(Cow::Borrowed(text));
        }
        let before = *cursor;
        if let Some(text) = own_text(cursor, b"\"timestamp\":\"") {
            match time::parse(text) {
                Ok(time) => self.own(Name::Time).timestamp = Some(time),
                Err(_) => *cursor = before,
            }
        }
        if let Some(text) = own_text(cursor, b"\"source\":\"") {
            self.own(Name::Source).source = Some(Cow::Borrowed(text));
        }
        let name = b"\"correlationId\":\"";
        if let Some(id) = own_id(cursor, name, CorrelationId::split_from) {
            self.own(Name::Correlation).correlation_id = Some(id);
        }
        if let Some(id) = own_id(cursor, b"\"causationId\":\"", EventId::split_from) {
            self.own(Name::Causation).causation_id = Some(id);
        }
        if let Some(text) = own_text(cursor, b"\"traceparent\":\"") {
            self.own(Name::Traceparent).traceparent = Some(Cow::Borrowed(text));
        }
    }

    fn own(&mut self, name: Name) -> &mut Self {
        self.seen |= 1 << name as u32;
        self
    }

    pub(super) fn set_data(&mut self, data: &'a str) {
        self.data = Some(data);
    }

    /// Takes the data without looking into it, where it can only be the last member.
    fn read_data(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Fault> {
        const NEEDED: u32 = 1 << Name::Id as u32
            | 1 << Name::Type as u32
            | 1 << Name::Time as u32
            | 1 << Name::Source as u32;
        if self.seen & NEEDED == NEEDED
            && cursor.peek() == Some(b'{')
            && let Some(data) = last_object(cursor.rest())
        {
            self.data = Some(data);
            cursor.skip(data.len());
            return Ok(());
        }
        self.data = Some(cursor.raw()?.get());
        Ok(())
    }

    /// The envelope, when nothing is missing.
    pub(super) fn finish(self, names: Names) -> Result<Envelope<'a>, DecodeError> {
        let native = names("eventId") == Name::Id;
        let missing = |native_name, cloud_name| {
            let name = if native { native_name } else { cloud_name };
            move || DecodeError::member(name, "is missing")
        };
        let timestamp = match self.timestamp {
            None if native => return Err(missing("timestamp", "time")()),
            timestamp => timestamp.unwrap_or_default(),
        };
        Ok(Envelope {
            id: self.id.ok_or_else(missing("eventId", "id"))?,
            event_type: self.event_type.ok_or_else(missing("eventType", "type"))?,
            timestamp,
            source: self.source.ok_or_else(missing("source", "source"))?,
            version: self.version.unwrap_or(1),
            subject: self.subject,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            traceparent: self.traceparent,
            extra: self.extra,
            data: self.data,
        })
    }
}

/// The text of a member that begins exactly with `name`, is not empty, needs no unescaping and is
/// followed by another member.
fn own_text<'a>(cursor: &mut Cursor<'a>, name: &[u8]) -> Option<&'a str> {
    let value = cursor.bytes().strip_prefix(name)?;
    let length = plain_len(value);
    let rest = value.get(length..)?.strip_prefix(b"\",")?;
    let text = cursor.rest().get(name.len()..name.len() + length)?;
    if text.is_empty() || rest.first() != Some(&b'"') {
        return None;
    }
    cursor.skip_to(rest);
    Some(text)
}

/// As [`own_text`], an id of Dhara's own form.
fn own_id<'a, T>(
    cursor: &mut Cursor<'a>,
    name: &[u8],
    split: impl Fn(&'a [u8]) -> Option<(T, &'a [u8])>,
) -> Option<T> {
    let (id, rest) = split(cursor.bytes().strip_prefix(name)?)?;
    let rest = rest.strip_prefix(b"\",")?;
    if rest.first() != Some(&b'"') {
        return None;
    }
    cursor.skip_to(rest);
    Some(id)
}

/// The object that begins `text`, where it is followed by nothing but the envelope's own brace.
///
/// An object that another member follows ends with a brace, a comma and a quote, with or without
/// white space between them. Where there is nothing of the kind, the object is the last member.
fn last_object(text: &str) -> Option<&str> {
    let data = text.trim_ascii_end().strip_suffix('}')?.trim_ascii_end();
    let bytes = data.as_bytes();
    let (second, third) = (bytes.get(1..)?, bytes.get(2..)?);
    // Without branches, which lets the compiler look at sixteen places at a time. All that is no
    // more than a space counts as white space.
    let ends = bytes.iter().zip(second).zip(third).fold(false, |ends, ((first, second), third)| {
        let quote = (*third == b'"') | (*third <= b' ');
        ends | (*first == b'}') & ((*second == b',') & quote | (*second <= b' '))
    });
    (!ends).then_some(data)
}

fn string_or_null<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Cow<'a, str>>, Fault> {
    match cursor.peek() {
        Some(b'"') => cursor.string().map(Some),
        Some(b'n') => match cursor.take_text(b"null") {
            true => Ok(None),
            false => Err(cursor.unexpected("a string")),
        },
        Some(b'{') => Err("is an object, not a string".into()),
        Some(b'[') => Err("is an array, not a string".into()),
        Some(b't' | b'f') => Err("is a boolean, not a string".into()),
        Some(b'-' | b'0'..=b'9') => Err("is a number, not a string".into()),
        _ => Err(cursor.unexpected("a string")),
    }
}

fn version_of(text: &str) -> Result<u32, Fault> {
    match text.parse() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(format!("is {:.40}, not a whole number from 1 to {}", text, u32::MAX).into()),
    }
}

fn without_nul(text: Cow<'_, str>) -> Result<Cow<'_, str>, Fault> {
    match memchr::memchr(0, text.as_bytes()) {
        Some(_) => Err("has a NUL character in it".into()),
        None => Ok(text),
    }
}
