//! Changes of topics: what they ask for, and what the topic is after them.

use std::sync::Arc;

use crate::config::TopicConfig;
use crate::frame;
use crate::partition::Partition;
use crate::topics::{Growth, MAX_PARTITIONS, Topic, TopicRecord, Topics, check_topic_name};
use crate::{LogError, TopicPartition};

/// A topic that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: u32,
    /// How it is kept.
    pub config: TopicConfig,
    /// Other names that stand for it: the same partitions, the same offsets.
    pub aliases: Vec<Arc<str>>,
}

impl NewTopic {
    /// A topic that is kept for ever.
    pub fn new(name: impl Into<Arc<str>>, partitions: u32) -> Self {
        let (config, aliases) = (TopicConfig::default(), Vec::new());
        Self { name: name.into(), partitions, config, aliases }
    }
}

/// A change of a topic.
#[derive(Clone, Debug)]
pub(crate) enum TopicChange {
    Create(NewTopic),
    Delete {
        name: Arc<str>,
    },
    /// The topic has this many partitions from now on.
    Grow {
        name: Arc<str>,
        partitions: u32,
    },
    Configure {
        name: Arc<str>,
        config: TopicConfig,
    },
    /// These are the other names from now on.
    Rename {
        name: Arc<str>,
        aliases: Vec<Arc<str>>,
    },
}

/// What a change comes to.
#[derive(Clone, Debug)]
pub(crate) enum Changed {
    To(TopicRecord),
    Gone(Arc<str>),
}

impl Changed {
    /// What its frame holds.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match self {
            Self::To(record) => record.encode(&mut body),
            Self::Gone(name) => crate::codec::put_text(&mut body, name),
        }
        body
    }

    /// The bytes that it takes in the journal: it is written twice, as all records of a topic are
    /// lost with its name.
    pub(crate) fn span(&self) -> usize {
        2 * frame::span(self.body().len())
    }
}

impl TopicChange {
    /// What the change makes of the topics as they are.
    pub(crate) fn apply(&self, topics: &Topics) -> Result<Changed, LogError> {
        match self {
            Self::Create(new) => create(new, topics),
            Self::Delete { name } => Ok(Changed::Gone(found(topics, name)?.record.name.clone())),
            Self::Grow { name, partitions } => grow(found(topics, name)?, *partitions, topics),
            Self::Configure { name, config } => {
                config.check(name)?;
                let record = found(topics, name)?.record.clone();
                Ok(Changed::To(TopicRecord { config: Arc::new(config.clone()), ..record }))
            }
            Self::Rename { name, aliases } => {
                let record = found(topics, name)?.record.clone();
                check_aliases(topics, &record.name, aliases)?;
                Ok(Changed::To(TopicRecord { aliases: aliases.clone(), ..record }))
            }
        }
    }
}

fn found<'a>(topics: &'a Topics, name: &Arc<str>) -> Result<&'a Topic, LogError> {
    let partition = TopicPartition::new(Arc::clone(name), 0);
    topics.topic(name).ok_or(LogError::Unknown { partition })
}

fn create(new: &NewTopic, topics: &Topics) -> Result<Changed, LogError> {
    let name = &new.name;
    check_topic_name(name)?;
    new.config.check(name)?;
    if topics.topic(name).is_some() {
        return Err(LogError::Exists { topic: Arc::clone(name) });
    }
    check_aliases(topics, name, &new.aliases)?;
    if new.partitions == 0 {
        return Err(LogError::invalid(format!("topic {name}: it needs at least one partition")));
    }
    let first = room_for(topics, name, new.partitions)?;
    Ok(Changed::To(TopicRecord {
        name: Arc::clone(name),
        ids: vec![(first, new.partitions)],
        growths: Vec::new(),
        aliases: new.aliases.clone(),
        config: Arc::new(new.config.clone()),
    }))
}

fn grow(topic: &Topic, partitions: u32, topics: &Topics) -> Result<Changed, LogError> {
    let mut record = topic.record.clone();
    let count = record.count();
    let Some(more) = partitions.checked_sub(count) else {
        return Err(LogError::invalid(format!(
            "topic {}: it has {count} partitions, which cannot become {partitions}; a partition goes \
             only with its topic",
            record.name
        )));
    };
    if more > 0 {
        record.ids.push((room_for(topics, &record.name, more)?, more));
        let ends = topic.partitions.iter().map(|partition| Partition::next(partition)).collect();
        record.growths.push(Growth { ends });
    }
    Ok(Changed::To(record))
}

/// The id of the first of `more` partitions, where there is room for them.
fn room_for(topics: &Topics, name: &str, more: u32) -> Result<u32, LogError> {
    let first = topics.next_id();
    let there = u32::try_from(topics.count()).unwrap_or(u32::MAX);
    let fits = there.checked_add(more).is_some_and(|all| all <= MAX_PARTITIONS);
    if !fits || first.checked_add(more).is_none() {
        return Err(LogError::invalid(format!(
            "topic {name}: {more} more partitions; a log has at most {MAX_PARTITIONS}, and {there} \
             are there"
        )));
    }
    Ok(first)
}

fn check_aliases(topics: &Topics, name: &str, aliases: &[Arc<str>]) -> Result<(), LogError> {
    for alias in aliases {
        check_topic_name(alias)?;
        let taken = topics.topic(alias).is_some_and(|other| {
            &*other.record.name != name || &*other.record.name == alias.as_ref()
        });
        if taken || &**alias == name {
            return Err(LogError::Exists { topic: Arc::clone(alias) });
        }
    }
    Ok(())
}
