//! From a URL to a store.

use std::sync::Arc;

use super::{Store, StoreError};
use crate::world::World;

const KNOWN: &str = "sqlite:DIR (a file for each service in the folder DIR), \
    sqlite::memory: (nothing is kept), postgres://USER@HOST:PORT/DATABASE (a schema for each service)";

/// Opens the store that `url` names.
///
/// `sqlite:DIR` keeps a file for each service in the folder `DIR`, which is made where it is
/// missing. `sqlite::memory:` is for tests: nothing of it is left when it is dropped.
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE` keeps a schema for each service in that database.
///
/// # Errors
///
/// [`StoreError::Refused`] where no store is known under that URL, or this build is without it.
pub async fn open(url: &str, world: &World) -> Result<Arc<dyn Store>, StoreError> {
    let Some((scheme, rest)) = url.split_once(':') else {
        let what = format!("{url:?} is no URL of a store; there are: {KNOWN}");
        return Err(StoreError::Refused { what });
    };
    match scheme {
        "sqlite" => open_sqlite(rest.strip_prefix("//").unwrap_or(rest), world),
        "postgres" | "postgresql" => open_postgres(url, world),
        _ => {
            let what = format!("no store is known as {scheme}: in {url:?}; there are: {KNOWN}");
            Err(StoreError::Refused { what })
        }
    }
}

#[cfg(feature = "sqlite")]
fn open_sqlite(rest: &str, world: &World) -> Result<Arc<dyn Store>, StoreError> {
    use super::sqlite::SqliteStore;

    match rest {
        "" => {
            let what = "sqlite: names no folder; write sqlite:DIR".to_owned();
            Err(StoreError::Refused { what })
        }
        ":memory:" => Ok(Arc::new(SqliteStore::temporary(world)?)),
        dir => Ok(Arc::new(SqliteStore::new(dir, world))),
    }
}

#[cfg(not(feature = "sqlite"))]
fn open_sqlite(_rest: &str, _world: &World) -> Result<Arc<dyn Store>, StoreError> {
    let what = "this build is without SQLite; turn on the feature \"sqlite\" of dhara".to_owned();
    Err(StoreError::Refused { what })
}

#[cfg(feature = "postgres")]
fn open_postgres(url: &str, world: &World) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(super::postgres::PostgresStore::new(url, world)?))
}

#[cfg(not(feature = "postgres"))]
fn open_postgres(_url: &str, _world: &World) -> Result<Arc<dyn Store>, StoreError> {
    let what = "this build is without PostgreSQL; build the program with `cargo build --features \
                dhara/postgres`, or use sqlite:DIR"
        .to_owned();
    Err(StoreError::Refused { what })
}
