//! How often one may ask: a token bucket for each client address, and a leaky bucket for everybody together.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use doorbuster_protocol::types::Millis;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;

use super::address::AddressKey;
use super::buckets::Buckets;
use crate::config::LimitsConfig;
use crate::problem::{Problem, kinds};

/// The buckets.
#[derive(Debug)]
pub struct Limits {
    address: Option<RateLimiter<AddressKey, Buckets, DefaultClock>>,
    global: Option<DefaultDirectRateLimiter>,
    exempt: Vec<IpNet>,
    clock: DefaultClock,
    address_per_second: u32,
    global_per_second: u32,
}

impl Limits {
    /// Buckets as configured; a rate of 0 is no limit.
    #[must_use]
    pub fn new(config: &LimitsConfig, exempt: Vec<IpNet>) -> Self {
        let clock = DefaultClock::default();
        let address = quota(config.address_per_second, config.address_burst)
            .map(|quota| RateLimiter::new(quota, Buckets::new(config.addresses), clock.clone()));
        let global = quota(config.global_per_second, config.global_burst).map(RateLimiter::direct);
        Self {
            address,
            global,
            exempt,
            clock,
            address_per_second: config.address_per_second,
            global_per_second: config.global_per_second,
        }
    }

    /// Takes one token of the address's bucket, then one of everybody's.
    ///
    /// # Errors
    /// 429 `rate_limited` with whose limit it is (`scope`), the rate, and when there is a token again.
    pub fn check(&self, client: IpAddr) -> Result<(), Problem> {
        if let Some(limiter) = &self.address
            && !self.exempt.iter().any(|network| network.contains(&client))
            && let Err(until) = limiter.check_key(&client.into())
        {
            return Err(refuse("address", self.address_per_second, until.wait_time_from(self.clock.now())));
        }
        if let Some(limiter) = &self.global
            && let Err(until) = limiter.check()
        {
            return Err(refuse("everybody", self.global_per_second, until.wait_time_from(self.clock.now())));
        }
        Ok(())
    }
}

fn quota(per_second: u32, burst: u32) -> Option<Quota> {
    Some(Quota::per_second(NonZeroU32::new(per_second)?).allow_burst(NonZeroU32::new(burst)?))
}

fn refuse(scope: &'static str, rate: u32, wait: Duration) -> Problem {
    let wait = Millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
    let detail = match scope {
        "address" => format!("Your address may make {rate} requests a second; slow down."),
        _ => format!("All clients together may make {rate} requests a second; try again."),
    };
    Problem::new(&kinds::RATE_LIMITED, detail).with("limit", rate).with("scope", scope).retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(address: u32, global: u32) -> Limits {
        let config = LimitsConfig {
            address_per_second: address,
            address_burst: 3,
            addresses: 1024,
            global_per_second: global,
            global_burst: 5,
            exempt: Vec::new(),
        };
        Limits::new(&config, vec!["192.0.2.0/24".parse().unwrap()])
    }

    fn passes(limits: &Limits, address: &str) -> usize {
        let client = address.parse().unwrap();
        (0..10).filter(|_| limits.check(client).is_ok()).count()
    }

    #[test]
    fn each_address_has_a_bucket() {
        let limits = limits(1, 0);
        assert_eq!(passes(&limits, "198.51.100.1"), 3);
        assert_eq!(passes(&limits, "198.51.100.2"), 3);
        assert_eq!(passes(&limits, "2001:db8::1"), 3);
        assert_eq!(passes(&limits, "2001:db8::2"), 0, "the same /64");
        assert_eq!(passes(&limits, "192.0.2.7"), 10, "exempt");
    }

    #[test]
    fn everybody_together_has_one() {
        let limits = limits(0, 1);
        assert_eq!(passes(&limits, "198.51.100.1") + passes(&limits, "198.51.100.2"), 5);
        let problem = limits.check("192.0.2.7".parse().unwrap()).unwrap_err();
        assert_eq!(problem.kind, &kinds::RATE_LIMITED);
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(passes(&limits(0, 0), "198.51.100.1"), 10);
    }
}
