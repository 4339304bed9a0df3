//! What can go wrong between the framework and a broker.

use std::error::Error;
use std::fmt;

type Source = Box<dyn Error + Send + Sync>;

/// An error of a broker: one kind for each thing that a caller does differently.
#[derive(Debug)]
#[non_exhaustive]
pub enum BrokerError {
    /// The broker cannot be reached or cannot take the work now. Trying again later may help.
    Unavailable {
        /// What was attempted, and on what.
        what: String,
        /// The cause.
        source: Option<Source>,
    },
    /// The request can never succeed as it stands: a bad name, a message that is too large.
    Refused {
        /// What was refused, why, and what to do.
        what: String,
    },
    /// This broker has no such ability; see [`super::Capabilities`].
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
    /// What was to be read is gone.
    Expired {
        /// The topic and partition.
        what: String,
        /// The earliest offset that is still there.
        earliest: u64,
    },
    /// The broker can no longer promise that what it acks is kept (a failed disk, damage). Only a
    /// person can help.
    Failed {
        /// What happened, to what, and what to do.
        what: String,
        /// The cause.
        source: Option<Source>,
    },
    /// The broker or the subscription was closed.
    Closed,
}

impl BrokerError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { what, source: Some(source) }
            | Self::Failed { what, source: Some(source) } => write!(f, "{what}: {source}"),
            Self::Unavailable { what, .. } | Self::Failed { what, .. } | Self::Refused { what } => {
                f.write_str(what)
            }
            Self::Unsupported { what } => write!(f, "this broker cannot {what}"),
            Self::Expired { what, earliest } => {
                write!(f, "{what} has expired; the earliest offset is {earliest}")
            }
            Self::Closed => f.write_str("the broker is closed"),
        }
    }
}

impl Error for BrokerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable { source, .. } | Self::Failed { source, .. } => {
                source.as_deref().map(|source| source as &(dyn Error + 'static))
            }
            _ => None,
        }
    }
}
