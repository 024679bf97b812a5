//! So many requests a second, and no more: pure; times are since whenever its owner began.

use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Rate {
    /// Between two requests.
    interval: Duration,
    /// How far ahead of its time a call may begin: so many requests at once.
    burst: Duration,
    /// When everything counted so far is within the rate.
    paid_until: Duration,
    /// Requests that are counted and not sent yet.
    counted: u32,
}

impl Rate {
    /// So many a second, at least 1; a tenth of it may come at once.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * (per_second / 10).max(2), paid_until: Duration::ZERO, counted: 0 }
    }

    /// How long until a call may begin; zero for now.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        self.paid_until.saturating_sub(self.burst).saturating_sub(now)
    }

    /// A call begins that will send so many requests.
    pub fn begin(&mut self, now: Duration, requests: u32) {
        self.count(now, requests);
        // What calls did not send after all is not saved up without end.
        self.counted = (self.counted + requests).min(1024);
    }

    /// A request is sent. One that no call has counted on (a repetition) delays those who come.
    pub fn sent(&mut self, now: Duration) {
        match self.counted.checked_sub(1) {
            Some(left) => self.counted = left,
            None => self.count(now, 1),
        }
    }

    /// How long so many requests take.
    #[must_use]
    pub fn time_of(&self, requests: u32) -> Duration {
        self.interval * requests
    }

    fn count(&mut self, now: Duration, requests: u32) {
        self.paid_until = self.paid_until.max(now) + self.interval * requests;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_begin_at_the_rate_after_the_burst() {
        let mut rate = Rate::new(100);
        let mut now = Duration::ZERO;
        let mut begun = Vec::new();
        for _ in 0..1000 {
            now += rate.wait(now);
            rate.begin(now, 2);
            rate.sent(now);
            rate.sent(now);
            begun.push(now);
        }
        // 10 requests at once, then 100 a second: two a call.
        assert_eq!(begun[5], Duration::ZERO);
        assert!(begun[6] > Duration::ZERO);
        let (from, to) = (begun[100], begun[999]);
        assert_eq!(to - from, Duration::from_millis(899 * 20));
    }

    #[test]
    fn repetitions_delay_those_who_come_and_what_was_not_sent_pays_for_them() {
        let mut rate = Rate::new(10);
        let now = Duration::from_secs(5);
        rate.begin(now, 2);
        assert_eq!(rate.wait(now), Duration::ZERO);
        for _ in 0..2 {
            rate.sent(now);
        }
        assert_eq!(rate.wait(now), Duration::ZERO, "they were counted");
        rate.sent(now);
        assert_eq!(rate.wait(now), Duration::from_millis(100));
        rate.begin(now, 2);
        assert_eq!(rate.wait(now), Duration::from_millis(300));
        assert_eq!(rate.wait(now + Duration::from_millis(300)), Duration::ZERO);
        assert_eq!(rate.time_of(5), Duration::from_millis(500));
    }
}
