//! The one suite, over PostgreSQL.

use std::sync::Arc;

use dhara::Answer;
use dhara::store::{ServiceStore, Store, StoreCapabilities, StoreError};

use crate::server::Database;

/// A store that keeps its database's client for as long as it lives.
struct Own(Arc<dyn Store>, #[expect(dead_code, reason = "kept")] Database);

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Store for Own {
    fn capabilities(&self) -> StoreCapabilities {
        self.0.capabilities()
    }

    fn open<'a>(
        &'a self,
        service: &'a str,
    ) -> Answer<'a, Result<Arc<dyn ServiceStore>, StoreError>> {
        self.0.open(service)
    }
}

async fn own() -> Arc<dyn Store> {
    let database = Database::new().await;
    Arc::new(Own(database.store(), database))
}

macro_rules! over_postgres {
    ($($case:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            for _ in 0..dhara::testing::runs() {
                dhara::testing::store_conformance::$case(own().await).await;
            }
        })*
        mod on_one_thread {
            $(#[tokio::test]
            async fn $case() {
                dhara::testing::store_conformance::$case(super::own().await).await;
            })*
        }
    };
}

dhara::store_conformance_cases!(over_postgres);
