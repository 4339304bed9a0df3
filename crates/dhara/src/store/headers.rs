//! Headers as one blob, and back.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::Headers;

/// The blob that stands for `headers`; none of them is an empty one.
pub(super) fn encode(headers: &Headers) -> Vec<u8> {
    let mut blob = Vec::new();
    for (name, value) in headers {
        for part in [name.as_bytes(), value.as_ref()] {
            // No store takes a blob of 4 GB, so a length that is cut here is refused there.
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            blob.extend_from_slice(&length.to_le_bytes());
            blob.extend_from_slice(part);
        }
    }
    blob
}

/// The headers that `blob` stands for, or `None` where it is none that was made here.
pub(super) fn decode(mut blob: &[u8]) -> Option<Headers> {
    let mut headers = Headers::new();
    while !blob.is_empty() {
        let name = std::str::from_utf8(take(&mut blob)?).ok()?;
        headers.push((Arc::from(name), Bytes::copy_from_slice(take(&mut blob)?)));
    }
    Some(headers)
}

fn take<'a>(blob: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *blob = rest;
    Some(part)
}
