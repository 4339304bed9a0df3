//! UUIDv7 (RFC 9562, section 5.7): ids that sort by the time they were made.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::{Random, Timestamp};

/// A UUID of version 7. Its order is the order of its making.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(u128);

impl Uuid {
    /// The UUID of these 128 bits, whatever their version.
    pub const fn from_u128(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits of this UUID.
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The moment it was made, to the millisecond.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(self.0 >> 80).unwrap_or(0))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Gives UUIDs that only rise, also when the clock is set back.
///
/// The 12 bits after the version count the ids of one millisecond (RFC 9562, section 6.2, method
/// 1); when they run out, the time of the ids runs ahead of the clock's.
#[derive(Debug)]
pub struct UuidSource {
    random: Random,
    /// Milliseconds in the upper 48 bits, the counter in the 12 below.
    last: Mutex<u64>,
}

impl UuidSource {
    /// A source whose random bits come from `random`.
    pub const fn new(random: Random) -> Self {
        Self { random, last: Mutex::new(0) }
    }

    /// The next UUID, made at `now`.
    pub fn next(&self, now: Timestamp) -> Uuid {
        let tick = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = (now.as_millis() << 12).max(last.wrapping_add(1));
            *last
        };
        let time = u128::from(tick >> 12) << 80;
        let counter = u128::from(tick & 0xfff) << 64;
        let random = u128::from(self.random.next_u64() >> 2);
        Uuid(time | 0x7 << 76 | counter | 0b10 << 62 | random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_when_the_clock_is_set_back() {
        let source = UuidSource::new(Random::from_seed(1));
        let mut last = source.next(Timestamp::from_millis(5_000));
        for step in 0..20_000_u64 {
            let next = source.next(Timestamp::from_millis(5_000 - step % 100));
            assert!(next > last, "{next:?} after {last:?}");
            last = next;
        }
    }

    #[test]
    fn version_variant_and_time_are_where_the_rfc_puts_them() {
        let id = UuidSource::new(Random::from_seed(7)).next(Timestamp::from_millis(1_234_567));
        assert_eq!(id.as_u128() >> 76 & 0xf, 7);
        assert_eq!(id.as_u128() >> 62 & 0b11, 0b10);
        assert_eq!(id.timestamp(), Timestamp::from_millis(1_234_567));
    }
}
