//! Frames: four bytes of length, a header, and a message.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{Fault, What};
use crate::header::{read_response_header, write_response_header};
use crate::read::Reader;
use crate::{
    Api, DecodeError, EncodeError, FrameError, Request, RequestError, RequestHeader, Response,
    Writer,
};

/// How many bytes the length of a frame takes.
const LENGTH_BYTES: usize = 4;

/// Room that is taken at once for a frame that is written: most fit.
const USUAL_LENGTH: usize = 256;

/// Takes the next frame from what has arrived, without its length; none when it is not whole yet.
///
/// A frame that claims more than `most` bytes is refused as soon as its length is there. No memory
/// is taken for what has not arrived.
pub fn split(arrived: &mut BytesMut, most: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(claimed) = arrived.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let claimed = i32::from_be_bytes(*claimed);
    let length = usize::try_from(claimed).ok().filter(|length| *length <= most);
    let length = length.ok_or(FrameError { claimed, most })?;
    if arrived.len() - LENGTH_BYTES < length {
        return Ok(None);
    }
    arrived.advance(LENGTH_BYTES);
    Ok(Some(arrived.split_to(length).freeze()))
}

/// A frame that is ready to be sent, in parts that belong one after another.
///
/// Long record batches are parts of their own and were not copied.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    parts: Vec<Bytes>,
    length: usize,
}

impl Frame {
    pub(crate) const fn new(parts: Vec<Bytes>, length: usize) -> Self {
        Self { parts, length }
    }

    /// The parts, none of them empty.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// The parts, none of them empty.
    pub fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }

    /// The length of all parts.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no byte in it.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The parts in one piece, copied where there is more than one.
    pub fn to_bytes(&self) -> Bytes {
        match &*self.parts {
            [one] => one.clone(),
            parts => parts.concat().into(),
        }
    }
}

/// Reads a request from a frame without its length.
pub fn request_from(frame: &Bytes) -> Result<(RequestHeader, Request), RequestError> {
    let mut reader = Reader::new(frame, 0, 0, false);
    let malformed = |version| move |fault| DecodeError::new("RequestHeader", version, fault);
    let (key, version, correlation_id) =
        RequestHeader::read_beginning(&mut reader).map_err(malformed(0))?;
    let Some(api) = Api::from_key(key) else {
        return Err(RequestError::UnknownApi { key, version, correlation_id });
    };
    if !api.versions().has(version) {
        return Err(RequestError::UnsupportedVersion { api, version, correlation_id });
    }
    let flexible = api.is_flexible(version);
    let mut reader = reader.follow(version, flexible);
    let header = RequestHeader::read_rest(&mut reader, api, version, correlation_id)
        .map_err(malformed(RequestHeader::version(api, version)))?;
    let told = |fault| DecodeError::new(Request::name(api), version, fault);
    let request = Request::read(api, &mut reader).map_err(told)?;
    reader.finish().map_err(told)?;
    Ok((header, request))
}

/// Writes a request with its length and its header, which names the API and the version.
pub fn request_frame(header: &RequestHeader, request: &Request) -> Result<Frame, EncodeError> {
    let RequestHeader { api, version, .. } = *header;
    let told = |fault| EncodeError::new(Request::name(api), version, fault);
    let matches = request.api() == api;
    let mut writer = begin(api, version, matches).map_err(told)?;
    header.write(&mut writer).map_err(told)?;
    request.write(&mut writer).map_err(told)?;
    end(writer).map_err(told)
}

/// Reads the response to a request of `api` and `version` from a frame without its length. The
/// number is the correlation id.
pub fn response_from(
    frame: &Bytes,
    api: Api,
    version: i16,
) -> Result<(i32, Response), DecodeError> {
    let told = |fault| DecodeError::new(Response::name(api), version, fault);
    if !api.versions().has(version) {
        return Err(told(Fault::new("", 0, What::Version(api.versions()))));
    }
    let mut reader = Reader::new(frame, 0, version, api.is_flexible(version));
    let correlation_id = read_response_header(&mut reader, api).map_err(told)?;
    let response = Response::read(api, &mut reader).map_err(told)?;
    reader.finish().map_err(told)?;
    Ok((correlation_id, response))
}

/// Writes the response to a request of `version`, with its length and its header.
pub fn response_frame(
    correlation_id: i32,
    version: i16,
    response: &Response,
) -> Result<Frame, EncodeError> {
    let api = response.api();
    let told = |fault| EncodeError::new(Response::name(api), version, fault);
    let mut writer = begin(api, version, true).map_err(told)?;
    write_response_header(&mut writer, api, correlation_id).map_err(told)?;
    response.write(&mut writer).map_err(told)?;
    end(writer).map_err(told)
}

/// A writer that has left room for the length.
fn begin(api: Api, version: i16, matches: bool) -> Result<Writer, Fault> {
    if !matches {
        return Err(Fault::new("", 0, What::OtherApi));
    }
    if !api.versions().has(version) {
        return Err(Fault::new("", 0, What::Version(api.versions())));
    }
    let mut writer = Writer::new(version, api.is_flexible(version)).with_room(USUAL_LENGTH);
    writer.i32(0);
    Ok(writer)
}

fn end(mut writer: Writer) -> Result<Frame, Fault> {
    let length = writer.len() - LENGTH_BYTES;
    let most = i32::MAX as usize;
    let told = i32::try_from(length)
        .map_err(|_| Fault::new("", length, What::TooLong { length, most }))?;
    writer.set_length(told);
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(bytes: &[u8]) -> BytesMut {
        BytesMut::from(bytes)
    }

    #[test]
    fn frames_are_taken_one_after_another() {
        let mut bytes = arrived(b"\0\0\0\x02ab\0\0\0\x01c\0\0\0");
        assert_eq!(split(&mut bytes, 10).unwrap().unwrap(), "ab");
        assert_eq!(split(&mut bytes, 10).unwrap().unwrap(), "c");
        assert_eq!(split(&mut bytes, 10), Ok(None));
        assert_eq!(bytes.len(), 3, "what has arrived of the next stays");
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_at_once() {
        for claimed in [11, -1, i32::MAX, i32::MIN] {
            let error = split(&mut arrived(&i32::to_be_bytes(claimed)), 10).unwrap_err();
            assert_eq!(error, FrameError { claimed, most: 10 });
        }
        assert_eq!(split(&mut arrived(b"\0\0\0\x0a"), 10), Ok(None));
    }
}
