//! The threads of a log under a model checker: each test runs many times, each time with another
//! order in which its threads take their steps, and another moment at which each wait ends.
//!
//! `DHARA_SCHEDULES` says how many orders each test is run in. A failure prints the order that it
//! came with; `shuttle::replay` takes it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on here has failed")]

mod commits;
mod house;
mod stops;
mod topics;
mod world;
