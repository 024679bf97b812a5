//! Tests measure real time.
#![allow(clippy::disallowed_methods)]

use std::time::Instant;

pub fn now() -> Instant {
    Instant::now()
}
