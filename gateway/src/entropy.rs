//! The only module of the gateway that draws random numbers: to spread retries, so that those refused together do not
//! come back together.
#![allow(clippy::disallowed_methods)]

use doorbuster_protocol::types::Millis;
use rand::RngExt;

/// A duration drawn evenly from `base` to twice `base`.
#[must_use]
pub fn jittered(base: Millis) -> Millis {
    Millis(base.0.saturating_add(rand::rng().random_range(0..=base.0)))
}
