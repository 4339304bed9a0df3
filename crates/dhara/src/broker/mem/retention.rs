//! How much of what was done is kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{BrokerError, TopicPartition};
use super::partition::MemPartition;

/// The options of `mem:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemOptions {
    /// How many bytes are kept of what every group with members has done.
    pub retain: u64,
    /// How many bytes are kept at all; beyond them a publish is refused for the time being.
    pub limit: u64,
}

impl Default for MemOptions {
    fn default() -> Self {
        Self { retain: 64 << 20, limit: 1 << 30 }
    }
}

/// Counts what is kept and says when to sweep.
#[derive(Debug)]
pub(super) struct Retention {
    options: MemOptions,
    kept: AtomicU64,
    /// The next sweep is due when more than this is kept.
    sweep_at: AtomicU64,
}

impl Retention {
    pub(super) fn new(options: MemOptions) -> Self {
        Self { options, kept: AtomicU64::new(0), sweep_at: AtomicU64::new(options.retain) }
    }

    pub(super) fn add(&self, bytes: u64) {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether more is kept than may be.
    pub(super) fn is_full(&self) -> bool {
        self.kept.load(Ordering::Relaxed) > self.options.limit
    }

    /// What a publisher is told while that is so.
    pub(super) fn refusal(&self) -> BrokerError {
        BrokerError::Unavailable {
            what: format!(
                "mem: holds {} bytes that its groups have not done, and may hold {}; wait for \
                 them, or raise the bound with mem:?limit=BYTES",
                self.kept.load(Ordering::Relaxed),
                self.options.limit
            ),
            source: None,
        }
    }

    /// Whether it is time to sweep. Only one of those who ask at the same time is told so.
    pub(super) fn is_due(&self) -> bool {
        let at = self.sweep_at.load(Ordering::Relaxed);
        if self.kept.load(Ordering::Relaxed) <= at {
            return false;
        }
        self.sweep_at.compare_exchange(at, u64::MAX, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Drops the oldest of what may go, each partition in proportion to what it has, and a little
    /// more than it must, so that sweeps are rare.
    pub(super) fn sweep<'a>(
        &self,
        partitions: impl Iterator<Item = (TopicPartition, &'a Arc<MemPartition>)>,
        pins: &HashMap<TopicPartition, u64>,
    ) {
        let kept = u128::from(self.kept.load(Ordering::Relaxed)).max(1);
        let wanted = u128::from(self.options.retain - self.options.retain / 8);
        for (name, partition) in partitions {
            let target = u128::from(partition.bytes()) * wanted / kept;
            let below = pins.get(&name).copied().unwrap_or(u64::MAX);
            let freed = partition.trim(below, u64::try_from(target).unwrap_or(u64::MAX));
            self.kept.fetch_sub(freed, Ordering::Relaxed);
        }
        let step = self.options.retain / 8;
        let kept = self.kept.load(Ordering::Relaxed).max(self.options.retain);
        self.sweep_at.store(kept.saturating_add(step), Ordering::Relaxed);
    }
}
