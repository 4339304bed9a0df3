//! What members of a classic consumer group tell each other through the coordinator.
//!
//! To JoinGroup and SyncGroup these are opaque bytes, which begin with a version of their own. A
//! newer version than is known is read as the newest known, and what follows is passed over.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::{Fault, What};
use crate::read::Reader;
use crate::{DecodeError, EncodeError, Message, assignment, subscription};

impl subscription::Data {
    /// Reads the metadata that a member sends with its protocol in JoinGroup.
    pub fn from_metadata(bytes: &Bytes) -> Result<Self, DecodeError> {
        from_versioned(bytes)
    }

    /// Writes the metadata for a protocol in JoinGroup.
    pub fn to_metadata(&self, version: i16) -> Result<Bytes, EncodeError> {
        to_versioned(self, version)
    }
}

impl assignment::Data {
    /// Reads the assignment that a member gets from SyncGroup.
    pub fn from_assignment(bytes: &Bytes) -> Result<Self, DecodeError> {
        from_versioned(bytes)
    }

    /// Writes the assignment for SyncGroup.
    pub fn to_assignment(&self, version: i16) -> Result<Bytes, EncodeError> {
        to_versioned(self, version)
    }
}

fn from_versioned<M: Message>(bytes: &Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes, 0, 0, false);
    let written = reader.i16("version").map_err(|fault| DecodeError::new(M::NAME, 0, fault))?;
    let version = written.min(M::VERSIONS.last);
    let told = |fault| DecodeError::new(M::NAME, written, fault);
    if !M::VERSIONS.has(version) {
        return Err(told(Fault::new("version", 0, What::Version(M::VERSIONS))));
    }
    M::read(&mut reader.follow(version, false)).map_err(told)
}

fn to_versioned<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let body = message.encode(version)?;
    let mut bytes = BytesMut::with_capacity(2 + body.remaining());
    bytes.put_i16(version);
    bytes.put(body);
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_subscription_is_read_as_far_as_it_is_known() {
        let subscription = subscription::Data {
            topics: ["orders".into()].into(),
            rack_id: Some("east".into()),
            ..Default::default()
        };
        let mut bytes = BytesMut::from(&*subscription.to_metadata(3).unwrap());
        bytes[1] = 9;
        bytes.put_i32(7);
        let read = subscription::Data::from_metadata(&bytes.freeze()).unwrap();
        assert_eq!(read, subscription);
    }

    #[test]
    fn bytes_of_another_protocol_are_refused() {
        let error = subscription::Data::from_metadata(&Bytes::from_static(b"\xff\xff"));
        assert!(error.unwrap_err().to_string().contains("the versions are 0 to 3"));
    }
}
