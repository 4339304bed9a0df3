//! Services through their public seam: handlers over `mem:` and `file:`, with and without a store.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod backend;
mod delivery;
mod failure;
mod start;
mod store;
mod support;
