//! A model of who takes the money: slow, sometimes declining, sometimes unclear, and never charging twice for one
//! (reservation, attempt).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use doorbuster_gateway::Charged;
use doorbuster_protocol::command::Target;
use doorbuster_protocol::types::{Quantity, ReservationId};

use crate::sim::Rng;

/// A payment that a gateway carries through, or that one left behind when it died.
#[derive(Clone, Copy, Debug)]
pub struct Payment {
    /// The reservation, with its user.
    pub target: Target,
    /// Its units.
    pub quantity: Quantity,
    /// Which try.
    pub attempt: u16,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Provider {
    charges: BTreeMap<(ReservationId, u16), bool>,
    orphans: Vec<Payment>,
}

/// A provider that several gateways use.
pub type Shared = Rc<RefCell<Provider>>;

impl Provider {
    /// Charges, or says again what came of it; and how long that takes.
    pub fn charge(&mut self, payment: &Payment, rng: &mut Rng) -> (Charged, Duration) {
        let millis = if rng.percent(80) { rng.between(5, 150) } else { rng.between(150, 3_000) };
        let lost = rng.percent(15);
        // A charge whose answer is lost may have been made, or never have arrived.
        if !lost || rng.percent(50) {
            let taken = !rng.percent(25);
            self.charges.entry((payment.target.reservation, payment.attempt)).or_insert(taken);
        }
        let known = self.charges.get(&(payment.target.reservation, payment.attempt)).filter(|_| !lost);
        let charged = match known {
            None => Charged::Unclear,
            Some(true) => Charged::Succeeded,
            Some(false) => Charged::Declined("card_declined"),
        };
        (charged, Duration::from_millis(millis))
    }

    /// Whether the money was taken: what the provider tells by itself when nobody asks.
    #[must_use]
    pub fn has_taken(&self, payment: &Payment) -> bool {
        self.charges.get(&(payment.target.reservation, payment.attempt)).copied().unwrap_or(false)
    }

    /// A gateway died in the middle of this one.
    pub fn leave(&mut self, payment: Payment) {
        self.orphans.push(payment);
    }

    /// A payment that nobody carries on.
    pub fn adopt(&mut self) -> Option<Payment> {
        self.orphans.pop()
    }

    /// Whether every payment is carried on by somebody, or ended.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.orphans.is_empty()
    }
}
