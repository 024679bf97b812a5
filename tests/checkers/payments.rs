//! Nobody pays for nothing, and nobody gets anything for nothing: of a reservation's tries to pay at most one has taken
//! money at any time; money is given back once at most; and at quiescence what is paid for is confirmed, what is confirmed
//! is paid for, and all other money has been given back.
//!
//! Source: DESIGN section 7, the path of a payment and "a payment that succeeds after the reservation is gone".
//! Judges what the provider's side says of money by what the log says of reservations. Sees nothing where others than
//! gateways confirm reservations or pay for them.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster_gateway::Key;
use doorbuster_protocol::reply::ReservationState;
use doorbuster_protocol::types::{ReservationId, Timestamp};

use super::ledger::SharedLedger;
use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{Observation, Seen};

/// A reservation: its id may be used anew after its retention.
type Which = (ReservationId, Timestamp);

/// See the module.
#[derive(Debug)]
pub struct Payments {
    ledger: SharedLedger,
    /// Tries whose money is with the provider.
    taken: BTreeMap<Which, u16>,
    given_back: BTreeSet<Key>,
    quiescent: bool,
}

impl Payments {
    /// Compares with this ledger's reservations.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger, taken: BTreeMap::new(), given_back: BTreeSet::new(), quiescent: false }
    }

    fn took(&mut self, key: Key) -> Result<(), String> {
        if let Some(before) = self.taken.insert((key.reservation, key.made_at), key.attempt) {
            return Err(format!("{key}: money was taken, and try {before} had taken it before"));
        }
        Ok(())
    }

    fn gave_back(&mut self, key: Key) -> Result<(), String> {
        if self.taken.remove(&(key.reservation, key.made_at)) != Some(key.attempt) {
            return Err(format!("{key}: money was given back that was not there"));
        }
        if self.given_back.insert(key) { Ok(()) } else { Err(format!("{key}: money was given back twice")) }
    }

    fn all_settled(&self) -> Result<(), String> {
        let ledger = self.ledger.borrow();
        let mut paid = self.taken.clone();
        for (_, log) in ledger.shards() {
            for view in log.model().reservations.values().map(|reservation| reservation.view) {
                let state = view.state;
                let money = paid.remove(&(view.reservation, view.created_at));
                match (money, state) {
                    (Some(_), ReservationState::Confirmed) => {}
                    (Some(attempt), _) => {
                        return Err(format!(
                            "reservation {} is {}, and its try {attempt} is paid",
                            view.reservation,
                            state.name()
                        ));
                    }
                    (None, ReservationState::Confirmed | ReservationState::RefundDue) => {
                        return Err(format!(
                            "reservation {} is {}, and nobody has paid for it",
                            view.reservation,
                            state.name()
                        ));
                    }
                    (None, _) => {}
                }
            }
        }
        match paid.first_key_value() {
            Some(((reservation, _), attempt)) => {
                Err(format!("reservation {reservation} is not known, and its try {attempt} is paid"))
            }
            None => Ok(()),
        }
    }
}

impl Checker for Payments {
    fn property(&self) -> &'static str {
        "payments"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        if !self.ledger.borrow().config().gateways_alone {
            return Ok(());
        }
        let found = match seen.what {
            Observation::Took { key } => self.took(key),
            Observation::GaveBack { key } => self.gave_back(key),
            Observation::Quiescent => {
                self.quiescent = true;
                Ok(())
            }
            _ => Ok(()),
        };
        found.map_err(|what| Violation::of(self.property(), what))
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        let settled = if self.quiescent { self.all_settled() } else { Ok(()) };
        settled.map_err(|what| Violation::of(self.property(), what))
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::command::{Command, LatePayment};
    use doorbuster_protocol::types::Quantity;

    use super::super::stage::{NODES, Stage, product, property, reserve, target};
    use super::*;
    use crate::checkers::Config;

    /// Two reservations are held, of all units that there are.
    fn stage() -> Stage {
        let config = Config { gateways_alone: true, ..Config::default() };
        let mut stage = Stage::with(config, |ledger| vec![Box::new(Payments::new(ledger))]);
        stage.run(&[product(1, 2)]).unwrap();
        stage.run(&[reserve(1), reserve(2)]).unwrap();
        stage
    }

    fn key(stage: &Stage, id: u128, attempt: u16) -> Key {
        let made_at = stage.replicas[&NODES[0]].find(ReservationId(id)).unwrap().created_at;
        Key { reservation: ReservationId(id), made_at, attempt }
    }

    fn took(stage: &mut Stage, id: u128, attempt: u16) -> Result<(), Violation> {
        let key = key(stage, id, attempt);
        stage.show(Observation::Took { key })
    }

    fn gave_back(stage: &mut Stage, id: u128, attempt: u16) -> Result<(), Violation> {
        let key = key(stage, id, attempt);
        stage.show(Observation::GaveBack { key })
    }

    fn ended(mut stage: Stage) -> Result<(), Violation> {
        stage.show(Observation::Quiescent).unwrap();
        stage.conclude()
    }

    #[test]
    fn paid_and_confirmed_or_given_back() {
        let mut stage = stage();
        took(&mut stage, 1, 1).unwrap();
        stage.run(&[Command::Confirm(target(1)), Command::Release(target(2))]).unwrap();
        stage.run(&[reserve(3)]).unwrap();
        took(&mut stage, 2, 1).unwrap();
        stage.run(&[Command::LatePayment(LatePayment { target: target(2), quantity: Quantity(1) })]).unwrap();
        gave_back(&mut stage, 2, 1).unwrap();
        stage.run(&[Command::RefundDone(target(2))]).unwrap();
        assert_eq!(ended(stage), Ok(()));
    }

    #[test]
    fn paid_for_nothing_is_found() {
        let mut stage = stage();
        took(&mut stage, 1, 1).unwrap();
        stage.run(&[Command::Release(target(1))]).unwrap();
        assert_eq!(property(ended(stage)), "payments");
    }

    #[test]
    fn sold_for_nothing_is_found() {
        let mut stage = stage();
        stage.run(&[Command::Confirm(target(1))]).unwrap();
        assert_eq!(property(ended(stage)), "payments");
    }

    #[test]
    fn sold_and_given_back_is_found() {
        let mut stage = stage();
        took(&mut stage, 1, 2).unwrap();
        stage.run(&[Command::Confirm(target(1))]).unwrap();
        gave_back(&mut stage, 1, 2).unwrap();
        assert_eq!(property(ended(stage)), "payments");
    }

    #[test]
    fn two_tries_paid_and_money_given_back_twice_are_found() {
        let mut stage = stage();
        took(&mut stage, 1, 1).unwrap();
        assert_eq!(property(took(&mut stage, 1, 2)), "payments");
        gave_back(&mut stage, 1, 2).unwrap();
        assert_eq!(property(gave_back(&mut stage, 1, 2)), "payments");
    }
}
