//! The framework's tables in a service's file.
//!
//! All their names begin with `dhara_`; a service may read them, and must leave writing to the
//! framework. Offsets, counts and microseconds are integers, keys, bodies and headers are blobs.
//!
//! | table | a row is | how it is found |
//! |---|---|---|
//! | `dhara_inbox` | a handler has finished with an event | by handler and event id. There is no rowid: ids that rise with time make every insert an append at the right edge of the handler's rows |
//! | `dhara_outbox` | an event that is committed and not yet published | by `sequence`, which the writer gives and never gives again |
//! | `dhara_positions` | everything below `next` of a partition of a broker is done | by broker, topic and partition |
//! | `dhara_dead_letters` | an event that could not be handled | by `number`, in the order of giving up |
//! | `dhara_counters` | a number that must not go back | `outbox` is the highest sequence that was given when rows were last removed |
//! | `dhara_migrations` | a version of these tables that was made here | by version |
//!
//! The sequence is not SQLite's AUTOINCREMENT, which writes its own table at every insert. A
//! sequence is either still in `dhara_outbox`, or the transaction that removed it has written
//! `dhara_counters`; so the higher of the two is where a writer goes on after any crash.
//!
//! Headers are a blob: for each, the length of the name (u32, little-endian), the name, the length
//! of the value, the value. No headers are an empty blob.

use rusqlite::Connection;

use super::super::StoreError;
use super::error;

/// Version `n` of the tables is what the first `n` of these have made. They are never edited: a
/// change is one more.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE dhara_inbox (
    handler TEXT NOT NULL,
    event BLOB NOT NULL,
    PRIMARY KEY (handler, event)
) STRICT, WITHOUT ROWID;

CREATE TABLE dhara_outbox (
    sequence INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    key BLOB,
    headers BLOB NOT NULL,
    timestamp INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE dhara_positions (
    topic TEXT NOT NULL,
    \"partition\" INTEGER NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (topic, \"partition\")
) STRICT, WITHOUT ROWID;

CREATE TABLE dhara_dead_letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    \"partition\" INTEGER NOT NULL,
    \"offset\" INTEGER NOT NULL,
    key BLOB,
    headers BLOB NOT NULL,
    event_id TEXT,
    handler TEXT NOT NULL,
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE dhara_counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
",
    "
-- Positions of version 1 do not say whose they are. A service goes on from the broker's own
-- position, and its inbox knows what comes again.
DROP TABLE dhara_positions;
CREATE TABLE dhara_positions (
    broker TEXT NOT NULL,
    topic TEXT NOT NULL,
    \"partition\" INTEGER NOT NULL,
    next INTEGER NOT NULL,
    PRIMARY KEY (broker, topic, \"partition\")
) STRICT, WITHOUT ROWID;
",
];

/// Makes what is missing of the framework's tables, all of it or nothing.
pub(super) fn migrate(connection: &mut Connection, place: &str) -> Result<(), StoreError> {
    let found = version(connection).map_err(|error| error::of(place, error))?;
    if found > MIGRATIONS.len() {
        let what = format!(
            "{place} was made by a newer Dhara (its tables have version {found}, this build knows \
             {}); use that one",
            MIGRATIONS.len()
        );
        return Err(StoreError::Refused { what });
    }
    if found < MIGRATIONS.len() {
        upgrade(connection, found).map_err(|error| error::of(place, error))?;
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let known = "SELECT count(*) FROM sqlite_master WHERE name = 'dhara_migrations'";
    if connection.query_row(known, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(0);
    }
    let version = "SELECT coalesce(max(version), 0) FROM dhara_migrations";
    connection.query_row(version, [], |row| row.get::<_, i64>(0)).map(|version| {
        // A negative version was made by no Dhara; it counts as newer than all.
        usize::try_from(version).unwrap_or(usize::MAX)
    })
}

fn upgrade(connection: &mut Connection, found: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS dhara_migrations (version INTEGER PRIMARY KEY) STRICT",
    )?;
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        transaction.execute_batch(migration)?;
        let version = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1);
        transaction.execute("INSERT INTO dhara_migrations VALUES (?1)", [version])?;
    }
    transaction.commit()
}

/// The sequence that the next row of the outbox gets.
pub(super) fn next_sequence(connection: &Connection) -> rusqlite::Result<u64> {
    let highest = "SELECT max(
        (SELECT coalesce(max(sequence), 0) FROM dhara_outbox),
        (SELECT coalesce(max(value), 0) FROM dhara_counters WHERE name = 'outbox'))";
    let highest: i64 = connection.query_row(highest, [], |row| row.get(0))?;
    Ok(u64::try_from(highest).unwrap_or(0).saturating_add(1))
}
