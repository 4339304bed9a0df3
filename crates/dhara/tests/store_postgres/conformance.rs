//! The one suite, over PostgreSQL.

use crate::server::Database;

macro_rules! over_postgres {
    ($($case:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            for _ in 0..dhara::testing::runs() {
                let database = Database::new().await;
                dhara::testing::store_conformance::$case(database.store()).await;
                database.remove().await;
            }
        })*
        mod on_one_thread {
            use super::Database;

            $(#[tokio::test]
            async fn $case() {
                let database = Database::new().await;
                dhara::testing::store_conformance::$case(database.store()).await;
            })*
        }
    };
}

dhara::store_conformance_cases!(over_postgres);
