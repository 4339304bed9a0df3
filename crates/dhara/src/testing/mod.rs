//! Suites that every back end must pass, as public functions over the seams.

pub mod store_conformance;
