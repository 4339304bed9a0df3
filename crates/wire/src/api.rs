//! The table of APIs: their numbers, names, and the versions that are served.

use std::fmt;

include!(concat!(env!("OUT_DIR"), "/api.rs"));

/// What holds of an API in all its versions.
struct Facts {
    name: &'static str,
    versions: Versions,
    flexible: Option<i16>,
}

/// The version of Produce from which on it is advertised.
///
/// The lowest served is 3. librdkafka turns compression off when it does not see version 0
/// (KAFKA-18659), so a request of versions 0 to 2 is advertised, and refused.
const PRODUCE_ADVERTISED_FROM: i16 = 0;

impl Api {
    /// The number by which requests name it.
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// The name as Kafka's documentation writes it.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The versions that this crate reads and writes: those of Apache Kafka 4.1.
    pub const fn versions(self) -> Versions {
        self.facts().versions
    }

    /// The versions that an ApiVersions response should list.
    pub const fn advertised(self) -> Versions {
        let Versions { first, last } = self.versions();
        match self {
            Self::Produce => Versions::new(PRODUCE_ADVERTISED_FROM, last),
            _ => Versions::new(first, last),
        }
    }

    /// Whether this version has compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.facts().flexible {
            Some(first) => first <= version,
            None => false,
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Versions from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub first: i16,
    /// The highest.
    pub last: i16,
}

impl Versions {
    /// From `first` to `last`, both included.
    pub const fn new(first: i16, last: i16) -> Self {
        Self { first, last }
    }

    /// Whether `version` is one of them.
    pub const fn has(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    /// Each of them, upwards.
    pub fn all(self) -> impl Iterator<Item = i16> {
        self.first..=self.last
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{} to {}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_finds_its_api() {
        for api in Api::ALL {
            assert_eq!(Api::from_key(api.key()), Some(*api));
        }
        assert_eq!(Api::from_key(71), None, "telemetry is not served");
        assert_eq!(Api::from_key(-1), None);
    }

    #[test]
    fn produce_is_advertised_below_what_is_served() {
        assert_eq!(Api::Produce.versions(), Versions::new(3, 13));
        assert_eq!(Api::Produce.advertised(), Versions::new(0, 13));
        assert_eq!(Api::Fetch.advertised(), Api::Fetch.versions());
    }
}
