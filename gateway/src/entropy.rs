//! The only module of the gateway that draws random numbers: to spread retries, so that those refused together do not
//! come back together, and for names of its own.
#![allow(clippy::disallowed_methods)]

use doorbuster_protocol::types::Millis;
use rand::RngExt;

/// Widest spread: whoever waits an hour for a sale to open shall not miss its first minutes.
const SPREAD: Millis = Millis(5000);

/// A duration drawn evenly from `base` to twice `base`, but not more than five seconds above it.
#[must_use]
pub fn jittered(base: Millis) -> Millis {
    Millis(base.0.saturating_add(rand::rng().random_range(0..=base.0.min(SPREAD.0))))
}

/// A name that nobody else draws.
#[cfg(feature = "kafka")]
#[must_use]
pub fn name() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_spread_but_not_far() {
        for (base, most) in [(0, 0), (100, 200), (3_600_000, 3_605_000), (u64::MAX, u64::MAX)] {
            for _ in 0..1000 {
                assert!((base..=most).contains(&jittered(Millis(base)).0), "{base}");
            }
        }
    }
}
