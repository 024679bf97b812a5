//! Bugs that the simulator must notice: product code asks [`on`] where a classic mistake would sit.
//!
//! Without the feature `planted`, [`on`] is a constant `false` and leaves nothing in the code; the binary `doorbuster`
//! refuses to compile with it ([`COMPILED_IN`]). With it, at most one bug is planted at a time, for the whole process.

#![forbid(unsafe_code)]

/// Whether bugs can be planted in this build.
pub const COMPILED_IN: bool = cfg!(feature = "planted");

/// A classic mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A write is called durable before it is synced.
    AcknowledgeBeforeSync = 1,
    /// A restarted node has forgotten whom it voted for.
    VoteNotPersisted,
    /// Callers are answered when their entry is proposed.
    ReplyAtPropose,
    /// Waiters are answered in the order in which they came, whatever entry is applied.
    WaitersFirstInFirstOut,
    /// A leader reads its own state without lease or `ReadIndex`.
    ReadWithoutLease,
    /// The lease is counted in ticks, which stop while the process does.
    LeaseByTicks,
    /// Reservations expire by the leader's own wall clock.
    ExpiryByLocalClock,
    /// A snapshot leaves out what has been answered to which id.
    SnapshotWithoutIdempotency,
    /// The applied index is restored apart from the state.
    AppliedIndexApart,
    /// The log is cut at damage in its middle, as if it were a torn tail.
    CutAtDamage,
    /// A client retries under a new id.
    RetryUnderNewId,
    /// A restored state does not know when its reservations expire.
    ExpiryIndexLost,
    /// A confirmation is accepted after the reservation has expired.
    ConfirmAfterExpiry,
    /// Refusals rest on what has not been committed.
    RefusalFromUncommitted,
    /// The order feed is acknowledged before the orders are stored.
    FeedAcknowledgedEarly,
    /// Tickets of a former leader's proposals are not given back.
    TicketsNotGivenBack,
    /// A payment provider's silence is taken for a failure.
    TimeoutTakenForFailure,
    /// A payment that the provider does not know has failed, and a charge that arrives later may take the money.
    UnknownChargeNotClosed,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::AcknowledgeBeforeSync,
        Self::VoteNotPersisted,
        Self::ReplyAtPropose,
        Self::WaitersFirstInFirstOut,
        Self::ReadWithoutLease,
        Self::LeaseByTicks,
        Self::ExpiryByLocalClock,
        Self::SnapshotWithoutIdempotency,
        Self::AppliedIndexApart,
        Self::CutAtDamage,
        Self::RetryUnderNewId,
        Self::ExpiryIndexLost,
        Self::ConfirmAfterExpiry,
        Self::RefusalFromUncommitted,
        Self::FeedAcknowledgedEarly,
        Self::TicketsNotGivenBack,
        Self::TimeoutTakenForFailure,
        Self::UnknownChargeNotClosed,
    ];
}

#[cfg(feature = "planted")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Whether this bug is planted.
#[cfg(feature = "planted")]
#[must_use]
pub fn on(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether this bug is planted: never, in this build.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[must_use]
pub const fn on(_bug: Bug) -> bool {
    false
}

/// Plants a bug, or none. It replaces the one planted before.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(0, |bug| bug as u8), std::sync::atomic::Ordering::Relaxed);
}
