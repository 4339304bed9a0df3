//! Checks for those who write a back end, and for those who wrap one.

pub mod conformance;
