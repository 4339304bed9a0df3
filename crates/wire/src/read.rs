//! Bytes in, structs out.

use bytes::Bytes;

use crate::error::{Decoded, Encoded, Fault, What};
use crate::tags::Kept;
use crate::{Array, DecodeError, EncodeError, Tags, Text, Uuid, Versions, Writer};

/// The longest text there may be, compact or not.
pub(crate) const LONGEST_TEXT: usize = i16::MAX as usize;

/// What a message is made of: its structs, and what an [`Array`] may hold.
///
/// The structs of messages are the only ones that implement this: no struct holds itself, so the
/// depth of a message is bounded by its description.
pub trait Element: Sized {
    /// The fewest bytes that it takes in any version.
    #[doc(hidden)]
    const LEAST: usize;
    /// Whether it always takes these.
    #[doc(hidden)]
    const FIXED: bool = false;
    /// Reads one.
    #[doc(hidden)]
    fn read(r: &mut Reader<'_>) -> Result<Self, Fault>;
    /// Writes it.
    #[doc(hidden)]
    fn write(&self, w: &mut Writer) -> Result<(), Fault>;
}

/// A request, a response, or data that travels inside one.
pub trait Message: Element {
    /// The name as Kafka's documentation writes it.
    const NAME: &'static str;
    /// The versions that are read and written.
    const VERSIONS: Versions;
    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE: Option<i16>;

    /// Reads a message that fills `bytes`.
    fn decode(bytes: &Bytes, version: i16) -> Result<Self, DecodeError> {
        let told = |fault| DecodeError::new(Self::NAME, version, fault);
        if !Self::VERSIONS.has(version) {
            return Err(told(Fault::new("", 0, What::Version(Self::VERSIONS))));
        }
        let mut reader = Reader::new(bytes, 0, version, Self::is_flexible(version));
        let message = Self::read(&mut reader).map_err(told)?;
        reader.finish().map_err(told)?;
        Ok(message)
    }

    /// Writes the message alone, without header and length.
    fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
        let told = |fault| EncodeError::new(Self::NAME, version, fault);
        if !Self::VERSIONS.has(version) {
            return Err(told(Fault::new("", 0, What::Version(Self::VERSIONS))));
        }
        let mut writer = Writer::new(version, Self::is_flexible(version));
        self.write(&mut writer).map_err(told)?;
        Ok(writer.finish().to_bytes())
    }

    /// Whether this version has compact lengths and tagged fields.
    #[doc(hidden)]
    fn is_flexible(version: i16) -> bool {
        Self::FLEXIBLE.is_some_and(|first| first <= version)
    }
}

/// Goes through the bytes of a message.
pub struct Reader<'a> {
    frame: &'a Bytes,
    /// The next byte.
    at: usize,
    /// Where the message, or the tagged field within it, ends.
    end: usize,
    version: i16,
    flexible: bool,
    /// Whether this pass only checks: what it makes is thrown away, and no slice is taken.
    checks: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(frame: &'a Bytes, at: usize, version: i16, flexible: bool) -> Self {
        Self { frame, at, end: frame.len(), version, flexible, checks: false }
    }

    /// A reader of another message that follows in the same frame.
    pub(crate) fn follow(self, version: i16, flexible: bool) -> Self {
        Self { version, flexible, ..self }
    }

    pub(crate) fn version(&self) -> i16 {
        self.version
    }

    /// That nothing is left.
    pub(crate) fn finish(&self) -> Decoded<()> {
        match self.end.saturating_sub(self.at) {
            0 => Ok(()),
            rest => Err(self.fault("", What::Rest(rest))),
        }
    }

    #[cold]
    fn fault(&self, field: &'static str, what: What) -> Fault {
        Fault::new(field, self.at, what)
    }

    fn left(&self) -> &'a [u8] {
        self.frame.get(self.at..self.end).unwrap_or_default()
    }

    /// Passes over `length` bytes, and tells where they begin.
    fn pass(&mut self, field: &'static str, length: usize) -> Decoded<usize> {
        let left = self.end.saturating_sub(self.at);
        if length > left {
            return Err(self.fault(field, What::Ends { needed: length, left }));
        }
        let start = self.at;
        self.at += length;
        Ok(start)
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Decoded<[u8; N]> {
        match self.left().first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.fault(field, What::Ends { needed: N, left: self.left().len() })),
        }
    }

    /// A number in groups of seven bits, the lowest first.
    pub(crate) fn varint(&mut self, field: &'static str) -> Decoded<u32> {
        let mut value: u32 = 0;
        for (byte, shift) in self.left().iter().zip((0..).step_by(7)) {
            let group = u32::from(byte & 0x7f);
            if shift > 28 || (shift == 28 && group > 0x0f) {
                return Err(self.fault(field, What::Number));
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                self.at += shift as usize / 7 + 1;
                return Ok(value);
            }
        }
        let left = self.left().len();
        Err(self.fault(field, What::Ends { needed: left + 1, left }))
    }
}

/// The reading of fields, named as `schema/` names their types.
impl Reader<'_> {
    pub(crate) fn bool(&mut self, field: &'static str) -> Decoded<bool> {
        self.take::<1>(field).map(|[byte]| byte != 0)
    }

    pub(crate) fn i8(&mut self, field: &'static str) -> Decoded<i8> {
        self.take(field).map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Decoded<i16> {
        self.take(field).map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Decoded<i32> {
        self.take(field).map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self, field: &'static str) -> Decoded<i64> {
        self.take(field).map(i64::from_be_bytes)
    }

    pub(crate) fn f64(&mut self, field: &'static str) -> Decoded<f64> {
        self.take(field).map(f64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self, field: &'static str) -> Decoded<Uuid> {
        self.take(field).map(Uuid::from_bytes)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Decoded<Text> {
        self.nullable_text(field)?.ok_or_else(|| self.fault(field, What::Null))
    }

    pub(crate) fn nullable_text(&mut self, field: &'static str) -> Decoded<Option<Text>> {
        if self.flexible {
            let length = self.length(field, true)?;
            self.text_of(field, length)
        } else {
            self.short_text(field)
        }
    }

    /// A text whose length takes two bytes, as in every version of a header.
    pub(crate) fn short_text(&mut self, field: &'static str) -> Decoded<Option<Text>> {
        let length = i64::from(self.i16(field)?);
        let length = self.not_negative(field, length)?;
        self.text_of(field, length)
    }

    fn text_of(&mut self, field: &'static str, length: Option<usize>) -> Decoded<Option<Text>> {
        let Some(length) = length else { return Ok(None) };
        if length > LONGEST_TEXT {
            return Err(self.fault(field, What::TooLong { length, most: LONGEST_TEXT }));
        }
        let start = self.pass(field, length)?;
        let bytes = self.frame.get(start..self.at).unwrap_or_default();
        if std::str::from_utf8(bytes).is_err() {
            return Err(Fault::new(field, start, What::NotUtf8));
        }
        Ok(Some(Text::checked(self.slice(start))))
    }

    pub(crate) fn bytes(&mut self, field: &'static str) -> Decoded<Bytes> {
        self.nullable_bytes(field)?.ok_or_else(|| self.fault(field, What::Null))
    }

    pub(crate) fn nullable_bytes(&mut self, field: &'static str) -> Decoded<Option<Bytes>> {
        let Some(length) = self.length(field, self.flexible)? else { return Ok(None) };
        let start = self.pass(field, length)?;
        Ok(Some(self.slice(start)))
    }

    /// The bytes from `start` to here; none while this pass only checks.
    fn slice(&self, start: usize) -> Bytes {
        if self.checks { Bytes::new() } else { self.frame.slice(start..self.at) }
    }

    /// A length of four bytes, or a compact one; `None` stands for null.
    fn length(&mut self, field: &'static str, compact: bool) -> Decoded<Option<usize>> {
        if compact {
            let above = self.varint(field)?;
            return Ok(above.checked_sub(1).map(|length| length as usize));
        }
        let length = i64::from(self.i32(field)?);
        self.not_negative(field, length)
    }

    fn not_negative(&self, field: &'static str, length: i64) -> Decoded<Option<usize>> {
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(self.fault(field, What::Negative(length))),
        }
    }
}

/// The reading of what holds more than one value.
impl Reader<'_> {
    pub(crate) fn array<T: Element>(&mut self, field: &'static str) -> Decoded<Array<T>> {
        self.nullable_array(field)?.ok_or_else(|| self.fault(field, What::Null))
    }

    pub(crate) fn nullable_array<T: Element>(
        &mut self,
        field: &'static str,
    ) -> Decoded<Option<Array<T>>> {
        let Some(count) = self.length(field, self.flexible)? else { return Ok(None) };
        if count == 0 {
            return Ok(Some(Array::new()));
        }
        self.bounded(field, count, T::LEAST)?;
        let start = self.at;
        if T::FIXED {
            self.pass(field, count.saturating_mul(T::LEAST))?;
        } else {
            self.check::<T>(field, count)?;
        }
        if self.checks {
            return Ok(Some(Array::new()));
        }
        Ok(Some(Array::read(self.slice(start), count, self.version, self.flexible)))
    }

    /// That what is left can hold `count` elements.
    fn bounded(&self, field: &'static str, count: usize, least: usize) -> Decoded<()> {
        let left = self.end.saturating_sub(self.at);
        match count.checked_mul(least) {
            Some(size) if size <= left => Ok(()),
            _ => Err(self.fault(field, What::Count { claimed: count, left })),
        }
    }

    /// Reads `count` elements, and keeps none.
    fn check<T: Element>(&mut self, field: &'static str, count: usize) -> Decoded<()> {
        let checks = std::mem::replace(&mut self.checks, true);
        for index in 0..count {
            T::read(self).map_err(|fault| fault.within_element(field, index))?;
        }
        self.checks = checks;
        Ok(())
    }

    pub(crate) fn structure<T: Element>(&mut self, field: &'static str) -> Decoded<T> {
        T::read(self).map_err(|fault| fault.within(field))
    }

    /// A struct after a byte that says whether there is one.
    pub(crate) fn nullable_structure<T: Element>(
        &mut self,
        field: &'static str,
    ) -> Decoded<Option<T>> {
        if self.i8(field)? < 0 {
            return Ok(None);
        }
        self.structure(field).map(Some)
    }

    /// The tagged fields of a struct; `known` reads those that it knows. The others are passed
    /// over.
    pub(crate) fn skip_tags(
        &mut self,
        known: impl FnMut(&mut Self, u32) -> Decoded<bool>,
    ) -> Decoded<()> {
        self.tags(known, |_, _| ())
    }

    /// The same, with the others kept.
    pub(crate) fn keep_tags(
        &mut self,
        known: impl FnMut(&mut Self, u32) -> Decoded<bool>,
    ) -> Decoded<Tags> {
        let mut kept = Kept::new(self.frame);
        self.tags(known, |start, end| kept.add(start, end))?;
        Ok(kept.finish())
    }

    fn tags(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Decoded<bool>,
        mut other: impl FnMut(usize, usize),
    ) -> Decoded<()> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.varint(TAGS)? as usize;
        // A tag takes a byte for its number and one for its size.
        self.bounded(TAGS, count, 2)?;
        let mut previous = None;
        for _ in 0..count {
            let begin = self.at;
            let tag = self.varint(TAGS)?;
            if let Some(after) = previous.replace(tag).filter(|previous| *previous >= tag) {
                return Err(self.fault(TAGS, What::TagOrder { tag, after }));
            }
            let size = self.varint(TAGS)? as usize;
            let start = self.pass(TAGS, size)?;
            let after = std::mem::replace(&mut self.at, start);
            let end = std::mem::replace(&mut self.end, after);
            if !known(self, tag)? {
                other(begin, after);
                self.at = after;
            }
            if self.at != after {
                return Err(self.fault(TAGS, What::TagSize { tag, left: after - self.at }));
            }
            self.end = end;
        }
        Ok(())
    }

    /// A tagged field of any kind; none at the end.
    pub(crate) fn tag(&mut self) -> Decoded<Option<(u32, Bytes)>> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = self.varint(TAGS)?;
        let size = self.varint(TAGS)? as usize;
        let start = self.pass(TAGS, size)?;
        Ok(Some((tag, self.slice(start))))
    }
}

/// What faults among tagged fields are called.
const TAGS: &str = "tagged fields";

/// Values that an array may hold as well as structs.
macro_rules! plain_elements {
    ($($ty:ty, $method:ident, $size:literal;)*) => {$(
        impl Element for $ty {
            const LEAST: usize = $size;
            const FIXED: bool = true;

            fn read(r: &mut Reader<'_>) -> Decoded<Self> {
                r.$method("")
            }

            fn write(&self, w: &mut Writer) -> Encoded {
                w.$method(*self);
                Ok(())
            }
        }
    )*};
}

plain_elements! {
    i8, i8, 1;
    i16, i16, 2;
    i32, i32, 4;
    i64, i64, 8;
    Uuid, uuid, 16;
}

impl Element for Text {
    const LEAST: usize = 1;

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.text("")
    }

    fn write(&self, w: &mut Writer) -> Encoded {
        w.text("", self)
    }
}
