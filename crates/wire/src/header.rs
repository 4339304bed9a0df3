//! What stands before a message.

use crate::error::{Decoded, Encoded};
use crate::read::Reader;
use crate::{Api, KnownTags, Tags, Text, Writer};

/// What stands before a request.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHeader {
    /// The API.
    pub api: Api,
    /// The version of the request, and of its response.
    pub version: i16,
    /// What the response will carry.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Text>,
    /// Tagged fields that this crate does not know.
    pub unknown: Tags,
}

impl RequestHeader {
    /// The header of a client without a name.
    pub fn new(api: Api, version: i16, correlation_id: i32) -> Self {
        Self { api, version, correlation_id, client_id: None, unknown: Tags::default() }
    }

    /// The version of the header itself: 2 has tagged fields.
    pub(crate) const fn version(api: Api, version: i16) -> i16 {
        if api.is_flexible(version) { 2 } else { 1 }
    }

    /// What all versions begin with: the number of the API, the version, the correlation id.
    pub(crate) fn read_beginning(r: &mut Reader<'_>) -> Decoded<(i16, i16, i32)> {
        Ok((r.i16("request_api_key")?, r.i16("request_api_version")?, r.i32("correlation_id")?))
    }

    pub(crate) fn read_rest(
        r: &mut Reader<'_>,
        api: Api,
        version: i16,
        correlation_id: i32,
    ) -> Decoded<Self> {
        // Never compact, so that a server can read it whatever comes.
        let client_id = r.short_text("client_id")?;
        let unknown = r.keep_tags(|_, _| Ok(false))?;
        Ok(Self { api, version, correlation_id, client_id, unknown })
    }

    pub(crate) fn write(&self, w: &mut Writer) -> Encoded {
        w.i16(self.api.key());
        w.i16(self.version);
        w.i32(self.correlation_id);
        w.short_text("client_id", self.client_id.as_ref())?;
        w.tags(KnownTags::new(), Some(&self.unknown))
    }
}

/// Whether the header of a response has tagged fields.
///
/// That of ApiVersions never has: its reader does not know yet which versions the server speaks.
fn has_tags(api: Api) -> bool {
    api != Api::ApiVersions
}

/// Reads what stands before a response: the correlation id.
pub(crate) fn read_response_header(r: &mut Reader<'_>, api: Api) -> Decoded<i32> {
    let correlation_id = r.i32("correlation_id")?;
    if has_tags(api) {
        r.skip_tags(|_, _| Ok(false))?;
    }
    Ok(correlation_id)
}

/// Writes what stands before a response.
pub(crate) fn write_response_header(w: &mut Writer, api: Api, correlation_id: i32) -> Encoded {
    w.i32(correlation_id);
    if has_tags(api) { w.tags(KnownTags::new(), None) } else { Ok(()) }
}
