//! What a run's sale looks like: drawn from the scenario's seed, made smaller when a violation is shrunk.

use std::time::Duration;

use crate::sim::{Rng, Scenario};

/// How many there are of what, and how often they do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The scenario's seed.
    pub seed: u64,
    /// Products on sale.
    pub products: usize,
    /// Users that buy.
    pub users: u64,
    /// Clients that reserve, confirm, release, extend and repeat themselves.
    pub shoppers: usize,
    /// Clients that read.
    pub readers: usize,
    /// How often they do, as a multiple of `wishes`: what is stale is stale for moments only.
    pub reads: u64,
    /// Gateways that carry payments through.
    pub payers: usize,
    /// Clients that send many reserves at once.
    pub crowds: usize,
    /// Operators, who change stock and sales.
    pub operators: usize,
    /// Gateways that write orders.
    pub writers: usize,
    /// Things that each client wants in a run.
    pub wishes: u64,
    /// How long the clients go on.
    pub span: Duration,
    /// How often each kind of wish comes, in parts of their sum.
    pub mix: Mix,
    /// Of 100 steps of a gateway, so many end with its death.
    pub deaths: u64,
    /// Of 100 times that a gateway looks for something to do, so many it cancels a sale.
    pub cancels: u64,
    /// Whether nobody else confirms reservations or has to do with payments.
    pub gateways_alone: bool,
    /// Of 100 transactions of the order database, so many fail.
    pub database_failures: u64,
}

/// Parts of a shopper's wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Reserve something.
    pub reserve: u64,
    /// Reserve again what was reserved, with the same contents.
    pub repeat: u64,
    /// Use an id again with other contents.
    pub conflict: u64,
    /// Confirm.
    pub confirm: u64,
    /// Release.
    pub release: u64,
    /// Extend.
    pub extend: u64,
    /// Begin or fail a payment without a saga.
    pub payment: u64,
    /// Pay late, or report a refund.
    pub late: u64,
    /// Look.
    pub look: u64,
}

impl Shape {
    /// The one that belongs to a scenario.
    #[must_use]
    pub fn draw(scenario: &Scenario) -> Self {
        let mut rng = Rng::new(scenario.seed).stream("shape");
        let mix = Mix::draw(&mut rng);
        let mut shape = Self {
            seed: scenario.seed,
            products: count(rng.between(1, 6)),
            users: rng.between(2, 12),
            shoppers: count(rng.between(3, 8)),
            readers: count(rng.between(1, 2)),
            payers: count(rng.between(0, 2)),
            crowds: count(rng.between(0, 1)),
            operators: 1,
            writers: count(rng.between(1, 2)),
            wishes: rng.between(20, 70),
            span: scenario.span,
            mix,
            deaths: [0, 8, 25][rng.index(3)],
            database_failures: [0, 10, 40][rng.index(3)],
            gateways_alone: false,
            reads: 1,
            cancels: 0,
        };
        let alone = rng.percent(50);
        shape.leave_payments_to_gateways(alone && shape.payers > 0);
        shape.reads = [1, 1, 8][rng.index(3)];
        // From a stream of its own: what there was before there were cancellations is drawn as it was.
        shape.cancels = [0, 25, 60][Rng::new(scenario.seed).stream("cancels").index(3)];
        shape
    }

    /// Takes payments out of the shoppers' hands.
    pub fn leave_payments_to_gateways(&mut self, alone: bool) {
        self.gateways_alone = alone;
        if alone {
            (self.mix.confirm, self.mix.payment, self.mix.late) = (0, 0, 0);
        }
    }
}

impl Mix {
    /// Each kind is off in one of five seeds, except that somebody has to reserve.
    fn draw(rng: &mut Rng) -> Self {
        let mut part = |most: u64| if rng.percent(20) { 0 } else { rng.between(1, most) };
        Self {
            repeat: part(15),
            conflict: part(8),
            confirm: part(40),
            release: part(25),
            extend: part(20),
            payment: part(15),
            late: part(15),
            look: part(30),
            reserve: 40 + part(60),
        }
    }

    /// All parts, in a fixed order.
    #[must_use]
    pub fn parts(&self) -> [u64; 9] {
        let Self { reserve, repeat, conflict, confirm, release, extend, payment, late, look } = *self;
        [reserve, repeat, conflict, confirm, release, extend, payment, late, look]
    }
}

fn count(drawn: u64) -> usize {
    usize::try_from(drawn).unwrap_or(1)
}
