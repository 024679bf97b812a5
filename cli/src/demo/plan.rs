//! What the demo's buyers do, decided before they do it: everything is drawn from one seed, so that two runs
//! with the same seed have the same crowd.

use super::DemoArgs;
use crate::entropy;
use crate::error::CliError;
use doorbuster_gateway::ids;
use doorbuster_protocol::command::{LatePaymentPolicy, ProductSpec, Reserve};
use doorbuster_protocol::types::{Currency, Millis, Money, ProductId, Quantity, ReservationId, Timestamp, UserId};
use std::time::Duration;

/// The product of the demo.
pub const PRODUCT: ProductId = ProductId(1);
/// The product for a person to try things with.
pub const PRODUCT_TO_TRY: ProductId = ProductId(2);
/// How long all buyers take to arrive unless a rate is given.
const ARRIVE_WITHIN: Duration = Duration::from_secs(25);
/// A payment may pin a reservation this long: longer than the cluster is without a leader or the shop without a gateway, and
/// than a payment waits for others at the gateway.
const PAYMENT_CAP: Millis = Millis(10_000);
/// After how long the provider says what came of a payment that it is late with: the reservation is gone then.
pub const LATE: Millis = Millis(12_000);
const _: () = assert!(LATE.0 > PAYMENT_CAP.0, "what comes within the cap is not late");
/// Cards that a buyer has.
const CARDS: u16 = 3;
/// Units that can surely be paid for in a second, on a machine that does everything else, too.
const PAID_PER_SECOND: u64 = 1000;
/// How long a reservation is held at least.
const SHORTEST_TTL: Millis = Millis(3000);

/// The sale to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Units on sale.
    pub units: u32,
    /// Users, each of which tries at least once.
    pub buyers: u64,
    /// How many in a hundred come over HTTP.
    pub http_percent: u64,
    /// First attempts offered each second.
    pub rate: u64,
    /// How long a reservation is held.
    pub ttl: Millis,
    /// Charges in a hundred that the provider declines.
    pub declined: u8,
    /// Requests in a hundred to the provider that get no answer at first, and may have taken effect.
    pub unknown: u8,
    /// Charges in a hundred that the provider tells the outcome of when the reservation is gone.
    pub late: u8,
    /// The seed of all behaviour.
    pub seed: u64,
    /// Distinguishes this run's ids from any other's.
    pub run: u64,
}

/// A user, and which of their visits this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buyer {
    /// Which user, from 0.
    pub index: u64,
    /// Which visit, from 0: one visit is one attempt with an id of its own.
    pub visit: u16,
}

/// How a buyer reaches the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Through the client library.
    Tcp,
    /// Through the gateway.
    Http,
}

/// What a buyer does with a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Pays after so long.
    Pays(Duration),
    /// Closes the browser; the units come back by time.
    WalksAway,
}

/// What a buyer does whose card was declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Tries another card.
    AnotherCard,
    /// Gives the units back.
    GivesBack,
    /// Closes the browser; the units come back by time.
    WalksAway,
}

impl Plan {
    /// Checks what was asked for and fills in what was left open.
    pub fn new(args: &DemoArgs) -> Result<Self, CliError> {
        let (units, buyers) = (args.units, args.buyers);
        if units == 0 || u64::from(units) > buyers {
            return Err(CliError::usage(format!(
                "--units {units} --buyers {buyers}: there must be 1 unit or more, and as many buyers at least, or nothing sells out"
            )));
        }
        if buyers > 50_000_000 {
            return Err(CliError::usage(format!("--buyers {buyers}: at most 50000000")));
        }
        let default_rate = (buyers / ARRIVE_WITHIN.as_secs()).max(50);
        Ok(Self {
            units,
            buyers,
            http_percent: args.http_percent.into(),
            rate: args.rate.unwrap_or(default_rate).max(1),
            ttl: args.ttl.unwrap_or_else(|| time_to_pay(units)),
            declined: args.declined,
            unknown: args.unknown,
            late: args.late,
            seed: args.seed.unwrap_or_else(entropy::number),
            run: entropy::number(),
        })
    }

    /// The product as it goes on sale: one unit a user, held briefly, so that what is not paid comes back.
    #[must_use]
    pub fn product(&self) -> ProductSpec {
        ProductSpec {
            product: PRODUCT,
            name: "Phone X".to_owned(),
            stock: Quantity(self.units),
            price: Money { minor: 49_900, currency: Currency(*b"EUR") },
            limit_per_user: Quantity(1),
            limit_per_reservation: Quantity(1),
            ttl: self.ttl,
            max_life: Millis(self.ttl.0.saturating_mul(10).min(doorbuster_protocol::limits::MAX_TTL.0)),
            payment_cap: PAYMENT_CAP,
            opens_at: Timestamp(0),
            closes_at: Timestamp(0),
            late_payment: LatePaymentPolicy::RetakeOrRefund,
        }
    }

    /// How long a reservation is held.
    #[must_use]
    pub const fn hold(&self) -> Duration {
        Duration::from_millis(self.ttl.0)
    }

    /// How a user reaches the shop; the same at every visit.
    #[must_use]
    pub const fn channel(&self, index: u64) -> Channel {
        // 37 has no factor in common with 100: HTTP buyers are spread over the arrivals.
        if index * 37 % 100 < self.http_percent { Channel::Http } else { Channel::Tcp }
    }

    /// When a user first comes, from the opening.
    #[must_use]
    pub fn arrival(&self, index: u64) -> Duration {
        Duration::from_nanos(
            u64::try_from(u128::from(index) * 1_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX),
        )
    }

    /// When the demo gives up on a sale that does not end: several times what its arrivals and payments take, and late payments
    /// for a unit that was sold again after a late payment. One that stands still is given up sooner.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.arrival(self.buyers) * 4 + Duration::from_millis(20) * self.units + Duration::from_secs(300)
    }

    /// A product for a person to try things with after the sale: held long enough to type.
    #[must_use]
    pub fn product_to_try(&self) -> ProductSpec {
        ProductSpec {
            product: PRODUCT_TO_TRY,
            name: "Phone Y".to_owned(),
            stock: Quantity(10),
            limit_per_user: Quantity(2),
            limit_per_reservation: Quantity(2),
            ttl: Millis(10 * 60_000),
            max_life: Millis(60 * 60_000),
            ..self.product()
        }
    }

    /// What a buyer does if a unit can be had.
    #[must_use]
    pub fn mood(&self, buyer: Buyer) -> Mood {
        let draw = self.draw(buyer, 1);
        // Whoever comes again has made up their mind.
        let luck = if buyer.visit == 0 { draw % 100 } else { draw % 80 };
        let think = Duration::from_millis(self.draw(buyer, 2) % (self.ttl.0 / 2).max(1));
        match luck {
            0..60 => Mood::Pays(Duration::ZERO),
            60..86 => Mood::Pays(think),
            _ => Mood::WalksAway,
        }
    }

    /// What a buyer does when this attempt to pay, from 1 on, was declined.
    #[must_use]
    pub fn next(&self, buyer: Buyer, attempt: u16) -> Next {
        match self.draw(buyer, 50 + u64::from(attempt)) % 10 {
            0..6 if attempt < CARDS => Next::AnotherCard,
            0..8 => Next::GivesBack,
            _ => Next::WalksAway,
        }
    }

    /// Whether the buyer clicks twice: the second must have no effect of its own.
    #[must_use]
    pub fn clicks_twice(&self, buyer: Buyer) -> bool {
        self.draw(buyer, 4).is_multiple_of(8)
    }

    /// Whether the buyer, served, tries for one more than is allowed.
    #[must_use]
    pub fn is_greedy(&self, buyer: Buyer) -> bool {
        self.draw(buyer, 5).is_multiple_of(8)
    }

    /// A pause before asking again, so that a crowd does not ask in step.
    #[must_use]
    pub fn pause(&self, buyer: Buyer, tries: u32) -> Duration {
        Duration::from_millis(50 + self.draw(buyer, 100 + u64::from(tries)) % 200)
    }

    /// The user's id: the one that the gateway knows them by.
    #[must_use]
    pub fn user(&self, index: u64) -> UserId {
        ids::user(&self.subject(index))
    }

    /// The user's name, the `sub` of the token.
    #[must_use]
    pub fn subject(&self, index: u64) -> String {
        format!("buyer-{:016x}-{index}", self.run)
    }

    /// The id of a visit's reservation over TCP.
    #[must_use]
    pub fn reservation(&self, buyer: Buyer) -> ReservationId {
        ReservationId((u128::from(self.run) << 64) | (u128::from(buyer.index + 1) << 16) | u128::from(buyer.visit))
    }

    /// The `Idempotency-Key` of a visit over HTTP.
    #[must_use]
    pub fn key(&self, buyer: Buyer) -> String {
        format!("visit-{}-{}", buyer.index, buyer.visit)
    }

    /// What a visit over TCP asks for.
    #[must_use]
    pub fn reserve(&self, buyer: Buyer) -> Reserve {
        Reserve {
            product: PRODUCT,
            reservation: self.reservation(buyer),
            user: self.user(buyer.index),
            quantity: Quantity(1),
            ttl: Millis(0),
        }
    }

    fn draw(&self, buyer: Buyer, of: u64) -> u64 {
        let mut z =
            self.seed ^ buyer.index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(buyer.visit) << 48) ^ (of << 40);
        for _ in 0..2 {
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
        }
        z
    }
}

/// How long so many units are held, so that whoever pays at once has paid in time.
fn time_to_pay(units: u32) -> Millis {
    SHORTEST_TTL.max(Millis(u64::from(units) * 1000 / PAID_PER_SECOND))
}

impl Buyer {
    /// The same user, next time; `None` when they have had enough.
    #[must_use]
    pub fn again(self) -> Option<Self> {
        self.visit.checked_add(1).map(|visit| Self { visit, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let ttl = Millis(4000);
        let (declined, unknown, late) = (10, 5, 3);
        Plan { units: 10, buyers: 1000, http_percent: 10, rate: 100, ttl, declined, unknown, late, seed: 7, run: 9 }
    }

    #[test]
    fn the_crowd_is_spread_as_asked() {
        let plan = plan();
        let over_http = (0..1000).filter(|index| plan.channel(*index) == Channel::Http).count();
        assert_eq!(over_http, 100);
        assert!((0..100).any(|index| plan.channel(index) == Channel::Http), "also among the first");
        assert_eq!(plan.arrival(0), Duration::ZERO);
        assert_eq!(plan.arrival(250), Duration::from_millis(2500));
        let moods: Vec<Mood> = (0..1000).map(|index| plan.mood(Buyer { index, visit: 0 })).collect();
        for wanted in [Mood::WalksAway, Mood::Pays(Duration::ZERO)] {
            assert!(moods.iter().filter(|mood| **mood == wanted).count() > 30, "{wanted:?}");
        }
        let first: Vec<Next> = (0..1000).map(|index| plan.next(Buyer { index, visit: 0 }, 1)).collect();
        for wanted in [Next::AnotherCard, Next::GivesBack, Next::WalksAway] {
            assert!(first.iter().filter(|next| **next == wanted).count() > 30, "{wanted:?}");
        }
        let last = (0..1000).map(|index| plan.next(Buyer { index, visit: 0 }, CARDS));
        assert!(last.into_iter().all(|next| next != Next::AnotherCard), "they have no more cards");
        let again = (0..1000).map(|index| plan.mood(Buyer { index, visit: 1 }));
        assert!(again.into_iter().all(|mood| mood != Mood::WalksAway), "who comes again buys");
    }

    #[test]
    fn the_more_units_the_longer_they_are_held() {
        for (units, ttl) in [(1, 3000), (100, 3000), (3000, 3000), (50_000, 50_000)] {
            assert_eq!(time_to_pay(units), Millis(ttl), "{units}");
        }
    }

    #[test]
    fn every_visit_has_an_id_of_its_own() {
        let plan = plan();
        let mut ids: Vec<ReservationId> = Vec::new();
        for index in 0..100 {
            let first = Buyer { index, visit: 0 };
            ids.extend([plan.reservation(first), plan.reservation(first.again().expect("visits are few"))]);
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 200);
        assert_eq!(Buyer { index: 1, visit: u16::MAX }.again(), None);
    }
}
