//! The only module of this crate that reads a clock: deadlines and back-off are all it is for.
#![allow(clippy::disallowed_methods)]

pub(crate) use tokio::time::Instant;

/// Monotonic time.
pub(crate) fn now() -> Instant {
    Instant::now()
}
