//! A machine's clocks: the monotonic one of each process, and the wall clock. Both are functions of true time, so that
//! reading them changes nothing.

use doorbuster_protocol::types::Timestamp;
use doorbuster_raft::Monotonic;

use crate::history::Moment;

/// UTC milliseconds at the beginning of the world.
pub const EPOCH_MS: u64 = 1_800_000_000_000;
/// What a process's monotonic clock shows when it starts.
const FIRST: u64 = 1_000_000_000;
const MILLION: i64 = 1_000_000;

/// The clocks of one machine.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    /// When the process started.
    started: Moment,
    /// How much too fast both run, in parts per million.
    pub drift_ppm: i64,
    /// How far the wall clock is off, in ms, drift excluded.
    pub offset_ms: i64,
}

impl Clocks {
    /// A process starts.
    pub fn start(&mut self, now: Moment) {
        self.started = now;
    }

    /// The process's monotonic clock.
    #[must_use]
    pub fn monotonic(&self, now: Moment) -> Monotonic {
        Monotonic(FIRST + drifted(now.0.saturating_sub(self.started.0), self.drift_ppm))
    }

    /// The first moment at which the process's monotonic clock shows this.
    #[must_use]
    pub fn moment_of(&self, monotonic: Monotonic) -> Moment {
        let shown = i128::from(monotonic.0.saturating_sub(FIRST));
        let rate = i128::from(MILLION + self.drift_ppm);
        let nanos = (shown * i128::from(MILLION) + rate - 1) / rate;
        Moment(self.started.0.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self, now: Moment) -> Timestamp {
        let shown = EPOCH_MS + drifted(now.0, self.drift_ppm) / 1_000_000;
        Timestamp(shown.saturating_add_signed(self.offset_ms))
    }
}

fn drifted(nanos: u64, ppm: i64) -> u64 {
    let product = i128::from(nanos) * i128::from(MILLION + ppm) / i128::from(MILLION);
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// The lower median, as the product's cluster clock takes it.
#[must_use]
pub fn lower_median(mut walls: Vec<Timestamp>) -> Timestamp {
    walls.sort_unstable();
    walls.get(walls.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_found_again() {
        for drift_ppm in [-200, 0, 37, 200] {
            let mut clocks = Clocks { drift_ppm, ..Clocks::default() };
            clocks.start(Moment(123_456_789));
            for nanos in [0, 1, 999, 20_000_000, 7_777_777_777] {
                let wanted = Monotonic(FIRST + nanos);
                let at = clocks.moment_of(wanted);
                assert!(clocks.monotonic(at) >= wanted);
                assert!(at.0 == 123_456_789 || clocks.monotonic(Moment(at.0 - 1)) < wanted);
            }
        }
    }

    #[test]
    fn wall_clocks_are_off_and_drift() {
        let clocks = Clocks { drift_ppm: 100, offset_ms: -5_000, ..Clocks::default() };
        assert_eq!(clocks.wall(Moment(10_000_000_000)), Timestamp(EPOCH_MS + 10_001 - 5_000));
        assert_eq!(lower_median(vec![Timestamp(4), Timestamp(1), Timestamp(3), Timestamp(2)]), Timestamp(2));
    }
}
