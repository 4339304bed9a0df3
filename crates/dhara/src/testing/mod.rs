//! Suites that every back end must pass, as public functions over the seams: for those who write a
//! back end, and for those who wrap one.

pub mod conformance;
pub mod store_conformance;

/// How often a test runs each check of a suite: `DHARA_CONFORMANCE_RUNS` in the environment, once
/// when that is not set or is no number.
#[must_use]
pub fn runs() -> u32 {
    let wanted = std::env::var("DHARA_CONFORMANCE_RUNS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(1)
}
