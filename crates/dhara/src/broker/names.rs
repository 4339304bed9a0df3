//! Which names topics and groups may have.

use super::{BrokerError, TopicSpec};

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
