//! Bugs that the log can be given on purpose: a test that finds none of them finds nothing. Without
//! the feature `sabotage` every question here has the answer no, and nothing is left of it.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    not(feature = "sabotage"),
    expect(unreachable_pub, reason = "with the feature tests reach it")
)]
pub enum Sabotage {
    /// An append is acked before it is synced.
    AckBeforeSync,
    /// The folder is not synced after a file in it got its name.
    FolderNotSynced,
    /// The first bad frame is taken for the journal's end, whatever follows it.
    DamageIsTail,
    /// A bad body is taken for a good one.
    BodiesUnchecked,
    /// The state names a settled file that is not durable.
    StateBeforeFile,
    /// The state forgets where partitions end, so that offsets are given again.
    EndsForgotten,
    /// A compaction drops the newest record of a key.
    NewestDropped,
    /// Space is given back before it is durable that a partition begins later.
    SpaceBeforeTrim,
    /// Files of the journal are used again though no state says that they are settled.
    JournalUsedTooSoon,
    /// The state forgets producers, so that a repeat is taken for a new batch.
    ProducersForgotten,
    /// The frames of one append do not tell that they belong together.
    AppendsInPart,
}

#[cfg(feature = "sabotage")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

#[cfg(feature = "sabotage")]
impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::AckBeforeSync,
        Self::FolderNotSynced,
        Self::DamageIsTail,
        Self::BodiesUnchecked,
        Self::StateBeforeFile,
        Self::EndsForgotten,
        Self::NewestDropped,
        Self::SpaceBeforeTrim,
        Self::JournalUsedTooSoon,
        Self::ProducersForgotten,
        Self::AppendsInPart,
    ];

    /// Lets every log that this thread steps have the bug from now on, or none.
    pub fn set(bug: Option<Self>) {
        ACTIVE.set(bug);
    }

    pub(crate) fn is_on(self) -> bool {
        ACTIVE.get() == Some(self)
    }
}

#[cfg(not(feature = "sabotage"))]
impl Sabotage {
    #[expect(clippy::unused_self, reason = "with the feature it is asked for")]
    pub(crate) const fn is_on(self) -> bool {
        false
    }
}
