//! The ids of events: a UUIDv7 in sixteen bytes, or whatever text another producer chose.

use std::fmt;
use std::sync::Arc;

use crate::world::Uuid;

const PREFIX: &[u8; 4] = b"evt_";
/// `evt_` and 32 hexadecimal digits.
const UUID_TEXT: usize = 36;

/// The id of an event: `evt_` and the 32 digits of a UUIDv7, or any other text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Id);

/// The id that everything shares which one first event has caused: that event's own id, unless
/// whoever published it chose another text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CorrelationId(Id);

/// A text cannot be an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadId {
    /// It is empty.
    Empty,
    /// It has a NUL character in it, which not every store can keep.
    Nul,
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty, which no id can be",
            Self::Nul => "has a NUL character in it, which no id can have",
        })
    }
}

impl std::error::Error for BadId {}

/// A text that is `evt_` and a UUID's digits is always kept as the UUID, so that equality is that of
/// the texts; see [`Id::of_uuid`] for the rare exception.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Uuid([u8; 16]),
    Text(Arc<str>),
}

impl Id {
    /// Sixteen bytes that are UTF-8 could also be the text of another id, and the two would share a
    /// key in the inbox; such a UUID is kept as text. No UUIDv7 of the years until 2039 is one.
    fn of_uuid(uuid: u128) -> Self {
        let bytes = uuid.to_be_bytes();
        match std::str::from_utf8(&bytes) {
            Err(_) => Self::Uuid(bytes),
            Ok(_) => Self::Text(format!("evt_{uuid:032x}").into()),
        }
    }

    fn parse(text: &str) -> Result<Self, BadId> {
        if let Some(uuid) = uuid_of(text.as_bytes()) {
            return Ok(Self::of_uuid(uuid));
        }
        if text.is_empty() {
            return Err(BadId::Empty);
        }
        if memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(BadId::Nul);
        }
        Ok(Self::Text(text.into()))
    }

    fn with_text<T>(&self, work: impl FnOnce(&str) -> T) -> T {
        match self {
            Self::Text(text) => work(text),
            Self::Uuid(bytes) => {
                let text = uuid_text(*bytes);
                // The digits and the prefix are ASCII.
                work(std::str::from_utf8(&text).unwrap_or_default())
            }
        }
    }
}

fn uuid_of(text: &[u8]) -> Option<u128> {
    uuid_of_digits(text.strip_prefix(PREFIX)?.try_into().ok()?)
}

fn uuid_of_digits(digits: &[u8; 32]) -> Option<u128> {
    let ([a, b, c, d], []) = digits.as_chunks::<8>() else { return None };
    let high = u64::from(from_hex(*a)?) << 32 | u64::from(from_hex(*b)?);
    let low = u64::from(from_hex(*c)?) << 32 | u64::from(from_hex(*d)?);
    Some(u128::from(high) << 64 | u128::from(low))
}

/// The 32 digits at the start of `text` as an id, and what follows them.
fn split_uuid(text: &[u8]) -> Option<(Id, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<32>()?;
    let uuid = uuid_of_digits(digits)?;
    Some((Id::of_uuid(uuid), rest))
}

fn uuid_text(bytes: [u8; 16]) -> [u8; UUID_TEXT] {
    let [_, text @ .., _] = quoted_uuid(bytes);
    text
}

/// The id's text between quotes.
fn quoted_uuid(bytes: [u8; 16]) -> [u8; UUID_TEXT + 2] {
    let uuid = u128::from_be_bytes(bytes);
    let mut text = *b"\"evt_00000000000000000000000000000000\"";
    let [_, _, _, _, _, digits @ .., _] = &mut text;
    let (groups, _) = digits.as_chunks_mut::<8>();
    for (group, shift) in groups.iter_mut().zip([96, 64, 32, 0]) {
        // Only the low 32 bits are wanted.
        *group = to_hex((uuid >> shift) as u32);
    }
    text
}

/// The eight lower-case hexadecimal digits of `value`, all at once.
fn to_hex(value: u32) -> [u8; 8] {
    // Spreads the nibbles, one to a byte.
    let mut nibbles = u64::from(value);
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// The value of eight lower-case hexadecimal digits; `None` for any other bytes.
fn from_hex(digits: [u8; 8]) -> Option<u32> {
    let text = u64::from_be_bytes(digits);
    let letters = text >> 6 & 0x0101_0101_0101_0101;
    let mut value = (text & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9;
    value = (value | value >> 4) & 0x00ff_00ff_00ff_00ff;
    value = (value | value >> 8) & 0x0000_ffff_0000_ffff;
    // Only the low 32 bits are wanted.
    let value = (value | value >> 16) as u32;
    // Whatever was no digit comes out otherwise than it went in.
    (to_hex(value) == digits).then_some(value)
}

/// What an id is known by in an inbox: see [`EventId::to_key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdKey<'a>(&'a [u8]);

impl AsRef<[u8]> for IdKey<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

macro_rules! id_type {
    ($name:ident) => {
        impl $name {
            /// The id that `text` is.
            ///
            /// # Errors
            ///
            /// An empty text, and one with a NUL character in it.
            pub fn parse(text: &str) -> Result<Self, BadId> {
                Id::parse(text).map(Self)
            }

            /// Hands the id's text to `work`, without an allocation.
            pub(crate) fn with_text<T>(&self, work: impl FnOnce(&str) -> T) -> T {
                self.0.with_text(work)
            }

            /// Takes an id from the start of `text`, where it has the form of Dhara's own ids.
            pub(super) fn split_from(text: &[u8]) -> Option<(Self, &[u8])> {
                let (id, rest) = split_uuid(text.strip_prefix(PREFIX)?)?;
                Some((Self(id), rest))
            }

            /// Appends the id as a JSON string.
            pub(super) fn write_json(&self, out: &mut Vec<u8>) {
                match &self.0 {
                    Id::Uuid(bytes) => out.extend_from_slice(&quoted_uuid(*bytes)),
                    Id::Text(text) => super::write::quoted(text, out),
                }
            }

            /// The shortest bytes that tell ids apart: the UUID's sixteen, or the text's. No two ids
            /// have the same.
            pub fn to_key(&self) -> IdKey<'_> {
                match &self.0 {
                    Id::Uuid(bytes) => IdKey(bytes),
                    Id::Text(text) => IdKey(text.as_bytes()),
                }
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(Id::of_uuid(uuid.as_u128()))
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.with_text(|text| f.pad(text))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.with_text(|text| write!(f, "{}({text:?})", stringify!($name)))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.with_text(|text| serializer.serialize_str(text))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                Self::parse(&text).map_err(|bad| serde::de::Error::custom(format!("the id {bad}")))
            }
        }
    };
}

id_type!(EventId);
id_type!(CorrelationId);

impl EventId {
    /// The id's key, given back as the id: what [`EventId::to_key`] gave is read again.
    ///
    /// # Errors
    ///
    /// Bytes that no id has.
    pub fn from_key(key: &[u8]) -> Result<Self, BadId> {
        match std::str::from_utf8(key) {
            Ok(text) => Self::parse(text),
            Err(_) => {
                let bytes: [u8; 16] = key.try_into().map_err(|_| BadId::Empty)?;
                Ok(Self(Id::Uuid(bytes)))
            }
        }
    }
}

impl From<EventId> for CorrelationId {
    fn from(id: EventId) -> Self {
        Self(id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_kept_inline_and_reads_back_as_it_was_written() {
        let uuid = Uuid::from_u128(0x019a_8f3c_0000_7000_8000_0000_dead_beef);
        let id = EventId::from(uuid);
        assert_eq!(id.to_string(), "evt_019a8f3c0000700080000000deadbeef");
        assert_eq!(EventId::parse(&id.to_string()), Ok(id.clone()));
        assert_eq!(id.to_key().as_ref(), uuid.as_u128().to_be_bytes());
        assert_eq!(EventId::from_key(id.to_key().as_ref()), Ok(id));
    }

    #[test]
    fn any_other_text_stays_what_it_is() {
        let almost = [
            "evt_12345",
            "evt_019A8F3C0000700080000000DEADBEEF",
            "evt_019a8f3c0000700080000000deadbee",
            "evt_019a8f3c0000700080000000deadbeeff",
            "evt_019a8f3c0000700080000000deadbeeg",
            "evt_019a8f3c0000700080000000deadbe\u{ff}",
            "EVT_019a8f3c0000700080000000deadbeef",
            "ধারা",
        ];
        for text in almost {
            let id = EventId::parse(text).unwrap();
            assert!(matches!(id.0, Id::Text(_)), "{text}");
            assert_eq!(id.to_string(), text);
            assert_eq!(id.to_key().as_ref(), text.as_bytes());
        }
        assert_eq!(EventId::parse(""), Err(BadId::Empty));
        assert_eq!(EventId::parse("a\0b"), Err(BadId::Nul));
    }

    #[test]
    fn every_byte_in_every_place_of_a_digit_group_is_told_right() {
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"09afc3d7";
                digits[place] = byte;
                let expected = std::str::from_utf8(&digits)
                    .ok()
                    .filter(|text| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                    .and_then(|text| u32::from_str_radix(text, 16).ok());
                assert_eq!(from_hex(digits), expected, "{digits:?}");
            }
        }
    }

    #[test]
    fn a_uuid_that_reads_as_text_does_not_share_a_key_with_that_text() {
        let uuid = EventId::from(Uuid::from_u128(u128::from_be_bytes(*b"aaaaaaaaaaaaaaaa")));
        let text = EventId::parse("aaaaaaaaaaaaaaaa").unwrap();
        assert_ne!(uuid, text);
        assert_ne!(uuid.to_key(), text.to_key());
        assert_eq!(EventId::parse(&uuid.to_string()), Ok(uuid));
    }
}
