//! The whole shop, from outside: the real program, over HTTP, on a free port.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test that fails is a test that fails"
)]

mod bank;
mod cli;
mod door;
mod faults;
mod kills;
mod live;
mod mail;
mod orders;
mod refusals;
mod saga;
mod support;
