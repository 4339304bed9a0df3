//! Services through their public seam: handlers over `mem:` and `file:`, with and without a store.

mod delivery;
mod failure;
mod start;
mod store;
mod support;
