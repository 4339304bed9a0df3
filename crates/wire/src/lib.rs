//! The Kafka protocol: bytes in, structs out.
//!
//! Every API that Dhara serves, in every version of Apache Kafka 4.1: requests and responses, each
//! read and written, with the headers and the frames round them. The messages are described in
//! `schema/`, a file for each API, and the Rust is written from there when the crate is built.
//!
//! This crate does no input or output, and it knows no broker: what an answer should say is for
//! whoever calls. It does not look into record batches, which stay [`bytes::Bytes`].
//!
//! **What a stranger sends cannot take memory.** Texts and records are slices of the frame, and an
//! [`Array`] that was read is one too: its elements are checked when the message is read, and made
//! one at a time when somebody asks. Reading takes memory only to keep tagged fields that are
//! unknown, and no more than the frame's own size.
//!
//! ```
//! use dhara_wire::{Api, RequestHeader, metadata, request_from, request_frame};
//!
//! let topics = vec![metadata::request::Topic { name: Some("orders".into()), ..Default::default() }];
//! let request = metadata::Request { topics: Some(topics.into()), ..Default::default() };
//! let header = RequestHeader::new(Api::Metadata, 9, 1);
//! let frame = request_frame(&header, &request.into())?.to_bytes();
//!
//! // The server's side, after it took the four bytes of the frame's length.
//! let (header, request) = request_from(&frame.slice(4..))?;
//! assert_eq!(header.correlation_id, 1);
//! let dhara_wire::Request::Metadata(request) = request else { unreachable!() };
//! for topic in request.topics.iter().flatten() {
//!     assert_eq!(topic.name.as_deref(), Some("orders"));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod api;
mod array;
mod consumer;
mod error;
mod error_code;
mod frame;
mod header;
mod read;
mod tags;
mod text;
mod uuid;
mod write;

pub use api::{Api, Request, Response, Versions};
pub use array::{Array, Iter};
pub use error::{DecodeError, EncodeError, FrameError, RequestError};
pub use error_code::ErrorCode;
pub use frame::{Frame, request_frame, request_from, response_frame, response_from, split};
pub use header::RequestHeader;
pub use read::{Element, Message, Reader};
pub use tags::Tags;
pub use text::Text;
pub use uuid::Uuid;
pub use write::Writer;

pub(crate) use error::{Decoded, Encoded};
pub(crate) use write::KnownTags;

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
