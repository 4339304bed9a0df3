//! The store on a real PostgreSQL: the suite over every store, and what is PostgreSQL's own.
//!
//! `cargo xtask test --only postgres` brings a server up and names it in `DHARA_TEST_POSTGRES`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod conformance;
mod connection;
mod cut;
mod race;
mod server;
mod start;
mod types;
