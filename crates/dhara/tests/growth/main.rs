//! What the broker over the embedded log does while its topics grow, go, expire and are compacted.
#![cfg(feature = "file")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on here has failed"
)]

mod changes;
mod gaps;
mod kit;
mod order;
mod steps;
