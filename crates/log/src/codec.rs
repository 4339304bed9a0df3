//! Little-endian reading with every length checked against what is there, and the frame that all
//! kinds of files have.

use std::path::Path;

use bytes::BufMut;

use crate::LogError;

/// The version of the format that this code writes.
pub(crate) const VERSION: u32 = 2;
/// The oldest version that it reads.
const OLDEST: u32 = 1;

/// Reads from the front of some bytes; `None` where they end too soon.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes with a length of four bytes before them.
    pub(crate) fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    /// A list with its length of four bytes before it. Memory grows with what is really there.
    pub(crate) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut list = Vec::with_capacity(self.room_for(size_of::<T>()).min(count as usize));
        for _ in 0..count {
            list.push(read(self)?);
        }
        Some(list)
    }

    /// Text with a length of two bytes before it.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = self.u16()?;
        std::str::from_utf8(self.take(usize::from(length))?).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many elements of `size` bytes the rest can hold: the most that is worth reserving for.
    pub(crate) fn room_for(&self, size: usize) -> usize {
        self.rest.len() / size.max(1)
    }
}

/// Appends text with a length of two bytes before it. Names and metadata are bounded well below.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend(text.as_bytes().iter().take(usize::from(length)));
}

/// Appends bytes with a length of four bytes before them.
pub(crate) fn put_block(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// Appends a list with its length of four bytes before it.
pub(crate) fn put_list<T>(
    out: &mut Vec<u8>,
    list: impl ExactSizeIterator<Item = T>,
    mut put: impl FnMut(&mut Vec<u8>, T),
) {
    out.put_u32_le(u32::try_from(list.len()).unwrap_or(u32::MAX));
    list.for_each(|item| put(out, item));
}

/// `length` as a `usize`; saturates, so that a check against what is there fails.
pub(crate) fn size(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// A file of one piece: magic, version, checksum of the rest, the rest.
pub(crate) fn seal_bytes(magic: &[u8; 8], rest: &[u8]) -> Vec<u8> {
    seal_version(magic, VERSION, rest)
}

/// As [`seal_bytes`], for a kind of file with a version of its own.
pub(crate) fn seal_version(magic: &[u8; 8], version: u32, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + rest.len());
    out.extend_from_slice(magic);
    out.put_u32_le(version);
    out.put_u32_le(crc32c::crc32c(rest));
    out.extend_from_slice(rest);
    out
}

/// What [`seal_bytes`] was given, and the version; `Ok(None)` where the bytes are damaged.
pub(crate) fn open_bytes<'a>(
    magic: &[u8; 8],
    bytes: &'a [u8],
    path: &Path,
) -> Result<Option<(u32, &'a [u8])>, LogError> {
    let mut cursor = Cursor::new(bytes);
    let is_ours = cursor.take(8) == Some(magic.as_slice());
    let (Some(version), Some(crc)) = (cursor.u32(), cursor.u32()) else { return Ok(None) };
    let rest = bytes.get(16..).unwrap_or_default();
    if !is_ours || crc32c::crc32c(rest) != crc {
        return Ok(None);
    }
    if !(OLDEST..=VERSION).contains(&version) {
        return Err(LogError::Unreadable {
            what: format!(
                "{}: its format is version {version}, this program knows versions {OLDEST} to \
                 {VERSION}; open it with the program that wrote it, or a later one",
                path.display()
            ),
        });
    }
    Ok(Some((version, rest)))
}
