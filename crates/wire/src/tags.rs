//! Tagged fields that nobody here knows.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::read::Reader;

/// Tagged fields of a message that this crate does not know.
///
/// They survive reading and writing. Structs within a message pass over theirs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tags(Bytes);

impl Tags {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields by their tags, which rise.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Bytes)> + '_ {
        let mut reader = Reader::new(&self.0, 0, 0, true);
        // The same bytes were read without a fault before.
        std::iter::from_fn(move || reader.tag().ok().flatten())
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Gathers the unknown fields of a message while it is read.
///
/// They are newer than the known ones and have higher tags, so nearly always they are one slice of
/// the frame. Where known ones stand between them they are copied, into memory that is taken once
/// and no larger than what is left of the frame.
pub(crate) struct Kept<'a> {
    frame: &'a Bytes,
    slice: Option<(usize, usize)>,
    copy: BytesMut,
}

impl<'a> Kept<'a> {
    pub(crate) fn new(frame: &'a Bytes) -> Self {
        Self { frame, slice: None, copy: BytesMut::new() }
    }

    /// Keeps the field that stands, with its tag and its size, from `start` to `end`.
    pub(crate) fn add(&mut self, start: usize, end: usize) {
        match self.slice {
            None => self.slice = Some((start, end)),
            Some((first, until)) if until == start => self.slice = Some((first, end)),
            Some((first, until)) => {
                if self.copy.is_empty() {
                    self.copy.reserve(self.frame.len().saturating_sub(first));
                    self.copy_of(first, until);
                }
                self.copy_of(start, end);
                // No later field begins where this one ends: from here on all are copied.
                self.slice = Some((0, 0));
            }
        }
    }

    fn copy_of(&mut self, start: usize, end: usize) {
        self.copy.extend_from_slice(self.frame.get(start..end).unwrap_or_default());
    }

    pub(crate) fn finish(self) -> Tags {
        match self.slice {
            _ if !self.copy.is_empty() => Tags(self.copy.freeze()),
            Some((start, end)) => Tags(self.frame.slice(start..end)),
            None => Tags::default(),
        }
    }
}
