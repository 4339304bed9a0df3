//! What keeps a service from starting.

use dhara::{HandlerExt, Service, Tx};

use crate::support::{OrderCreated, System};

async fn nothing(_: OrderCreated) {}

async fn with_tx(_: OrderCreated, _tx: Tx) {}

#[tokio::test]
async fn a_service_that_cannot_keep_its_word_says_why_and_what_would_help() {
    let system = System::mem().await;
    let broker = &system.broker;
    let starts = [
        (Service::new("a").on(with_tx).start(broker).await, ["with_tx", ".store("]),
        (Service::new("b").on(nothing).on(nothing).start(broker).await, ["nothing", ".named("]),
        (Service::new("c").setup("CREATE TABLE t (x)").start(broker).await, ["CREATE", ".store("]),
    ];
    for (start, wanted) in starts {
        let error = start.expect_err("it cannot start").to_string();
        for part in wanted {
            assert!(error.contains(part), "{error:?} does not name {part:?}");
        }
    }
    let named = Service::new("d").on(nothing).on(nothing.named("other")).start(broker).await;
    named.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_set_up_statement_is_named() {
    let system = System::mem().await;
    let service = Service::new("a").store(system.store.clone()).setup("CREATE TABEL t (x)");
    let error = service.start(&system.broker).await.expect_err("bad SQL").to_string();
    assert!(error.contains("TABEL"), "{error}");
}
