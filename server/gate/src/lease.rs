//! Whether this node leads a shard, and until when it may answer for it alone.
//!
//! One word, written by the shard's thread, read by every connection.

use crate::sync::{AtomicU64, Ordering};

const FOLLOWING: u64 = 0;
const LEADING_WITHOUT_LEASE: u64 = 1;

/// A shard's published lease.
#[derive(Debug)]
pub struct Lease {
    until: AtomicU64,
}

impl Lease {
    /// Of a shard that this node follows.
    #[must_use]
    pub fn new() -> Self {
        Self { until: AtomicU64::new(FOLLOWING) }
    }

    /// This node leads, and has published everything its predecessors committed. No lease yet.
    pub fn lead(&self) {
        self.until.store(LEADING_WITHOUT_LEASE, Ordering::Release);
    }

    /// This node leads no more.
    pub fn follow(&self) {
        self.until.store(FOLLOWING, Ordering::Release);
    }

    /// The lease holds until `until` (nanoseconds of the node's monotonic clock); an earlier time than
    /// before takes it back. Ignored while following.
    pub fn renew(&self, until: u64) {
        // Only the shard's thread writes, so nothing can come between this load and the store.
        if self.until.load(Ordering::Relaxed) != FOLLOWING {
            self.until.store(until.max(LEADING_WITHOUT_LEASE), Ordering::Release);
        }
    }

    /// `None` while following; else the time until which the lease holds.
    #[must_use]
    pub fn until(&self) -> Option<u64> {
        // Acquire: what was published before this lease is seen by the loads that follow.
        match self.until.load(Ordering::Acquire) {
            FOLLOWING => None,
            until => Some(until),
        }
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self::new()
    }
}
