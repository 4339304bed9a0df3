//! From PostgreSQL's errors to the store's.

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use super::super::StoreError;
use super::super::error::shown;

/// What an error means for the transaction in which it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It never reached the server: the transaction is as it was.
    Untouched,
    /// The transaction can only be rolled back, to a savepoint or as a whole.
    Aborted,
    /// The same transaction may do better when it runs again: others were in its way.
    Again,
    /// The connection is gone, and the transaction with it.
    Gone,
}

/// What `error` means for the transaction in which it came.
pub(super) fn meaning(error: &Error) -> Meaning {
    let Some(cause) = error.as_db_error() else {
        let gone = error.is_closed() || has_io_cause(error);
        return if gone { Meaning::Gone } else { Meaning::Untouched };
    };
    let code = cause.code();
    // The table that a prepared statement reads was changed since.
    let replanned = *code == SqlState::FEATURE_NOT_SUPPORTED
        && cause.routine() == Some("RevalidateCachedQuery");
    match code {
        _ if replanned => Meaning::Again,
        _ if *code == SqlState::T_R_SERIALIZATION_FAILURE
            || *code == SqlState::T_R_DEADLOCK_DETECTED =>
        {
            Meaning::Again
        }
        _ if is_end_of_session(cause) || is_standby(cause) => Meaning::Gone,
        _ => Meaning::Aborted,
    }
}

/// Errors after which the server ends the connection.
fn is_end_of_session(cause: &DbError) -> bool {
    let ends = ["57P01", "57P02", "57P03", "57P05", "25P03"];
    ends.contains(&cause.code().code()) || matches!(cause.severity(), "FATAL" | "PANIC")
}

/// The server has become one that only follows another: a transaction that writes cannot begin.
fn is_standby(cause: &DbError) -> bool {
    let checks = ["check_XactReadOnly", "check_transaction_read_only"];
    *cause.code() == SqlState::FEATURE_NOT_SUPPORTED
        && cause.routine().is_some_and(|routine| checks.contains(&routine))
}

fn has_io_cause(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

/// The error of a statement; `what` of the result names the statement.
pub(super) fn of_statement(sql: &str, error: Error) -> StoreError {
    let what = format!("the statement `{}`", shown(sql));
    match of(&what, error) {
        StoreError::Statement { source, .. } => {
            StoreError::Statement { what: format!("{what} is wrong"), source }
        }
        other => other,
    }
}

/// A statement that is wrong, and how.
pub(super) fn wrong(sql: &str, detail: &str) -> StoreError {
    let what = format!("the statement `{}` is wrong: {detail}", shown(sql));
    StoreError::Statement { what, source: None }
}

/// The error of anything else; `what` says what was attempted, and on what.
pub(super) fn of(what: &str, error: Error) -> StoreError {
    let meaning = meaning(&error);
    let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    let away = error.as_db_error().is_none() && meaning == Meaning::Gone;
    let text = error.to_string();
    // The client's own error says only "db error"; the server's words are its source.
    let source = error.into_source().unwrap_or_else(|| text.into());
    let class = code.get(..2).unwrap_or("");
    match (class, code.as_str()) {
        _ if away => {
            let what = format!("{what}: the connection to PostgreSQL was lost");
            StoreError::Unavailable { what, source: Some(source) }
        }
        ("23", _) => StoreError::Constraint { what: format!("{what} breaks a constraint"), source },
        (_, "40001" | "40P01") => {
            let what = format!("{what}: another transaction was in the way; try again");
            StoreError::Unavailable { what, source: Some(source) }
        }
        (_, "25P02") => {
            let what = format!("{what}: an earlier statement of its transaction has failed");
            StoreError::Aborted { what }
        }
        (_, "53100") => {
            let what = format!("{what}: the server's disk is full; nothing of it was written");
            StoreError::Unavailable { what, source: Some(source) }
        }
        ("08" | "53", _) | (_, "55P03" | "57014" | "XX000") => {
            StoreError::Unavailable { what: what.to_owned(), source: Some(source) }
        }
        (_, "58030" | "XX001" | "XX002") => {
            let what = format!(
                "{what}: the server has failed inside; look at its log and at its disk before you \
                 start again"
            );
            StoreError::Failed { what, source: Some(source) }
        }
        _ if meaning != Meaning::Aborted && meaning != Meaning::Untouched => {
            StoreError::Unavailable { what: what.to_owned(), source: Some(source) }
        }
        _ => StoreError::Statement { what: what.to_owned(), source: Some(source) },
    }
}

/// The error of an attempt to connect.
pub(super) fn of_connecting(what: &str, error: Error) -> StoreError {
    let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    let text = error.to_string();
    let refused = matches!(code.get(..2), Some("28" | "3D" | "42"));
    let source = error.into_source().unwrap_or_else(|| text.into());
    if refused {
        let what = format!("{what}: {source}; look at user, password and database in the URL");
        return StoreError::Refused { what };
    }
    StoreError::Unavailable { what: what.to_owned(), source: Some(source) }
}
