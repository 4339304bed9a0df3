//! What a batch says of its producer, and why one is refused.

use crate::{LogError, RecordBatch, TopicPartition};

/// Sequences are counted modulo 2^31.
const MASK: u32 = i32::MAX.cast_unsigned();

/// The place of a batch among those of its idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sequenced {
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    /// The sequence of its first record.
    pub(crate) first: i32,
    /// The sequence of its last; below the first where the count began again in between.
    pub(crate) last: i32,
}

impl Sequenced {
    /// `None` where no idempotent producer made the batch, and for the markers of transactions,
    /// which have no sequence. A producer without epoch or sequence is refused.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Option<Self>, LogError> {
        let producer = batch.producer_id();
        if producer < 0 || batch.is_control() {
            return Ok(None);
        }
        let (epoch, first) = (batch.producer_epoch(), batch.base_sequence());
        if epoch < 0 || first < 0 {
            return Err(LogError::invalid(format!(
                "record batch: producer {producer} needs an epoch and a sequence, but they are \
                 {epoch} and {first}"
            )));
        }
        Ok(Some(Self { producer, epoch, first, last: batch.last_sequence() }))
    }

    /// How many sequences it takes.
    pub(super) fn count(&self) -> u32 {
        distance(self.first, self.last).saturating_add(1)
    }
}

/// The sequence after `sequence`.
pub(super) fn after(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

/// How far one counts from `from` to come to `to`.
pub(super) fn distance(from: i32, to: i32) -> u32 {
    to.cast_unsigned().wrapping_sub(from.cast_unsigned()) & MASK
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProducerError {
    /// It does not go on where the last one ended.
    OutOfSequence { expected: i32, found: i32 },
    /// It was surely appended before, but longer ago than the batches whose offsets are known.
    Stale { expected: i32, found: i32 },
    /// A later epoch has taken over.
    Fenced { epoch: i16, current: i16 },
}

impl ProducerError {
    /// The error as a user of the log is told it.
    pub(crate) fn of(self, partition: TopicPartition, producer: i64) -> LogError {
        match self {
            Self::OutOfSequence { expected, found } => {
                LogError::OutOfSequence { partition, producer, expected, found }
            }
            Self::Stale { expected, found } => {
                LogError::Stale { partition, producer, expected, found }
            }
            Self::Fenced { epoch, current } => {
                LogError::Fenced { partition, producer, epoch, current }
            }
        }
    }
}
