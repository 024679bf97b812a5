//! The only place in this crate that reads a clock.
#![allow(clippy::disallowed_methods)]

use doorbuster_protocol::types::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time, for waiting and for measuring.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// This machine's wall clock, UTC milliseconds; 0 if it stands before 1970.
#[must_use]
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Processor time that this thread has used.
#[must_use]
pub fn thread_cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}
