//! Arrays that stay in their frame until somebody asks.

use std::fmt;
use std::slice;

use bytes::Bytes;

use crate::read::{Element, Reader};

/// An array of a message.
///
/// One that was read is a slice of its frame. Its elements were checked when the message was read,
/// and each is made when [`Array::iter`] comes to it, so that no message takes more memory than its
/// bytes. One that is to be sent is made from a `Vec`, or collected.
#[derive(Clone)]
pub struct Array<T>(Inner<T>);

#[derive(Clone)]
enum Inner<T> {
    Made(Vec<T>),
    /// `elements` holds exactly `count` elements, which were read once without a fault.
    Read {
        elements: Bytes,
        count: usize,
        version: i16,
        flexible: bool,
    },
}

impl<T> Array<T> {
    /// An array without elements.
    pub const fn new() -> Self {
        Self(Inner::Made(Vec::new()))
    }

    pub(crate) const fn read(elements: Bytes, count: usize, version: i16, flexible: bool) -> Self {
        Self(Inner::Read { elements, count, version, flexible })
    }

    /// How many elements it has.
    pub const fn len(&self) -> usize {
        match &self.0 {
            Inner::Made(elements) => elements.len(),
            Inner::Read { count, .. } => *count,
        }
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Element + Clone> Array<T> {
    /// The elements one after another. Those of an array that was made are cloned.
    pub fn iter(&self) -> Iter<'_, T> {
        match &self.0 {
            Inner::Made(elements) => Iter(Source::Made(elements.iter())),
            Inner::Read { elements, count, version, flexible } => Iter(Source::Read {
                reader: Reader::new(elements, 0, *version, *flexible),
                left: *count,
            }),
        }
    }

    /// Hands each element on by reference, so that those of an array that was made are not cloned.
    pub(crate) fn each<E>(&self, mut to: impl FnMut(usize, &T) -> Result<(), E>) -> Result<(), E> {
        match &self.0 {
            Inner::Made(elements) => {
                elements.iter().enumerate().try_for_each(|(index, element)| to(index, element))
            }
            Inner::Read { .. } => {
                self.iter().enumerate().try_for_each(|(index, element)| to(index, &element))
            }
        }
    }

    /// The elements in a vector of their own.
    pub fn to_vec(&self) -> Vec<T> {
        self.iter().collect()
    }
}

/// Goes through the elements of an [`Array`].
pub struct Iter<'a, T>(Source<'a, T>);

enum Source<'a, T> {
    Made(slice::Iter<'a, T>),
    Read { reader: Reader<'a>, left: usize },
}

impl<T: Element + Clone> Iterator for Iter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Source::Made(elements) => elements.next().cloned(),
            Source::Read { reader, left } => {
                *left = left.checked_sub(1)?;
                // The same bytes were read without a fault before.
                T::read(reader).ok()
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Source::Made(elements) => elements.len(),
            Source::Read { left, .. } => *left,
        };
        (left, Some(left))
    }
}

impl<T: Element + Clone> ExactSizeIterator for Iter<'_, T> {}

impl<'a, T: Element + Clone> IntoIterator for &'a Array<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Default for Array<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> From<Vec<T>> for Array<T> {
    fn from(elements: Vec<T>) -> Self {
        Self(Inner::Made(elements))
    }
}

impl<T, const N: usize> From<[T; N]> for Array<T> {
    fn from(elements: [T; N]) -> Self {
        Self(Inner::Made(elements.into()))
    }
}

impl<T> FromIterator<T> for Array<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self(Inner::Made(elements.into_iter().collect()))
    }
}

impl<T: Element + Clone + PartialEq> PartialEq for Array<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T: Element + Clone + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
