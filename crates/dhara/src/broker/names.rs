//! Which names topics and groups may have.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{BrokerError, Topic, TopicSpec};

/// Topics by name. Names are the program's own and not a stranger's choice, so that a quick hash will
/// do, and each publish looks one up.
pub(crate) type ByTopic<T> = HashMap<Topic, T, BuildHasherDefault<NameHasher>>;

/// Multiplies and rotates eight bytes at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NameHasher(u64);

impl NameHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for NameHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        let rest = match (tail.first_chunk::<4>(), tail.last_chunk::<4>()) {
            // The two halves may overlap; the length tells such names apart.
            (Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
            }
            _ => tail.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        self.mix(rest ^ (bytes.len() as u64) << 56);
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    #[inline]
    fn finish(&self) -> u64 {
        // The table takes the bucket from the low bits, where a product has mixed least.
        self.0 ^ self.0 >> 32
    }
}

/// Kafka's own limit, which leaves room for a suffix in a file name of 255 bytes.
const LONGEST: usize = 249;

/// More partitions than this in one topic are taken for a slip.
const MOST_PARTITIONS: u32 = 100_000;

/// Refuses a topic's name that not every broker could carry: Kafka's rule is the narrowest.
pub(crate) fn check_topic(name: &str) -> Result<(), BrokerError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fits = (1..=LONGEST).contains(&name.len());
    if fits && name != "." && name != ".." && name.bytes().all(legal) {
        return Ok(());
    }
    Err(BrokerError::Refused {
        what: format!(
            "{name:?} is no name for a topic: it takes 1 to {LONGEST} letters, digits, dots, \
             underscores and hyphens (ASCII), and neither \".\" nor \"..\""
        ),
    })
}

/// Refuses a declaration that no broker could follow.
pub(crate) fn check_spec(spec: &TopicSpec) -> Result<(), BrokerError> {
    check_topic(spec.name.as_str())?;
    match spec.partitions {
        Some(count) if !(1..=MOST_PARTITIONS).contains(&count) => Err(BrokerError::Refused {
            what: format!(
                "topic {} was declared with {count} partitions; ask for 1 to {MOST_PARTITIONS}",
                spec.name
            ),
        }),
        _ => Ok(()),
    }
}

/// Refuses a group's name that could not be kept.
pub(crate) fn check_group(name: &str) -> Result<(), BrokerError> {
    if (1..=LONGEST).contains(&name.len()) && !name.bytes().any(|byte| byte.is_ascii_control()) {
        return Ok(());
    }
    Err(BrokerError::Refused {
        what: format!(
            "{name:?} is no name for a consumer group: it takes 1 to {LONGEST} bytes without \
             control characters"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        for good in ["orders", "a", "order.events_v2-x", "...", &"x".repeat(249)] {
            assert!(check_topic(good).is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
            assert!(matches!(check_topic(bad), Err(BrokerError::Refused { .. })), "{bad:?}");
        }
    }

    #[test]
    fn no_partitions_and_absurdly_many_are_refused() {
        for partitions in [0, u32::MAX] {
            let spec = TopicSpec { name: "orders".into(), partitions: Some(partitions) };
            assert!(matches!(check_spec(&spec), Err(BrokerError::Refused { .. })));
        }
    }
}
