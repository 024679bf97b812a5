//! The only module of this crate that draws random numbers: jitter, so that clients do not march in step.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

/// Between half of `pause` and all of it.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}
