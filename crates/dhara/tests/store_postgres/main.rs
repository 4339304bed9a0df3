//! The store on a real PostgreSQL: the suite over every store, and what is PostgreSQL's own.
//!
//! `cargo xtask test --only postgres` brings a server up and names it in `DHARA_TEST_POSTGRES`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod backend;
mod conformance;
mod connection;
mod cut;
mod figures;
mod race;
mod server;
mod start;
mod types;

#[path = "../service/failure.rs"]
mod service_failure;
#[path = "../service/store.rs"]
mod service_store;
#[path = "../service/support.rs"]
#[expect(dead_code, reason = "other tests of services need more of it")]
mod support;
