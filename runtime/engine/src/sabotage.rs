//! Deliberate bugs, so that tests can show that they would find them. None is ever on without the feature `sabotage`; with it, only in a
//! thread that has asked for one.

/// A bug that tests can switch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The progress names the last record that was done, not the one after it.
    LastOffsetInsteadOfNext,
    /// A sink's progress is overwritten whatever it is.
    ProgressNotCompared,
    /// The log is committed first, then the sinks.
    LogBeforeSinks,
    /// The watermark of a step is that of the fastest partition.
    HighestWatermark,
    /// Lateness is judged by the watermark behind the batch.
    LateByEndOfBatch,
    /// A repeat does not count as an appearance of its key.
    DuplicateOfKeptOnly,
    /// What is merged again after a takeover is counted and written again.
    LoudReplay,
    /// Every taker of a task has a transactional id of its own.
    NoFencing,
    /// Deduplications begin empty at a takeover.
    ForgottenKeys,
    /// Decrees are not read back at a takeover.
    ForgottenDecrees,
    /// What a sink refused before the log could be told is not read back at a takeover.
    ForgottenRefusals,
    /// What a sink refused is forgotten with the next commit, once the log has acknowledged its dead letters.
    SettledOnceAcknowledged,
    /// What was sent again is taken by those as well that had taken it.
    SentToEverybody,
    /// What was sent again is a duplicate to a deduplication that had let it through.
    DuplicateOfItself,
    /// What earlier generations have written to topics is left where it is made anew.
    OutdatedRows,
    /// What earlier generations have written to tables is left where it is made anew.
    UncutTables,
    /// Rows of windows say of every generation that it is the first.
    PositionsWithoutGeneration,
    /// A task's progress is committed in a transaction of its own, after that of what it has done.
    ProgressApart,
    /// Decrees are not written to the log: only who makes one knows of it.
    UnwrittenDecrees,
    /// The watermark is not known any more after a takeover.
    ForgottenWatermark,
    /// Windows are forgotten when they end, and not when nobody can need them any more.
    PurgedAtTheirEnd,
    /// Snapshots leave out what windows have taken since they were emitted.
    SnapshotOfEmitted,
    /// A sink that was set back is not given again what it lost.
    NoRepair,
    /// The offset after a batch of partials is the one before it plus their number, as if offsets had no gaps.
    CountedOffsets,
    /// Rows of windows that an amendment has removed stay.
    NoDeletes,
    /// Windows are emitted before every source partition has spoken.
    NobodyAwaited,
    /// A group goes to a partition of the partials by the source partition that it comes from.
    PlacedBySource,
    /// What a database has beyond the log is written there again.
    SinksAheadNotSkipped,
    /// Sessions of different batches and partitions are not joined.
    SessionsApart,
    /// Sessions are emitted as soon as the watermark has passed their last event.
    SessionsWithoutGap,
    /// What goes on with a session of an earlier generation is a session of its own.
    SessionsDivided,
    /// Windows over windows do not wait for what those may still take.
    FedTooEarly,
    /// A new generation reads again what is left, whatever retention took since that was decided.
    ReplayOfWhatIsLeft,
}

#[cfg(feature = "sabotage")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Switches a bug on in this thread, or all off.
#[cfg(feature = "sabotage")]
pub fn switch(bug: Option<Bug>) {
    ACTIVE.set(bug);
}

/// The bug that is on in this thread.
#[cfg(feature = "sabotage")]
pub fn active() -> Option<Bug> {
    ACTIVE.get()
}

/// Whether a bug is on in this thread.
#[inline]
pub fn is(bug: Bug) -> bool {
    #[cfg(feature = "sabotage")]
    return ACTIVE.get() == Some(bug);
    #[cfg(not(feature = "sabotage"))]
    {
        let _ = bug;
        false
    }
}
