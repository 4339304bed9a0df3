//! What can go wrong, one kind for each thing that a caller does differently.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::TopicPartition;

/// An error of the log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LogError {
    /// Another process, or another holder in this one, has the folder open.
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The request can never succeed as it stands.
    Invalid {
        /// What was refused and why.
        what: String,
    },
    /// There is no such topic or partition.
    Unknown {
        /// What was asked for.
        partition: TopicPartition,
    },
    /// A condition of an append did not hold; nothing of it was written.
    Conflict {
        /// The partition of the condition.
        partition: TopicPartition,
        /// The next offset that was expected.
        expected: u64,
        /// The next offset that the partition really had.
        actual: u64,
    },
    /// A condition of an append on a key did not hold; nothing of it was written.
    KeyConflict {
        /// The partition of the condition.
        partition: TopicPartition,
        /// The offset that the last record of the key was expected to have; `None` for no record.
        expected: Option<u64>,
        /// The offset that it really had.
        actual: Option<u64>,
    },
    /// A condition of an append on a note did not hold; nothing of it was written.
    NoteChanged {
        /// The note.
        name: Arc<str>,
    },
    /// A topic has another number of partitions than the condition of an append said; nothing of it
    /// was written.
    Repartitioned {
        /// The topic.
        topic: Arc<str>,
        /// How many partitions it was expected to have.
        expected: u32,
        /// How many it has.
        actual: u32,
    },
    /// There is a topic of this name, or one that it is an alias of.
    Exists {
        /// The name.
        topic: Arc<str>,
    },
    /// A batch of an idempotent producer does not follow the last one of it; nothing of the append
    /// was written. A batch before it is missing, so the producer sends that first or begins a new
    /// epoch.
    OutOfSequence {
        /// The partition.
        partition: TopicPartition,
        /// The producer's id.
        producer: i64,
        /// The sequence that the batch was to begin with.
        expected: i32,
        /// The sequence that it began with.
        found: i32,
    },
    /// A batch of an idempotent producer was appended before, and so long ago that its offsets are
    /// not remembered. Sending it again never helps, and it is not lost.
    Stale {
        /// The partition.
        partition: TopicPartition,
        /// The producer's id.
        producer: i64,
        /// The sequence that the producer's next batch begins with.
        expected: i32,
        /// The sequence that the batch began with.
        found: i32,
    },
    /// A later epoch of an idempotent producer has taken over; nothing of the append was written.
    Fenced {
        /// The partition.
        partition: TopicPartition,
        /// The producer's id.
        producer: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// The epoch that is current.
        current: i16,
    },
    /// The offset was expired, or lies past the end.
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The offset that was asked for.
        offset: u64,
        /// The earliest offset that is kept.
        earliest: u64,
        /// The offset that the next visible record will get.
        end: u64,
    },
    /// What was to be read is damaged on disk. The rest of the log stays readable.
    Damaged {
        /// The partition.
        partition: TopicPartition,
        /// The first offset that cannot be read.
        offset: u64,
        /// The next offset that may be readable.
        next: u64,
        /// Where and what.
        what: String,
    },
    /// More is queued than [`crate::Options::max_queued_bytes`]; trying again later helps.
    Overloaded {
        /// How many bytes are waiting.
        queued: usize,
    },
    /// The disk is full. Reads go on; appends succeed again once there is space.
    Full {
        /// What was attempted, on what.
        what: String,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// A read or an opening failed in the operating system.
    Io {
        /// What was attempted, on what.
        what: String,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// A write or a sync failed before: the log takes no more appends until it is opened again.
    Failed {
        /// What failed, and on what.
        what: Arc<str>,
    },
    /// The files cannot be understood: of a later version, or damaged where nothing helps.
    Unreadable {
        /// Which file, and why.
        what: String,
    },
    /// The log was closed.
    Closed,
}

impl LogError {
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        let what = format!("{doing} {}", path.display());
        let source = Arc::new(source);
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { what, source }
            }
            _ => Self::Io { what, source },
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { dir } => write!(
                f,
                "the log in {} is open in another process; stop it, or use another folder",
                dir.display()
            ),
            Self::Invalid { what } | Self::Unreadable { what } => f.write_str(what),
            Self::Unknown { partition } => {
                write!(f, "there is no {partition}; create the topic first")
            }
            Self::Conflict { partition, expected, actual } => write!(
                f,
                "{partition} was expected to go on at offset {expected} but goes on at {actual}; \
                 nothing was appended"
            ),
            Self::KeyConflict { partition, expected, actual } => write!(
                f,
                "{partition}: the last record of the key was expected {}, but it is {}; nothing was \
                 appended",
                At(*expected),
                At(*actual)
            ),
            Self::NoteChanged { name } => {
                write!(f, "the note {name} is not as it was expected; nothing was appended")
            }
            Self::Repartitioned { topic, expected, actual } => write!(
                f,
                "the topic {topic} was expected to have {expected} partitions, but has {actual}; \
                 nothing was appended: pick the partitions anew, and append again"
            ),
            Self::Exists { topic } => write!(f, "the topic {topic} exists already"),
            Self::OutOfSequence { partition, producer, expected, found } => write!(
                f,
                "{partition}: producer {producer} goes on with sequence {expected}, but the batch \
                 begins with {found}; nothing was appended: send what is missing first, or begin a \
                 new epoch"
            ),
            Self::Stale { partition, producer, expected, found } => write!(
                f,
                "{partition}: producer {producer} goes on with sequence {expected}; the batch that \
                 begins with {found} was appended long ago: do not send it again"
            ),
            Self::Fenced { partition, producer, epoch, current } => write!(
                f,
                "{partition}: epoch {epoch} of producer {producer} is over, {current} is current; \
                 nothing was appended: another producer has taken over, so stop this one"
            ),
            Self::OutOfRange { partition, offset, earliest, end } => write!(
                f,
                "{partition} has no offset {offset}; it holds offsets from {earliest} to below {end}"
            ),
            Self::Damaged { partition, offset, next, what } => write!(
                f,
                "{partition} is damaged at offset {offset} ({what}); reading may go on at {next}"
            ),
            Self::Overloaded { queued } => {
                write!(f, "{queued} bytes wait to be written, which is the bound; try again later")
            }
            Self::Full { what, source } => {
                write!(f, "the disk is full: {what}: {source}; make space, then append again")
            }
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Failed { what } => write!(
                f,
                "the log takes no more appends since {what}; what was acked is kept: check the \
                 disk, then open the log again"
            ),
            Self::Closed => f.write_str("the log is closed"),
        }
    }
}

/// An offset in a sentence.
struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, "at offset {offset}"),
            None => f.write_str("nowhere"),
        }
    }
}

impl Error for LogError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Full { source, .. } | Self::Io { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
