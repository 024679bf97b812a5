//! Real time, which only the command line looks at: how long runs take, and when to stop looking for a smaller one.
#![allow(clippy::disallowed_methods)]

use std::time::Instant;

/// The present moment.
pub(super) fn now() -> Instant {
    Instant::now()
}
