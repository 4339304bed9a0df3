//! How a topic is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::LogError;

/// How a topic is kept. The default keeps everything, for ever, synced before each ack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Records whose batch is older than this go; `None` keeps them whatever their age. The age
    /// counts from the greatest timestamp of the batch, or from its arrival where that lies ahead.
    pub retention: Option<Duration>,
    /// The oldest records of a partition go when it holds more bytes than this.
    pub retention_bytes: Option<u64>,
    /// Whether of each key only the newest record is kept. A record without a value removes its key.
    pub compact: bool,
    /// How long a record without a value is kept in a topic that is compacted.
    pub tombstone_delay: Duration,
    /// When a record of the topic counts as durable.
    pub sync: SyncPolicy,
    /// What others want to remember of the topic: kept as it is, by name.
    pub other: BTreeMap<String, String>,
}

/// When an append is acked, and with that visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When it is synced: nothing that was acked is ever lost with the power.
    #[default]
    EveryAck,
    /// When it is written; it is synced within this time. **A power cut takes what was acked since
    /// the last sync.**
    Interval(Duration),
    /// When it is written; the operating system syncs it when it likes. **A power cut takes what was
    /// acked in the last half minute, or more.**
    Os,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            retention: None,
            retention_bytes: None,
            compact: false,
            tombstone_delay: DAY,
            sync: SyncPolicy::EveryAck,
            other: BTreeMap::new(),
        }
    }
}

impl SyncPolicy {
    /// How long an acked record may stay unsynced: in microseconds, 0 for not at all.
    pub(crate) fn as_micros(self) -> u64 {
        match self {
            Self::EveryAck => 0,
            Self::Interval(time) => u64::try_from(time.as_micros()).unwrap_or(OS).clamp(1, OS - 1),
            Self::Os => OS,
        }
    }

    pub(crate) fn of_micros(micros: u64) -> Self {
        match micros {
            0 => Self::EveryAck,
            OS => Self::Os,
            micros => Self::Interval(Duration::from_micros(micros)),
        }
    }
}

/// The delay that stands for the operating system's own.
pub(crate) const OS: u64 = u64::MAX;

impl fmt::Display for SyncPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EveryAck => f.write_str("every ack"),
            Self::Interval(time) => write!(f, "every {time:?}"),
            Self::Os => f.write_str("left to the operating system"),
        }
    }
}

impl TopicConfig {
    /// The most that names and values of [`TopicConfig::other`] may take together.
    const MAX_OTHER: usize = 32 << 10;

    pub(crate) fn check(&self, topic: &str) -> Result<(), LogError> {
        let bytes: usize = self.other.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > Self::MAX_OTHER {
            return Err(LogError::invalid(format!(
                "topic {topic}: {bytes} bytes of configuration; at most {} are kept",
                Self::MAX_OTHER
            )));
        }
        Ok(())
    }

    /// The configuration as names and values. Those that others want kept begin with `=`.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        let millis =
            |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX).to_string();
        let mut pairs: Vec<(String, String)> =
            self.other.iter().map(|(name, value)| (format!("={name}"), value.clone())).collect();
        let mut put = |name: &str, value: String| pairs.push((name.to_owned(), value));
        if let Some(time) = self.retention {
            put("retention.ms", millis(time));
        }
        if let Some(bytes) = self.retention_bytes {
            put("retention.bytes", bytes.to_string());
        }
        if self.compact {
            put("compact", "true".to_owned());
        }
        if self.compact || self.tombstone_delay != DAY {
            put("tombstone.ms", millis(self.tombstone_delay));
        }
        if self.sync != SyncPolicy::EveryAck {
            put("sync.micros", self.sync.as_micros().to_string());
        }
        pairs
    }

    /// The configuration that [`TopicConfig::pairs`] gave; a name that is not known is passed over.
    pub(crate) fn of_pairs(pairs: impl Iterator<Item = (String, String)>) -> Option<Self> {
        let mut config = Self::default();
        for (name, value) in pairs {
            if let Some(name) = name.strip_prefix('=') {
                config.other.insert(name.to_owned(), value);
                continue;
            }
            // Some logs have times that are longer than milliseconds can count in 64 bits.
            let number =
                || value.parse().ok().map(|it: u128| u64::try_from(it).unwrap_or(u64::MAX));
            match name.as_str() {
                "retention.ms" => config.retention = Some(Duration::from_millis(number()?)),
                "retention.bytes" => config.retention_bytes = Some(number()?),
                "compact" => config.compact = true,
                "tombstone.ms" => config.tombstone_delay = Duration::from_millis(number()?),
                "sync.micros" => config.sync = SyncPolicy::of_micros(number()?),
                _ => {}
            }
        }
        Some(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_not_compacted_yet_remembers_its_delay_of_tombstones() {
        let tombstone_delay = Duration::from_millis(30);
        let config = TopicConfig { tombstone_delay, ..TopicConfig::default() };
        assert_eq!(TopicConfig::of_pairs(config.pairs().into_iter()), Some(config));
    }
}
