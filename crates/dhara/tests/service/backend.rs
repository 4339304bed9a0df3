//! The store that these tests run over here: SQLite. Those of PostgreSQL bring their own.

use std::path::Path;
use std::sync::Arc;

use dhara::store::{self, Store};
use dhara::world::World;

/// What rows are ordered by so that they come as they were inserted.
pub(crate) const AS_INSERTED: &str = "rowid";

/// Keeps rows in the outbox for as long as the table `no_room` has a row.
pub(crate) const REFUSES_REMOVAL: &str =
    "CREATE TRIGGER IF NOT EXISTS refuse BEFORE DELETE ON dhara_outbox
     WHEN (SELECT count(*) FROM no_room) > 0 BEGIN SELECT RAISE(ABORT, 'no room'); END";

/// A new store in a folder of its own.
pub(crate) async fn new_store(folder: &Path, world: &World) -> Arc<dyn Store> {
    let url = format!("sqlite:{}", folder.join("store").display());
    store::open(&url, world).await.unwrap()
}
