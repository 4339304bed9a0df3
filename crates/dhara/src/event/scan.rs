//! Reads JSON one token at a time, without copying what needs no unescaping.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// A place in a text that is read as JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// What is wrong with the text here, as the end of a sentence about it.
pub(super) type Fault = Cow<'static, str>;

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// What lies ahead.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What lies ahead, as bytes.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next byte that is no white space, without taking it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let mut rest = self.bytes();
        while let Some((b' ' | b'\n' | b'\r' | b'\t', after)) = rest.split_first() {
            self.at += 1;
            rest = after;
        }
        rest.first().copied()
    }

    /// Takes the next byte that is no white space, when it is `wanted`.
    pub(super) fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Takes exactly `wanted`, when it comes next.
    pub(super) fn take_text(&mut self, wanted: &[u8]) -> bool {
        let found = self.bytes().starts_with(wanted);
        self.at += if found { wanted.len() } else { 0 };
        found
    }

    /// Takes what lies before `rest`, which is the end of what lies ahead.
    pub(super) fn skip_to(&mut self, rest: &[u8]) {
        self.at = self.text.len().saturating_sub(rest.len());
    }

    /// Takes `length` bytes unseen.
    pub(super) fn skip(&mut self, length: usize) {
        self.at += length;
    }

    /// Takes a string, which the caller knows to begin here or after white space.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        if !self.take(b'"') {
            return Err(self.unexpected("a string"));
        }
        let start = self.at;
        let length = plain_len(self.bytes());
        match self.bytes().get(length) {
            Some(b'"') => {
                self.at = start + length + 1;
                Ok(Cow::Borrowed(self.text.get(start..start + length).unwrap_or_default()))
            }
            Some(_) => {
                self.at = start - 1;
                self.value::<String>().map(Cow::Owned)
            }
            None => Err("is cut off in the middle of a string".into()),
        }
    }

    /// Takes the next value, whatever it is, checks it and gives its text.
    pub(super) fn raw(&mut self) -> Result<&'a RawValue, Fault> {
        self.value()
    }

    /// Takes the next value as a `T`.
    fn value<T: serde::Deserialize<'a>>(&mut self) -> Result<T, Fault> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<T>();
        let value = values.next();
        let length = values.byte_offset();
        match value {
            Some(Ok(value)) => {
                self.at += length;
                Ok(value)
            }
            Some(Err(error)) => Err(reason_of(&error).into()),
            None => Err("is cut off where a value is wanted".into()),
        }
    }

    /// What stands here instead of what was wanted.
    pub(super) fn unexpected(&mut self, wanted: &str) -> Fault {
        self.peek();
        match self.rest().chars().next() {
            Some(found) => {
                format!("has {found:?} at byte {} where {wanted} is wanted", self.at).into()
            }
            None => format!("is cut off at byte {} where {wanted} is wanted", self.at).into(),
        }
    }
}

/// How many bytes at the start stand for themselves in a JSON string: no quote, no backslash, no
/// control character.
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = special(u64::from_le_bytes(*word));
        if marks != 0 {
            return index * 8 + (marks.trailing_zeros() / 8) as usize;
        }
    }
    let plain = |byte: &u8| *byte >= 0x20 && !matches!(byte, b'"' | b'\\');
    words.len() * 8 + rest.iter().take_while(|byte| plain(byte)).count()
}

/// Marks the high bit of each byte that is a quote, a backslash or a control character. Above the
/// lowest mark there may be false ones, from the borrow of the subtraction.
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let quote = word ^ (ONES * u64::from(b'"'));
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & (ONES * 0x80)
}

/// What serde_json says, without the line and column that it appends.
pub(super) fn reason_of(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    if text.ends_with(&place) {
        text.truncate(text.len() - place.len());
    }
    if matches!(
        text.as_str(),
        "unexpected end of hex escape" | "lone leading surrogate in hex escape"
    ) {
        return "has a string with half of a surrogate pair in it".to_owned();
    }
    format!("is wrong: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_special_byte_is_found_in_each_place() {
        for length in 0..40 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![0xc3; length];
                    bytes[place] = byte;
                    let special = byte < 0x20 || matches!(byte, b'"' | b'\\');
                    let expected = if special { place } else { length };
                    assert_eq!(plain_len(&bytes), expected, "{byte} at {place} of {length}");
                }
            }
        }
    }
}
