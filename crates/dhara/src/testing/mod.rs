//! Suites that every back end must pass, as public functions over the seams: for those who write a
//! back end, and for those who wrap one.

pub mod conformance;
pub mod store_conformance;
