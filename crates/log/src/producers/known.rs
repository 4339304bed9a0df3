//! What is known of one producer in one partition.

use super::sequenced::{after, distance};
use super::{ProducerError, Sequenced, Verdict};

/// As many batches as a Kafka producer has on their way at most; a repeat is always one of them.
pub(super) const REMEMBERED: usize = 5;

/// Counted further, a sequence that is far ahead could not be told from one that is far behind.
pub(super) const MOST_SPAN: u32 = 1 << 30;

/// The epoch of a producer and its last batches in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    epoch: i16,
    /// How many sequences, up to the last one, are known to have been appended without a gap.
    span: u32,
    /// The newest first; then as many of [`Noted::NONE`] as are missing.
    recent: [Noted; REMEMBERED],
}

/// A batch that was appended: as many offsets as sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) first: i32,
    pub(super) last: i32,
    pub(super) base: u64,
    pub(super) next: u64,
}

impl Noted {
    /// No batch: every batch has an offset, and so a `next` above 0.
    const NONE: Self = Self { first: 0, last: 0, base: 0, next: 0 };

    fn new(batch: &Sequenced, base: u64, next: u64) -> Self {
        Self { first: batch.first, last: batch.last, base, next }
    }
}

impl Known {
    /// What is known of a producer, or of a new epoch of it, after its first batch.
    pub(super) fn begin(batch: &Sequenced, base: u64, next: u64) -> Self {
        let mut recent = [Noted::NONE; REMEMBERED];
        recent[0] = Noted::new(batch, base, next);
        Self { epoch: batch.epoch, span: batch.count().min(MOST_SPAN), recent }
    }

    /// From the parts that a state file holds, the oldest batch first; `None` where they cannot be.
    pub(super) fn from_parts(
        epoch: i16,
        span: u32,
        batches: impl Iterator<Item = Noted>,
    ) -> Option<Self> {
        let mut known: Option<Self> = None;
        for noted in batches {
            let Noted { first, last, base, next } = noted;
            let batch = Sequenced { producer: 0, epoch, first, last };
            let follows = known
                .as_ref()
                .is_none_or(|known| known.expected() == first && known.next() <= base);
            let is_batch =
                first >= 0 && last >= 0 && next.checked_sub(base) == Some(u64::from(batch.count()));
            if !follows || !is_batch {
                return None;
            }
            match &mut known {
                Some(known) => {
                    known.note(&batch, base, next);
                }
                None => known = Some(Self::begin(&batch, base, next)),
            }
        }
        let known = known?;
        (epoch >= 0 && (known.span..=MOST_SPAN).contains(&span)).then_some(Self { span, ..known })
    }

    pub(super) fn check(&self, batch: &Sequenced) -> Result<Verdict, ProducerError> {
        let found = batch.first;
        if batch.epoch < self.epoch {
            return Err(ProducerError::Fenced { epoch: batch.epoch, current: self.epoch });
        }
        if batch.epoch > self.epoch {
            return match found {
                0 => Ok(Verdict::New),
                _ => Err(ProducerError::OutOfSequence { expected: 0, found }),
            };
        }
        let expected = self.expected();
        if found == expected {
            return Ok(Verdict::New);
        }
        if let Some(noted) = self.repeated(batch) {
            return Ok(Verdict::Repeat { base_offset: noted.base, next: noted.next });
        }
        if self.is_long_past(batch) {
            return Err(ProducerError::Stale { expected, found });
        }
        Err(ProducerError::OutOfSequence { expected, found })
    }

    /// Whether all sequences of a batch were surely appended before the batches that are known.
    ///
    /// Being behind is no proof. When a producer began in the middle, a batch from before may have
    /// been lost on its way, and whoever is told that it was appended never sends it again.
    fn is_long_past(&self, batch: &Sequenced) -> bool {
        let behind = distance(batch.first, self.expected());
        let remembered: u64 =
            self.batches().map(|noted| u64::from(distance(noted.first, noted.last)) + 1).sum();
        behind <= self.span && u64::from(behind) >= remembered + u64::from(batch.count())
    }

    fn repeated(&self, batch: &Sequenced) -> Option<&Noted> {
        self.batches().find(|noted| (noted.first, noted.last) == (batch.first, batch.last))
    }

    /// Remembers a batch, and says whether it was not known already.
    pub(super) fn note(&mut self, batch: &Sequenced, base: u64, next: u64) -> bool {
        if base < self.next() {
            return false;
        }
        if batch.epoch == self.epoch && batch.first == self.expected() {
            self.recent.rotate_right(1);
            self.recent[0] = Noted::new(batch, base, next);
            self.span = self.span.saturating_add(batch.count()).min(MOST_SPAN);
        } else {
            *self = Self::begin(batch, base, next);
        }
        true
    }

    pub(super) fn epoch(&self) -> i16 {
        self.epoch
    }

    pub(super) fn span(&self) -> u32 {
        self.span
    }

    /// The batches that are remembered, the newest first.
    pub(super) fn batches(&self) -> impl DoubleEndedIterator<Item = &Noted> {
        self.recent.iter().filter(|noted| noted.next > 0)
    }

    pub(super) fn last_sequence(&self) -> i32 {
        self.recent[0].last
    }

    /// The offset after the newest batch.
    pub(super) fn next(&self) -> u64 {
        self.recent[0].next
    }

    /// The sequence that the next batch begins with.
    fn expected(&self) -> i32 {
        after(self.last_sequence())
    }
}
