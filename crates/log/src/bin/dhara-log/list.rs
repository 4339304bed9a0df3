//! `list`: what the log holds.

use std::io::Write;

use dhara_log::inspect::Inspection;
use dhara_log::{SyncPolicy, TopicConfig, TopicInfo, TopicPartition};

use crate::text::Shown;
use crate::{Failure, Outcome};

pub(crate) fn list(log: &Inspection, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let topics = log.topics();
    for topic in &topics {
        put_topic(log, topic, out)?;
    }
    if topics.is_empty() {
        writeln!(out, "no topics")?;
    }
    for group in log.groups() {
        writeln!(out, "group {}", Shown(group.as_bytes()))?;
        for (partition, committed) in log.committed_all(&group) {
            write!(out, "  {partition}: committed {}", committed.offset)?;
            if let Ok(bounds) = log.bounds(&partition) {
                write!(out, ", {} behind", bounds.end.saturating_sub(committed.offset))?;
            }
            if !committed.metadata.is_empty() {
                write!(out, ", metadata {}", Shown(committed.metadata.as_bytes()))?;
            }
            writeln!(out)?;
        }
    }
    let (notes, stats) = (log.notes(""), log.stats());
    for (name, value) in &notes {
        writeln!(out, "note {}: {} bytes", Shown(name.as_bytes()), value.len())?;
    }
    if stats.producers > 0 {
        writeln!(out, "{} idempotent producers are remembered", stats.producers)?;
    }
    for (topic, policy) in &stats.weaker {
        writeln!(out, "weak: {topic} syncs {policy}; a power cut takes records that were acked")?;
    }
    if log.torn_bytes() > 0 {
        let bytes = log.torn_bytes();
        writeln!(out, "torn: {bytes} bytes were never acked; the next opening cuts them")?;
    }
    for damage in &log.report().damage {
        let (file, position) = (damage.file.display(), damage.position);
        writeln!(out, "damage: {file} at {position}: {}", damage.what)?;
    }
    Ok(if log.report().damage.is_empty() { Outcome::Good } else { Outcome::Damage })
}

fn put_topic(log: &Inspection, topic: &TopicInfo, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "topic {}, {} partitions", topic.name, topic.partitions)?;
    if !topic.aliases.is_empty() {
        let aliases: Vec<&str> = topic.aliases.iter().map(AsRef::as_ref).collect();
        writeln!(out, "  aliases: {}", aliases.join(", "))?;
    }
    put_config(&topic.config, out)?;
    for growth in &topic.growths {
        let ends: Vec<String> = growth.ends.iter().map(u64::to_string).collect();
        writeln!(out, "  grew from {} partitions, at {}", growth.ends.len(), ends.join(", "))?;
    }
    for number in 0..topic.partitions {
        let bounds = log.bounds(&TopicPartition::new(topic.name.clone(), number))?;
        writeln!(out, "  {}/{number}: {} to {}", topic.name, bounds.earliest, bounds.end)?;
    }
    Ok(())
}

fn put_config(config: &TopicConfig, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(time) = config.retention {
        writeln!(out, "  retention: {time:?}")?;
    }
    if let Some(bytes) = config.retention_bytes {
        writeln!(out, "  retention: {bytes} bytes a partition")?;
    }
    if config.compact {
        writeln!(out, "  compacted; tombstones stay {:?}", config.tombstone_delay)?;
    }
    if config.sync != SyncPolicy::EveryAck {
        writeln!(out, "  sync: {}", config.sync)?;
    }
    for (name, value) in &config.other {
        writeln!(out, "  {}: {}", Shown(name.as_bytes()), Shown(value.as_bytes()))?;
    }
    Ok(())
}
