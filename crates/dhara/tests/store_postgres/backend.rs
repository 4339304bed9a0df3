//! The store that the tests of services run over here.

use std::path::Path;
use std::sync::Arc;

use dhara::store::{self, Store};
use dhara::world::World;

use crate::server::Database;

/// What rows are ordered by so that they come as they were inserted.
pub(crate) const AS_INSERTED: &str = "ctid";

/// Keeps rows in the outbox for as long as the table `no_room` has a row.
pub(crate) const REFUSES_REMOVAL: &str =
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
         IF (SELECT count(*) FROM no_room) > 0 THEN RAISE EXCEPTION 'no room'; END IF;
         RETURN OLD;
     END $$;
     CREATE TRIGGER refuse BEFORE DELETE ON dhara_outbox FOR EACH ROW EXECUTE FUNCTION refuse()";

/// A new store in a database of its own.
pub(crate) async fn new_store(_: &Path, world: &World) -> Arc<dyn Store> {
    store::open(&Database::new().await.url, world).await.unwrap()
}
