//! The one suite, over every store; and stores with a bug, which it must find.

use std::sync::Arc;

use dhara::store::Store;
use dhara::store::sqlite::SqliteStore;
use dhara::world::World;

fn sqlite() -> Arc<dyn Store> {
    Arc::new(SqliteStore::temporary(&World::real()).unwrap())
}

macro_rules! over_sqlite {
    ($($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            dhara::testing::store_conformance::$case(sqlite()).await;
        }
    )*};
}

dhara::store_conformance_cases!(over_sqlite);
