//! The one suite, over every store; and stores with a bug, which it must find.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod store_with_a_bug;

use std::sync::Arc;

use dhara::store::Store;
use dhara::store::sqlite::SqliteStore;
use dhara::world::World;

use store_with_a_bug::{Bug, Buggy};

/// The store in a folder that goes when it goes.
#[derive(Debug)]
struct Folder {
    store: Arc<dyn Store>,
    path: std::path::PathBuf,
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

impl Store for Folder {
    fn capabilities(&self) -> dhara::store::StoreCapabilities {
        self.store.capabilities()
    }

    fn open<'a>(
        &'a self,
        service: &'a str,
    ) -> dhara::Answer<'a, Result<Arc<dyn dhara::store::ServiceStore>, dhara::store::StoreError>>
    {
        self.store.open(service)
    }
}

async fn sqlite_in_a_folder(case: &str) -> Arc<dyn Store> {
    let path = std::env::temp_dir().join(format!("dhara-suite-{}-{case}", std::process::id()));
    let store = dhara::store::open(&format!("sqlite:{}", path.display()), &World::real()).await;
    Arc::new(Folder { store: store.unwrap(), path })
}

fn temporary() -> Arc<dyn Store> {
    Arc::new(SqliteStore::temporary(&World::real()).unwrap())
}

macro_rules! over_sqlite {
    ($($case:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                for _ in 0..dhara::testing::runs() {
                    let store = super::sqlite_in_a_folder(stringify!($case)).await;
                    dhara::testing::store_conformance::$case(store).await;
                }
            })*
        }
        mod sqlite_temporary_on_one_thread {
            $(#[tokio::test]
            async fn $case() {
                for _ in 0..dhara::testing::runs() {
                    dhara::testing::store_conformance::$case(super::temporary()).await;
                }
            })*
        }
    };
}

dhara::store_conformance_cases!(over_sqlite);

macro_rules! finds {
    ($($bug:ident: $case:ident),* $(,)?) => {$(
        #[tokio::test]
        #[expect(non_snake_case, reason = "named after the bug")]
        async fn $bug() {
            let store = Arc::new(Buggy { store: temporary(), bug: Bug::$bug });
            let case = tokio::spawn(dhara::testing::store_conformance::$case(store));
            assert!(case.await.is_err_and(|error| error.is_panic()), "the bug was not found");
        }
    )*};
}

mod the_suite_finds {
    use super::*;

    finds! {
        DropsInboxRows: the_inbox_remembers_each_handler,
        AddsInboxRowsTwice: the_inbox_remembers_each_handler,
        KeepsWhatFailingUnitsWrote: a_failing_unit_takes_only_its_own_writes_along,
        ReportsSuccessOfFailingUnits: a_panicking_unit_takes_only_its_own_writes_along,
        ReversesTheOutbox: the_outbox_keeps_the_order_of_commits_across_submitters,
        ForgetsToRemovePublished: published_rows_leave_the_outbox,
        IgnoresRollbackToSavepoint: savepoints_nest,
        LosesDeadLetterKeys: dead_letters_come_back_untouched,
    }
}
