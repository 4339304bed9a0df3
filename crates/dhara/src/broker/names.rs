//! Which names topics and groups may have.

use super::{BrokerError, Topic, TopicSpec};

/// Values by topic, in a vector that is sorted by the names' lengths and bytes: each publish looks one
/// up, and a program has few topics, most of them told apart by their length.
#[derive(Debug)]
pub(crate) struct ByTopic<T>(Vec<(Topic, T)>);

impl<T> Default for ByTopic<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByTopic<T> {
    #[inline]
    pub(crate) fn get(&self, name: &Topic) -> Option<&T> {
        if let [(known, value)] = self.0.as_slice() {
            return (known == name).then_some(value);
        }
        self.place(name).ok().and_then(|place| self.0.get(place)).map(|(_, value)| value)
    }

    /// Adds `value`, unless the topic has one already.
    pub(crate) fn add(&mut self, name: Topic, value: T) {
        if let Err(place) = self.place(&name) {
            self.0.insert(place, (name, value));
        }
    }

    /// Keeps those of which `keeps` says so.
    #[cfg_attr(not(feature = "file"), expect(dead_code, reason = "mem: never forgets a topic"))]
    pub(crate) fn retain(&mut self, keeps: impl Fn(&Topic, &T) -> bool) {
        self.0.retain(|(name, value)| keeps(name, value));
    }

    #[cfg_attr(not(feature = "file"), expect(dead_code, reason = "mem: never forgets a topic"))]
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    #[inline]
    fn place(&self, name: &Topic) -> Result<usize, usize> {
        let name = name.as_str();
        self.0.binary_search_by(|(known, _)| {
            let known = known.as_str();
            known.len().cmp(&name.len()).then_with(|| known.cmp(name))
        })
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
    fn topics_are_found_by_their_names() {
        let names = ["orders", "order", "a", "orders.v2", "ordera", "b"].map(Topic::from);
        let mut places = ByTopic::default();
        names.iter().enumerate().for_each(|(place, name)| places.add(name.clone(), place));
        places.add(Topic::from("a"), 99);
        for (place, name) in names.iter().enumerate() {
            assert_eq!(places.get(name), Some(&place), "{name}");
        }
        assert_eq!(places.get(&Topic::from("c")), None);
        assert_eq!(places.values().count(), names.len(), "a topic has one value");
    }

    #[test]
    fn no_partitions_and_absurdly_many_are_refused() {
        for partitions in [0, u32::MAX] {
            let spec = TopicSpec { name: "orders".into(), partitions: Some(partitions) };
            assert!(matches!(check_spec(&spec), Err(BrokerError::Refused { .. })));
        }
    }
}
