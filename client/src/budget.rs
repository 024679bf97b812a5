//! A token bucket over all requests of a client: what retries may cost. When a cluster is down or slow,
//! retries stop adding to its load as soon as the bucket is empty.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Instant;
use crate::config::RetryBudget;

/// Thousandths of a token, so that a success can earn a part of one.
const TOKEN: u64 = 1000;

#[derive(Debug)]
pub(crate) struct Budget {
    milli_tokens: AtomicU64,
    burst: u64,
    per_success: u64,
    per_second: u64,
    began: Instant,
    /// Milliseconds since `began` up to which the time's earnings are in the bucket.
    paid_until: AtomicU64,
}

impl Budget {
    /// A full bucket.
    pub(crate) fn new(config: &RetryBudget, now: Instant) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // validated: from 0 to 1
        let per_success = (config.per_success * TOKEN as f32) as u64;
        let burst = u64::from(config.burst) * TOKEN;
        Self {
            milli_tokens: AtomicU64::new(burst),
            burst,
            per_success,
            per_second: u64::from(config.per_second) * TOKEN,
            began: now,
            paid_until: AtomicU64::new(0),
        }
    }

    /// A request succeeded. Costs one load while the bucket is full.
    pub(crate) fn earn(&self) {
        self.add(self.per_success);
    }

    /// Takes the token for one retry, if there is one.
    pub(crate) fn spend(&self, now: Instant) -> bool {
        self.earn_by_time(now);
        self.milli_tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| tokens.checked_sub(TOKEN)).is_ok()
    }

    fn earn_by_time(&self, now: Instant) {
        let elapsed = u64::try_from(now.duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        let paid = self.paid_until.fetch_max(elapsed, Ordering::Relaxed);
        let earned = elapsed.saturating_sub(paid).saturating_mul(self.per_second) / 1000;
        self.add(earned);
    }

    fn add(&self, earned: u64) {
        if earned == 0 || self.milli_tokens.load(Ordering::Relaxed) >= self.burst {
            return;
        }
        let _ = self
            .milli_tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| Some((tokens + earned).min(self.burst)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spent(budget: &Budget, now: Instant) -> usize {
        (0..100).take_while(|_| budget.spend(now)).count()
    }

    #[test]
    fn an_outage_is_retried_no_more_than_the_burst_and_then_at_the_rate() {
        let now = crate::clock::now();
        let budget = Budget::new(&RetryBudget { burst: 10, per_success: 0.5, per_second: 2 }, now);
        assert_eq!(spent(&budget, now), 10);
        assert_eq!(spent(&budget, now + Duration::from_millis(499)), 0);
        assert_eq!(spent(&budget, now + Duration::from_secs(3)), 6);
        assert_eq!(spent(&budget, now + Duration::from_secs(60)), 10, "never more than the burst");
    }

    #[test]
    fn successes_earn_retries() {
        let now = crate::clock::now();
        let budget = Budget::new(&RetryBudget { burst: 3, per_success: 0.5, per_second: 0 }, now);
        assert_eq!(spent(&budget, now), 3);
        (0..4).for_each(|_| budget.earn());
        assert_eq!(spent(&budget, now), 2);
        (0..100).for_each(|_| budget.earn());
        assert_eq!(spent(&budget, now), 3);
    }
}
