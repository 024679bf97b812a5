//! How long whoever found nothing to do, or failed, waits before the next try.

use std::time::Duration;

use doorbuster_protocol::types::Millis;

use crate::entropy;

/// A pause that doubles until something works.
#[derive(Debug)]
pub(crate) struct Pause {
    shortest: Millis,
    longest: Millis,
    next: Millis,
}

impl Pause {
    pub const fn between((shortest, longest): (Millis, Millis)) -> Self {
        Self { shortest, longest, next: shortest }
    }

    pub fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = Millis((pause.get() * 2).min(self.longest.get()));
        Duration::from_millis(pause.get())
    }

    pub fn reset(&mut self) {
        self.next = self.shortest;
    }
}

/// From half of a pause to all of it, so that those which failed together do not come back together.
pub(crate) fn spread(pause: Duration) -> Duration {
    let half = u64::try_from(pause.as_millis() / 2).unwrap_or(u64::MAX);
    Duration::from_millis(entropy::jittered(Millis(half)).get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_spread_and_are_never_longer_than_planned() {
        let drawn: Vec<_> = (0..200).map(|_| spread(Duration::from_millis(1000))).collect();
        assert!(drawn.iter().all(|pause| (500..=1000).contains(&pause.as_millis())));
        assert!(drawn.iter().any(|pause| *pause != drawn[0]));
    }
}
