//! How a handler fails, and what that means for the delivery.

use std::error::Error;
use std::fmt;

use crate::event::{DecodeError, EncodeError};
use crate::store::StoreError;

/// What is to become of a delivery whose handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The same work may succeed later: it is retried, with exponential backoff.
    Transient,
    /// It never will: the event goes to the dead letters at once.
    Permanent,
}

/// An error that a handler may return.
///
/// Implement it for your own error type; an empty `impl` makes all of its errors transient.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whether it is worth a retry",
    label = "a handler's error type implements `Failure`",
    note = "write `impl dhara::Failure for {Self} {{}}` if every such error is transient, \
            give it a `kind` if not, or return `dhara::HandlerError`, which any error converts into"
)]
pub trait Failure: fmt::Display + fmt::Debug + Send + 'static {
    /// Whether a retry may help.
    fn kind(&self) -> FailureKind {
        FailureKind::Transient
    }

    /// The causes below this error, for the dead letter; nothing by default.
    fn causes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An error of any kind, with the word whether it is worth a retry.
///
/// Every error converts into a transient one by `?`.
pub struct HandlerError {
    kind: FailureKind,
    source: Box<dyn Error + Send + Sync>,
}

impl HandlerError {
    /// An error that a retry may overcome.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: FailureKind::Transient, source: source.into() }
    }

    /// An error that no retry will overcome.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: FailureKind::Permanent, source: source.into() }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(source: E) -> Self {
        Self::transient(source)
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl Failure for HandlerError {
    fn kind(&self) -> FailureKind {
        self.kind
    }

    fn causes(&self) -> Vec<String> {
        causes_of(self.source.as_ref())
    }
}

impl Failure for StoreError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Constraint { .. } | Self::Statement { .. } => FailureKind::Permanent,
            _ => FailureKind::Transient,
        }
    }

    fn causes(&self) -> Vec<String> {
        causes_of(self)
    }
}

impl Failure for std::convert::Infallible {}

/// The messages of the errors below `error`, outermost first.
fn causes_of(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

/// A failure as the runtime keeps it: its kind and its story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) kind: FailureKind,
    pub(crate) story: String,
    /// The handler did not return: it panicked.
    pub(crate) panicked: bool,
}

impl Failed {
    pub(crate) fn of(failure: &impl Failure) -> Self {
        let mut story = failure.to_string();
        for cause in failure.causes() {
            // Many errors already end with the text of their cause.
            if !story.ends_with(&cause) {
                story.push_str(": ");
                story.push_str(&cause);
            }
        }
        Self { kind: failure.kind(), story, panicked: false }
    }

    pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "no message".to_owned());
        let story = format!("the handler panicked: {text}");
        Self { kind: FailureKind::Transient, story, panicked: true }
    }
}

impl From<DecodeError> for Failed {
    fn from(error: DecodeError) -> Self {
        Self { kind: FailureKind::Permanent, story: error.to_string(), panicked: false }
    }
}

impl From<EncodeError> for Failed {
    fn from(error: EncodeError) -> Self {
        Self { kind: FailureKind::Permanent, story: error.to_string(), panicked: false }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::of(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_names_every_cause_once() {
        #[derive(Debug)]
        struct Outer(std::io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the charge failed")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let error = HandlerError::permanent(Outer(std::io::Error::other("connection reset")));
        let failed = Failed::of(&error);
        assert_eq!(failed.story, "the charge failed: connection reset");
        assert_eq!(failed.kind, FailureKind::Permanent);
    }
}
