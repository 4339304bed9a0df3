//! What can go wrong between the framework and a store.

use std::error::Error;
use std::fmt;

type Source = Box<dyn Error + Send + Sync>;

/// How much of a statement a message shows.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
const SHOWN: usize = 240;

/// An error of a store: one kind for each thing that a caller does differently.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The statement breaks a constraint (unique, not null, check ...) of the service's own data.
    Constraint {
        /// The statement and the constraint.
        what: String,
        /// The cause.
        source: Source,
    },
    /// The store is busy or away. Trying again may help.
    Unavailable {
        /// What was attempted.
        what: String,
        /// The cause.
        source: Option<Source>,
    },
    /// The statement is wrong, or a column is not of the type that was asked for.
    Statement {
        /// The statement, what is wrong with it and where.
        what: String,
        /// The cause.
        source: Option<Source>,
    },
    /// The request can never succeed as it stands: an unknown URL, a service's name that is no name.
    Refused {
        /// What was refused, why, and what to do.
        what: String,
    },
    /// The unit gave up by itself; its writes were rolled back.
    Aborted {
        /// Its reason.
        what: String,
    },
    /// The store can no longer promise that what it commits is kept. Only a person can help.
    Failed {
        /// What happened, to what, and what to do.
        what: String,
        /// The cause.
        source: Option<Source>,
    },
    /// The transaction that this [`super::Tx`] belongs to has ended.
    Ended,
    /// The store was closed.
    Closed,
}

impl StoreError {
    /// Whether the same work may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// The same error once more, for another unit that shares its fate.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) fn again(&self) -> Self {
        let cause = self.source().map(|source| source.to_string().into());
        match self {
            Self::Constraint { what, source } => {
                Self::Constraint { what: what.clone(), source: source.to_string().into() }
            }
            Self::Unavailable { what, .. } => {
                Self::Unavailable { what: what.clone(), source: cause }
            }
            Self::Statement { what, .. } => Self::Statement { what: what.clone(), source: cause },
            Self::Failed { what, .. } => Self::Failed { what: what.clone(), source: cause },
            Self::Refused { what } => Self::Refused { what: what.clone() },
            Self::Aborted { what } => Self::Aborted { what: what.clone() },
            Self::Ended => Self::Ended,
            Self::Closed => Self::Closed,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constraint { what, source } => write!(f, "{what}: {source}"),
            Self::Unavailable { what, source: Some(source) }
            | Self::Statement { what, source: Some(source) }
            | Self::Failed { what, source: Some(source) } => write!(f, "{what}: {source}"),
            Self::Unavailable { what, .. }
            | Self::Statement { what, .. }
            | Self::Failed { what, .. }
            | Self::Refused { what }
            | Self::Aborted { what } => f.write_str(what),
            Self::Ended => f.write_str(
                "the transaction has ended: a Tx can be used only until its handler returns",
            ),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Constraint { source, .. } => Some(source.as_ref()),
            Self::Unavailable { source, .. }
            | Self::Statement { source, .. }
            | Self::Failed { source, .. } => {
                source.as_deref().map(|source| source as &(dyn Error + 'static))
            }
            _ => None,
        }
    }
}

/// The statement in one line, cut where it is long.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) fn shown(sql: &str) -> String {
    let mut line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(end);
        line.push_str(" ...");
    }
    line
}
