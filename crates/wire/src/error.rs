//! What is wrong with bytes, or with a message that should become bytes.

use std::fmt;

use crate::{Api, Versions};

/// A result on the way through a message: the fault gathers its path on the way up.
pub(crate) type Decoded<T> = Result<T, Fault>;
/// The same for writing.
pub(crate) type Encoded = Result<(), Fault>;

/// What is wrong, and where; the message and version are added at the top.
#[derive(Debug)]
pub struct Fault(Box<Place>);

#[derive(Debug)]
struct Place {
    path: String,
    /// Bytes from the beginning of the frame.
    position: usize,
    what: What,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Ends { needed: usize, left: usize },
    Null,
    Negative(i64),
    Count { claimed: usize, left: usize },
    NotUtf8,
    Number,
    TagOrder { tag: u32, after: u32 },
    TagSize { tag: u32, left: usize },
    Rest(usize),
    TooLong { length: usize, most: usize },
    NoPlace,
    OtherApi,
    Version(Versions),
}

impl Fault {
    #[cold]
    pub(crate) fn new(field: &str, position: usize, what: What) -> Self {
        Self(Box::new(Place { path: field.to_owned(), position, what }))
    }

    /// The same fault, seen from the struct that holds `field`.
    #[cold]
    pub(crate) fn within(mut self, field: &str) -> Self {
        self.0.path = format!("{field}.{}", self.0.path);
        self
    }

    /// The same fault, seen from the struct that holds the array `field`.
    #[cold]
    pub(crate) fn within_element(mut self, field: &str, index: usize) -> Self {
        let dot = if self.0.path.is_empty() { "" } else { "." };
        self.0.path = format!("{field}[{index}]{dot}{}", self.0.path);
        self
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ends { needed, left } => {
                write!(f, "{needed} bytes are due and {left} are left")
            }
            Self::Null => f.write_str("is null, which this version does not allow"),
            Self::Negative(length) => write!(f, "has the length {length}"),
            Self::Count { claimed, left } => {
                write!(f, "claims {claimed} elements, which {left} bytes cannot hold")
            }
            Self::NotUtf8 => f.write_str("is not UTF-8"),
            Self::Number => f.write_str("is a number that takes more than 32 bits"),
            Self::TagOrder { tag, after } => {
                write!(f, "tag {tag} stands after tag {after}: tags rise")
            }
            Self::TagSize { tag, left } => {
                write!(f, "tag {tag} holds {left} bytes more than its field takes")
            }
            Self::Rest(bytes) => write!(f, "{bytes} bytes are left after the last field"),
            Self::TooLong { length, most } => {
                write!(f, "has the length {length}, and {most} is the most there can be")
            }
            Self::NoPlace => f.write_str("has a value for which this version has no place"),
            Self::OtherApi => f.write_str("the header names another API than the message's"),
            Self::Version(versions) => write!(f, "the versions are {versions}"),
        }
    }
}

/// Names the message, its version, the field and the byte.
fn tell(
    f: &mut fmt::Formatter<'_>,
    message: &str,
    version: i16,
    Place { path, position, what }: &Place,
) -> fmt::Result {
    write!(f, "{message} version {version}, ")?;
    if !path.is_empty() {
        write!(f, "field `{path}`, ")?;
    }
    write!(f, "byte {position}: {what}")
}

/// Bytes that are not the message that they should be.
#[derive(Debug)]
pub struct DecodeError {
    message: &'static str,
    version: i16,
    fault: Fault,
}

impl DecodeError {
    #[cold]
    pub(crate) const fn new(message: &'static str, version: i16, fault: Fault) -> Self {
        Self { message, version, fault }
    }

    /// The path of the field that could not be read, such as `topics[2].partitions[0].records`;
    /// empty when the message as a whole is wrong.
    pub fn field(&self) -> &str {
        &self.fault.0.path
    }

    /// The byte at which the field begins, counted from the beginning of what was read.
    pub const fn position(&self) -> usize {
        self.fault.0.position
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed ")?;
        tell(f, self.message, self.version, &self.fault.0)
    }
}

impl std::error::Error for DecodeError {}

/// A message that cannot be written in the version that was asked for.
#[derive(Debug)]
pub struct EncodeError {
    message: &'static str,
    version: i16,
    fault: Fault,
}

impl EncodeError {
    #[cold]
    pub(crate) const fn new(message: &'static str, version: i16, fault: Fault) -> Self {
        Self { message, version, fault }
    }

    /// The path of the field that could not be written; empty when the message as a whole could
    /// not.
    pub fn field(&self) -> &str {
        &self.fault.0.path
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot write ")?;
        tell(f, self.message, self.version, &self.fault.0)
    }
}

impl std::error::Error for EncodeError {}

/// A frame whose length nobody should wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameError {
    /// The length that the frame claims.
    pub claimed: i32,
    /// The most that is taken.
    pub most: usize,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { claimed, most } = self;
        write!(f, "a frame claims a length of {claimed} bytes; {most} is the most that is taken")
    }
}

impl std::error::Error for FrameError {}

/// A request that cannot be read. Each kind is answered in another way.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no such API: the connection is closed, as Kafka does.
    UnknownApi {
        /// The number of the API.
        key: i16,
        /// The version of the request.
        version: i16,
        /// What a response would carry.
        correlation_id: i32,
    },
    /// A known API in a version that is not served.
    ///
    /// An ApiVersions request is answered with a version 0 response that carries
    /// `UNSUPPORTED_VERSION` and the versions; anything else closes the connection.
    UnsupportedVersion {
        /// The API.
        api: Api,
        /// The version of the request.
        version: i16,
        /// What a response must carry.
        correlation_id: i32,
    },
    /// The bytes are not what they should be: the connection is closed.
    Malformed(DecodeError),
}

impl From<DecodeError> for RequestError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownApi { key, version, .. } => {
                write!(f, "a request for API {key} in version {version}, which is not served")
            }
            Self::UnsupportedVersion { api, version, .. } => write!(
                f,
                "a request for {api} in version {version}; versions {} are served",
                api.versions()
            ),
            Self::Malformed(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for RequestError {}
