//! The framework's tables in a service's schema.
//!
//! All their names begin with `dhara_`. A service may read them, and any program may publish by
//! inserting into `dhara_outbox`; all other writing is the framework's. Offsets, counts and
//! microseconds since 1970 are BIGINT, keys, bodies and headers are BYTEA.
//!
//! | table | a row is | how it is found |
//! |---|---|---|
//! | `dhara_inbox` | a handler has finished with an event | by handler and event id. Ids that rise with time make every insert an append at the right edge of the handler's rows |
//! | `dhara_outbox` | an event that is committed and not yet published | by `sequence` |
//! | `dhara_positions` | everything below `next` of a partition of a broker is done | by broker, topic and partition |
//! | `dhara_dead_letters` | an event that could not be handled | by `number`, in the order of giving up |
//! | `dhara_migrations` | a version of these tables that was made here | by version |
//!
//! # The order of the outbox
//!
//! Sequences of PostgreSQL commit out of order: whoever reads on from the highest row that it has
//! seen skips what commits later under a lower number. So numbers are given under an advisory lock
//! of the table, taken just before the rows are inserted and held until they are committed and
//! visible. Writers of one outbox then commit one after another, each a whole batch, and the order
//! of `sequence` is the order of commits. Nothing else of a transaction happens under that lock.
//!
//! # Publishing from another program
//!
//! ```sql
//! INSERT INTO orders.dhara_outbox (topic, key, body) VALUES ('orders', 'order_1', '{...}');
//! ```
//!
//! `headers` and `timestamp` have defaults; `sequence` is given. A trigger takes the lock and wakes
//! the relay. As the lock is held until the commit, such a program inserts last, and then commits.
//!
//! Headers are: for each, the length of the name (u32, little-endian), the name, the length of the
//! value, the value.

use tokio_postgres::Client;

use super::super::StoreError;
use super::error;
use super::link::{Link, quoted};

/// The advisory locks of the framework are the numbers from here on: this one for changes of
/// tables, and this plus the number of its outbox' table for each service. It is "dhar" in ASCII,
/// shifted by 32 bits.
pub(super) const LOCKS: i64 = 0x6468_6172 << 32;

/// Version `n` of the tables is what the first `n` of these have made. They are never edited: a
/// change is one more. `$LOCKS` stands for [`LOCKS`].
const MIGRATIONS: &[&str] = &["
CREATE TABLE dhara_inbox (
    handler TEXT NOT NULL,
    event BYTEA NOT NULL,
    PRIMARY KEY (handler, event)
);

-- Rows come and go; the default waits until a fifth of the table is dead.
CREATE TABLE dhara_outbox (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic TEXT NOT NULL,
    key BYTEA,
    headers BYTEA NOT NULL DEFAULT '',
    \"timestamp\" BIGINT NOT NULL
        DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT,
    body BYTEA NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

CREATE TABLE dhara_positions (
    broker TEXT NOT NULL,
    topic TEXT NOT NULL,
    \"partition\" BIGINT NOT NULL,
    next BIGINT NOT NULL,
    PRIMARY KEY (broker, topic, \"partition\")
) WITH (fillfactor = 50);

CREATE TABLE dhara_dead_letters (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic TEXT NOT NULL,
    \"partition\" BIGINT NOT NULL,
    \"offset\" BIGINT NOT NULL,
    key BYTEA,
    headers BYTEA NOT NULL,
    event_id TEXT,
    handler TEXT NOT NULL,
    error TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    at BIGINT NOT NULL,
    body BYTEA NOT NULL
);

CREATE FUNCTION dhara_outbox_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock($LOCKS + TG_RELID::BIGINT);
    PERFORM pg_notify('dhara_outbox_' || TG_RELID, '');
    RETURN NULL;
END $$;

-- Before the statement, and so before any of its rows is given its number.
CREATE TRIGGER dhara_outbox_in_order BEFORE INSERT ON dhara_outbox FOR EACH STATEMENT
    WHEN (coalesce(current_setting('dhara.framework', true), '') <> 'on')
    EXECUTE FUNCTION dhara_outbox_in_order();
"];

/// Makes what is missing of the service's schema and of the framework's tables in it, all of it or
/// nothing; gives the number of the outbox' table. However many do it at once, one does it at a
/// time.
pub(super) async fn migrate(link: &Link, service: &str, place: &str) -> Result<u32, StoreError> {
    let client = &link.client;
    if let Some(outbox) = current(client).await {
        return Ok(outbox);
    }
    let upgraded = upgrade(client, service, place).await;
    if upgraded.is_err() {
        // What is left of the transaction goes with the connection, at the latest.
        drop(client.simple_query("ROLLBACK").await);
    }
    upgraded
}

/// The number of the outbox' table, where nothing is missing.
async fn current(client: &Client) -> Option<u32> {
    let found = version(client).await.ok()?;
    if found != MIGRATIONS.len() { None } else { outbox_table(client).await.ok() }
}

async fn upgrade(client: &Client, service: &str, place: &str) -> Result<u32, StoreError> {
    let failed = |cause| error::of(place, cause);
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({LOCKS});
         CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE IF NOT EXISTS {schema}.dhara_migrations (version BIGINT PRIMARY KEY)",
        schema = quoted(service)
    );
    client.batch_execute(&begin).await.map_err(failed)?;
    let found = version(client).await.map_err(failed)?;
    if found > MIGRATIONS.len() {
        let what = format!(
            "{place} was made by a newer Dhara (its tables have version {found}, this build knows \
             {}); use that one",
            MIGRATIONS.len()
        );
        return Err(StoreError::Refused { what });
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        let migration = migration.replace("$LOCKS", &LOCKS.to_string());
        client.batch_execute(&migration).await.map_err(failed)?;
        let version = index + 1;
        let note = format!("INSERT INTO dhara_migrations VALUES ({version})");
        client.batch_execute(&note).await.map_err(failed)?;
    }
    let outbox = outbox_table(client).await.map_err(failed)?;
    client.batch_execute("COMMIT").await.map_err(failed)?;
    Ok(outbox)
}

/// The version of the tables of the schema that comes first in the search path.
async fn version(client: &Client) -> Result<usize, tokio_postgres::Error> {
    let sql = "SELECT coalesce(max(version), 0)::INT8 FROM dhara_migrations";
    let version: i64 = client.query_one(sql, &[]).await?.try_get(0)?;
    // A negative version was made by no Dhara; it counts as newer than all.
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

async fn outbox_table(client: &Client) -> Result<u32, tokio_postgres::Error> {
    client.query_one("SELECT 'dhara_outbox'::regclass::oid", &[]).await?.try_get(0)
}
