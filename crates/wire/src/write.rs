//! Structs in, bytes out.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Encoded, Fault, What};
use crate::frame::Frame;
use crate::read::{Element, LONGEST_TEXT};
use crate::{Array, Tags, Text, Uuid};

/// From this length on bytes are handed on as they are; shorter ones are cheaper to copy.
const COPIED_BELOW: usize = 4096;

/// Gathers the bytes of a message.
///
/// Long record batches are not copied: they stand between the parts of a [`Frame`].
pub struct Writer {
    copied: BytesMut,
    /// Long bytes, each with the number of copied ones before it.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
    version: i16,
    flexible: bool,
}

impl Writer {
    pub(crate) fn new(version: i16, flexible: bool) -> Self {
        Self { copied: BytesMut::new(), shared: Vec::new(), shared_bytes: 0, version, flexible }
    }

    /// The same, with memory taken for so many bytes.
    pub(crate) fn with_room(mut self, length: usize) -> Self {
        self.copied.reserve(length);
        self
    }

    pub(crate) fn version(&self) -> i16 {
        self.version
    }

    /// How much was written.
    pub(crate) fn len(&self) -> usize {
        self.copied.len() + self.shared_bytes
    }

    /// Puts `length` in the place of the first four bytes.
    pub(crate) fn set_length(&mut self, length: i32) {
        if let Some(place) = self.copied.first_chunk_mut::<4>() {
            *place = length.to_be_bytes();
        }
    }

    pub(crate) fn finish(self) -> Frame {
        let length = self.len();
        let mut parts = Vec::with_capacity(self.shared.len() * 2 + 1);
        let mut copied = self.copied.freeze();
        let mut passed = 0;
        for (before, shared) in self.shared {
            let part = copied.split_to(before - passed);
            passed = before;
            parts.extend([part, shared].into_iter().filter(|part| !part.is_empty()));
        }
        if !copied.is_empty() {
            parts.push(copied);
        }
        Frame::new(parts, length)
    }

    #[cold]
    fn fault(&self, field: &str, what: What) -> Fault {
        Fault::new(field, self.len(), what)
    }

    /// That `field` has a value which this version has no place for.
    #[cold]
    pub(crate) fn no_place(&self, field: &str) -> Fault {
        self.fault(field, What::NoPlace)
    }

    /// A value where null is not allowed.
    pub(crate) fn present<'v, T>(&self, field: &str, value: Option<&'v T>) -> Result<&'v T, Fault> {
        value.ok_or_else(|| self.fault(field, What::Null))
    }
}

/// The writing of fields, named as `schema/` names their types.
impl Writer {
    pub(crate) fn bool(&mut self, value: bool) {
        self.copied.put_u8(u8::from(value));
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.copied.put_i8(value);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.copied.put_i16(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.copied.put_u16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.copied.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.copied.put_i64(value);
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.copied.put_f64(value);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.copied.put_slice(value.as_bytes());
    }

    /// A number in groups of seven bits, the lowest first.
    pub(crate) fn varint(&mut self, mut value: u32) {
        while value > 0x7f {
            self.copied.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.copied.put_u8(value as u8);
    }

    pub(crate) fn text(&mut self, field: &str, value: &Text) -> Encoded {
        self.nullable_text(field, Some(value))
    }

    pub(crate) fn nullable_text(&mut self, field: &str, value: Option<&Text>) -> Encoded {
        if !self.flexible {
            return self.short_text(field, value);
        }
        let length = value.map(|value| self.text_length(field, value)).transpose()?;
        self.varint(length.map_or(0, |length| u32::from(length) + 1));
        self.copied.put_slice(value.map(|value| &**value.as_bytes()).unwrap_or_default());
        Ok(())
    }

    /// A text whose length takes two bytes, as in every version of a header.
    pub(crate) fn short_text(&mut self, field: &str, value: Option<&Text>) -> Encoded {
        let Some(value) = value else {
            self.i16(-1);
            return Ok(());
        };
        let length = self.text_length(field, value)?;
        self.u16(length);
        self.copied.put_slice(value.as_bytes());
        Ok(())
    }

    fn text_length(&self, field: &str, value: &Text) -> Result<u16, Fault> {
        let length = value.len();
        let too_long = || self.fault(field, What::TooLong { length, most: LONGEST_TEXT });
        u16::try_from(length).ok().filter(|_| length <= LONGEST_TEXT).ok_or_else(too_long)
    }

    pub(crate) fn bytes(&mut self, field: &str, value: &Bytes) -> Encoded {
        self.nullable_bytes(field, Some(value))
    }

    pub(crate) fn nullable_bytes(&mut self, field: &str, value: Option<&Bytes>) -> Encoded {
        self.length(field, value.map(Bytes::len))?;
        match value {
            Some(value) if value.len() >= COPIED_BELOW => {
                self.shared_bytes += value.len();
                self.shared.push((self.copied.len(), value.clone()));
            }
            Some(value) => self.copied.put_slice(value),
            None => {}
        }
        Ok(())
    }

    /// A length of four bytes, or a compact one; `None` stands for null.
    fn length(&mut self, field: &str, length: Option<usize>) -> Encoded {
        const MOST: usize = i32::MAX as usize;
        let Some(length) = length else {
            if self.flexible {
                self.varint(0)
            } else {
                self.i32(-1)
            }
            return Ok(());
        };
        let Ok(short) = i32::try_from(length) else {
            return Err(self.fault(field, What::TooLong { length, most: MOST }));
        };
        if self.flexible {
            self.varint(short.unsigned_abs() + 1)
        } else {
            self.i32(short)
        }
        Ok(())
    }
}

/// The writing of what holds more than one value.
impl Writer {
    pub(crate) fn array<T: Element + Clone>(&mut self, field: &str, value: &Array<T>) -> Encoded {
        self.nullable_array(field, Some(value))
    }

    pub(crate) fn nullable_array<T: Element + Clone>(
        &mut self,
        field: &str,
        value: Option<&Array<T>>,
    ) -> Encoded {
        self.length(field, value.map(Array::len))?;
        let Some(value) = value else { return Ok(()) };
        value.each(|index, element| {
            element.write(self).map_err(|fault| fault.within_element(field, index))
        })
    }

    pub(crate) fn structure<T: Element>(&mut self, field: &str, value: &T) -> Encoded {
        value.write(self).map_err(|fault| fault.within(field))
    }

    /// A struct after a byte that says whether there is one.
    pub(crate) fn nullable_structure<T: Element>(
        &mut self,
        field: &str,
        value: Option<&T>,
    ) -> Encoded {
        self.i8(if value.is_some() { 1 } else { -1 });
        value.map_or(Ok(()), |value| self.structure(field, value))
    }

    /// The tagged fields of a struct: those that it knows, and those that nobody does.
    pub(crate) fn tags(&mut self, known: KnownTags, unknown: Option<&Tags>) -> Encoded {
        let mut fields = known.0;
        fields.extend(unknown.into_iter().flat_map(Tags::iter));
        if !self.flexible {
            let none = fields.is_empty();
            return if none { Ok(()) } else { Err(self.no_place("tagged fields")) };
        }
        fields.sort_by_key(|(tag, _)| *tag);
        self.varint(fields.len() as u32);
        for (tag, field) in fields {
            self.varint(tag);
            self.varint(field.len() as u32);
            self.copied.put_slice(&field);
        }
        Ok(())
    }
}

/// The tagged fields of a struct that differ from their defaults.
pub(crate) struct KnownTags(Vec<(u32, Bytes)>);

impl KnownTags {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds the field that `write` writes.
    pub(crate) fn add(
        &mut self,
        beside: &Writer,
        tag: u32,
        write: impl FnOnce(&mut Writer) -> Encoded,
    ) -> Encoded {
        let mut writer = Writer::new(beside.version, beside.flexible);
        write(&mut writer)?;
        self.0.push((tag, writer.finish().to_bytes()));
        Ok(())
    }
}
