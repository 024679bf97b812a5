//! A payment provider that takes no money, for demonstrations and tests. It keeps nothing: its answer depends only on the
//! reservation, the attempt, the card token and the configuration, so asking again tells the same, on any gateway.
//!
//! `tok_declined` and `tok_insufficient_funds` are always declined, `tok_unreachable` never answers clearly; any other
//! token is declined at the configured rate.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::provider::{Charge, ChargeFuture, Charged, PaymentProvider};
use crate::config::SimulatorConfig;

/// The simulated provider.
#[derive(Debug)]
pub struct Simulator {
    config: SimulatorConfig,
}

impl Simulator {
    /// A provider with this latency and rate of declines.
    #[must_use]
    pub fn new(config: SimulatorConfig) -> Self {
        Self { config }
    }

    fn answer(&self, charge: &Charge, draw: f64) -> Charged {
        match charge.card_token.as_str() {
            "tok_declined" => Charged::Declined("card_declined"),
            "tok_insufficient_funds" => Charged::Declined("insufficient_funds"),
            "tok_unreachable" => Charged::Unclear,
            _ if draw < self.config.decline_rate => Charged::Declined("card_declined"),
            _ => Charged::Succeeded,
        }
    }
}

impl PaymentProvider for Simulator {
    fn charge<'a>(&'a self, charge: &'a Charge) -> ChargeFuture<'a> {
        Box::pin(async move {
            let (latency, decline) = draws(charge);
            let (least, most) = (self.config.min_latency_ms, self.config.max_latency_ms);
            let span = Duration::from_millis(most.saturating_sub(least)).mul_f64(latency);
            tokio::time::sleep(Duration::from_millis(least) + span).await;
            self.answer(charge, decline)
        })
    }
}

/// Two numbers in 0.0..1.0 that are always the same for a charge.
fn draws(charge: &Charge) -> (f64, f64) {
    let mut hasher = Sha256::new();
    hasher.update(b"doorbuster/simulator");
    hasher.update(charge.reservation.0.to_be_bytes());
    hasher.update(charge.attempt.to_be_bytes());
    let digest = hasher.finalize();
    let fraction = |at: usize| {
        let bytes = [digest[at], digest[at + 1], digest[at + 2], digest[at + 3]];
        f64::from(u32::from_be_bytes(bytes)) / 4_294_967_296.0
    };
    (fraction(0), fraction(4))
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::types::{Currency, Money, ProductId, ReservationId};

    use super::*;

    fn charge(reservation: u128, attempt: u16, token: &str) -> Charge {
        Charge {
            product: ProductId(1),
            reservation: ReservationId(reservation),
            attempt,
            amount: Money { minor: 100, currency: Currency(*b"EUR") },
            card_token: token.into(),
        }
    }

    fn simulator(decline_rate: f64) -> Simulator {
        Simulator::new(SimulatorConfig { min_latency_ms: 1, max_latency_ms: 3, decline_rate })
    }

    #[tokio::test]
    async fn tokens_decide() {
        let simulator = simulator(0.0);
        for (token, expected) in [
            ("tok_visa", Charged::Succeeded),
            ("tok_declined", Charged::Declined("card_declined")),
            ("tok_insufficient_funds", Charged::Declined("insufficient_funds")),
            ("tok_unreachable", Charged::Unclear),
        ] {
            assert_eq!(simulator.charge(&charge(1, 1, token)).await, expected, "{token}");
        }
    }

    #[test]
    fn declines_come_at_the_rate_and_the_same_each_time() {
        let simulator = simulator(0.3);
        let declined = |attempt| {
            (1..=10_000u128)
                .filter(|id| {
                    let charge = charge(*id, attempt, "tok_visa");
                    let (_, draw) = draws(&charge);
                    assert_eq!(draws(&charge).1.to_bits(), draw.to_bits());
                    simulator.answer(&charge, draw) != Charged::Succeeded
                })
                .collect::<Vec<_>>()
        };
        let (first, second) = (declined(1), declined(2));
        assert!((2700..3300).contains(&first.len()), "{}", first.len());
        assert_ne!(first, second, "another attempt is drawn anew");
    }
}
