//! From SQLite's errors to the store's.

use rusqlite::{Error, ErrorCode};

use super::super::StoreError;
use super::super::error::shown;

/// The error of a statement; `what` of the result names the statement.
pub(super) fn of_statement(sql: &str, error: Error) -> StoreError {
    let what = format!("the statement `{}`", shown(sql));
    if error.sqlite_error_code() == Some(ErrorCode::AuthorizationForStatementDenied) {
        return refused(sql);
    }
    match of(&what, error) {
        StoreError::Constraint { source, .. } => {
            StoreError::Constraint { what: format!("{what} breaks a constraint"), source }
        }
        StoreError::Statement { source, .. } => {
            StoreError::Statement { what: format!("{what} is wrong"), source }
        }
        other => other,
    }
}

/// A handler's statement that is the framework's.
pub(super) fn refused(sql: &str) -> StoreError {
    let what = format!(
        "the statement `{}` is refused: transactions, savepoints, PRAGMA, ATTACH and DETACH belong \
         to the framework",
        shown(sql)
    );
    StoreError::Statement { what, source: None }
}

/// The error of anything else; `what` says what was attempted, and on what.
pub(super) fn of(what: &str, error: Error) -> StoreError {
    let code = error.sqlite_error_code();
    if code == Some(ErrorCode::ConstraintViolation) {
        let what = format!("{what} breaks a constraint");
        return StoreError::Constraint { what, source: error.into() };
    }
    let source = Some(error.into());
    match code {
        Some(ErrorCode::DiskFull) => {
            let what = format!("{what}: the disk is full; nothing of it was written");
            StoreError::Unavailable { what, source }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let what = format!("{what}: another program holds the file; try again");
            StoreError::Unavailable { what, source }
        }
        Some(
            ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen
            | ErrorCode::OperationInterrupted
            | ErrorCode::FileLockingProtocolFailed,
        ) => StoreError::Unavailable { what: what.to_owned(), source },
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::InternalMalfunction,
        ) => {
            let what = format!(
                "{what}: the file cannot be trusted any more; look at the disk, then at the file \
                 with `PRAGMA integrity_check`, and start again"
            );
            StoreError::Failed { what, source }
        }
        _ => StoreError::Statement { what: what.to_owned(), source },
    }
}

/// Whether another program held the file, so that trying again soon is worth it.
pub(super) fn is_busy(error: &StoreError) -> bool {
    let StoreError::Unavailable { source: Some(source), .. } = error else { return false };
    let code = source.downcast_ref::<Error>().and_then(Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
