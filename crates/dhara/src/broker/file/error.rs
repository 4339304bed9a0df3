//! The log's errors, as a broker's.

use dhara_log::LogError;

use super::super::BrokerError;
use crate::world::TaskError;

/// What an error of the log is to the users of the broker.
pub(super) fn from_log(error: LogError) -> BrokerError {
    let what = error.to_string();
    match error {
        LogError::Closed => BrokerError::Closed,
        LogError::Locked { .. } | LogError::Overloaded { .. } => {
            BrokerError::Unavailable { what, source: None }
        }
        // The text of these names the source already.
        LogError::Full { .. } | LogError::Io { .. } => {
            BrokerError::Unavailable { what, source: None }
        }
        // The text of it names the topic, which is asked for anew.
        LogError::Repartitioned { .. } => BrokerError::Unavailable { what, source: None },
        LogError::Invalid { .. }
        | LogError::Unknown { .. }
        | LogError::Exists { .. }
        | LogError::Conflict { .. }
        | LogError::KeyConflict { .. }
        | LogError::NoteChanged { .. }
        | LogError::OutOfSequence { .. }
        | LogError::Stale { .. }
        | LogError::Fenced { .. } => BrokerError::Refused { what },
        LogError::OutOfRange { partition, offset, earliest, .. } => {
            BrokerError::Expired { what: format!("offset {offset} of {partition}"), earliest }
        }
        _ => BrokerError::Failed { what, source: None },
    }
}

/// The runtime ended, or a task panicked, before the log gave an answer.
pub(super) fn closed_early(error: TaskError) -> BrokerError {
    match error {
        TaskError::Aborted => BrokerError::Closed,
        TaskError::Panicked(_) => BrokerError::Failed {
            what: format!("the embedded log: {error}; open it again"),
            source: None,
        },
    }
}
