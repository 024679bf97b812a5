//! When an account is not asked at all, because it would not answer: pure.
//!
//! Five failures in a row open it, or one that says `Retry-After`. Then nothing is sent for a second, and after each probe
//! that fails for twice as long as before, up to half a minute, with jitter; `Retry-After` counts if it is longer. After
//! that one call at a time may try; the first request that is answered closes it.

use std::time::Duration;

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// How long it is open, at first and at most.
const OPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The longest `Retry-After` that is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a probe may take before another may try: it may have been given up without a request.
const PROBE: Duration = Duration::from_secs(5);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It was answered, one way or another.
    Answer,
    /// It was not, and is asked for no other before this time is over, if one is given.
    Failure(Option<Duration>),
}

/// Where it stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything passes.
    Closed,
    /// A probe passes.
    HalfOpen,
    /// Nothing passes.
    Open,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Breaker {
    phase: Phase,
    failures: u32,
    /// How long it was open last, without jitter.
    last: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Closed,
    Open {
        until: Duration,
    },
    Probing {
        since: Duration,
    },
}

impl Breaker {
    /// How long until a call may begin; zero for now.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        match self.phase {
            Phase::Closed => Duration::ZERO,
            Phase::Open { until } => until.saturating_sub(now),
            Phase::Probing { since } => (since + PROBE).saturating_sub(now),
        }
    }

    /// A call begins. Unless it is closed, that is the probe.
    pub fn begin(&mut self, now: Duration) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Probing { since: now };
        }
    }

    /// Whether a call that has begun may send a request.
    #[must_use]
    pub fn lets_pass(&self, now: Duration) -> bool {
        !matches!(self.phase, Phase::Open { until } if until > now)
    }

    /// What became of a request; `jitter` lengthens a time by chance.
    pub fn heard(&mut self, now: Duration, heard: Heard, jitter: impl Fn(Duration) -> Duration) {
        match (heard, self.phase) {
            // A call from before, whose answer says nothing of now.
            (Heard::Answer, Phase::Open { .. }) => {}
            (Heard::Answer, Phase::Closed | Phase::Probing { .. }) => *self = Self::default(),
            (Heard::Failure(after), phase) => {
                self.failures = self.failures.saturating_add(1);
                let is_over = self.failures >= FAILURES || after.is_some() || matches!(phase, Phase::Probing { .. });
                if is_over && !matches!(phase, Phase::Open { .. }) {
                    self.last = (self.last * 2).clamp(OPEN.0, OPEN.1);
                    self.phase = Phase::Open { until: now + jitter(self.last) };
                }
                if let (Some(after), Phase::Open { until }) = (after, &mut self.phase) {
                    *until = (*until).max(now + after.min(LONGEST_WAIT));
                }
            }
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::Probing { .. } => State::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Heard = Heard::Failure(None);

    fn told(breaker: &mut Breaker, script: &[(u64, Option<Heard>, State, u64)]) {
        for (number, (seconds, heard, state, wait)) in script.iter().enumerate() {
            let now = Duration::from_secs(*seconds);
            match heard {
                Some(heard) => breaker.heard(now, *heard, |time| time),
                None => breaker.begin(now),
            }
            let found = (breaker.state(), breaker.wait(now).as_secs());
            assert_eq!(found, (*state, *wait), "line {number} of {script:?}");
            assert_eq!(breaker.lets_pass(now), *state != State::Open, "line {number}");
        }
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_an_answer_closes_it() {
        use State::{Closed, HalfOpen, Open};
        told(
            &mut Breaker::default(),
            &[
                (0, Some(FAILED), Closed, 0),
                (0, Some(FAILED), Closed, 0),
                (0, Some(FAILED), Closed, 0),
                (0, Some(FAILED), Closed, 0),
                (0, Some(Heard::Answer), Closed, 0),
                (1, Some(FAILED), Closed, 0),
                (1, Some(FAILED), Closed, 0),
                (1, Some(FAILED), Closed, 0),
                (1, Some(FAILED), Closed, 0),
                (1, Some(FAILED), Open, 1),
                // What was under way says nothing new.
                (1, Some(FAILED), Open, 1),
                (1, Some(Heard::Answer), Open, 1),
                // One may try, then one after five seconds more, if nothing was heard of the first.
                (2, None, HalfOpen, 5),
                (3, Some(FAILED), Open, 2),
                (5, None, HalfOpen, 5),
                (10, None, HalfOpen, 5),
                (10, Some(FAILED), Open, 4),
                (14, None, HalfOpen, 5),
                (14, Some(Heard::Answer), Closed, 0),
                (15, None, Closed, 0),
                (15, Some(FAILED), Closed, 0),
            ],
        );
    }

    #[test]
    fn retry_after_opens_it_at_once_and_for_so_long() {
        use State::{HalfOpen, Open};
        let after = |seconds| Some(Heard::Failure(Some(Duration::from_secs(seconds))));
        told(
            &mut Breaker::default(),
            &[
                (0, after(7), Open, 7),
                (1, after(3), Open, 6),
                (1, after(9), Open, 9),
                (10, None, HalfOpen, 5),
                (10, after(3600), Open, 60),
                (70, None, HalfOpen, 5),
                (70, after(0), Open, 4),
            ],
        );
    }

    #[test]
    fn it_is_never_open_for_long_by_itself() {
        let mut breaker = Breaker::default();
        let mut now = Duration::ZERO;
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            breaker.heard(now, FAILED, |time| time * 2);
            longest = longest.max(breaker.wait(now));
            now += breaker.wait(now);
            breaker.begin(now);
        }
        assert_eq!(longest, OPEN.1 * 2);
    }
}
