//! The product's promises, one a file, each with the source of its definition.
//!
//! A checker is told everything that is seen, as it happens, and the clients' history at the end. It keeps what it
//! needs and answers with the first violation.

mod acknowledged;
mod config;
mod conservation;
mod expiry;
mod idempotency;
#[cfg(test)]
mod invented;
mod leader_completeness;
mod ledger;
pub mod linearizability;
mod log_matching;
mod log_witness;
mod one_leader;
mod orders;
mod payments;
mod queues;
#[cfg(test)]
mod stage;
mod state_hash;
mod state_machine_safety;
mod terminal_state;
mod votes;

use std::fmt;

use crate::history::History;
use crate::observation::Seen;

pub use acknowledged::Acknowledged;
pub use config::Config;
pub use conservation::Conservation;
pub use expiry::Expiry;
pub use idempotency::Idempotency;
pub use leader_completeness::LeaderCompleteness;
pub use ledger::{Committed, Done, Ledger, ShardLedger, SharedLedger, Versions};
pub use log_matching::LogMatching;
pub use log_witness::LogWitness;
pub use one_leader::OneLeader;
pub use orders::Orders;
pub use payments::Payments;
pub use queues::Queues;
pub use state_hash::StateHashes;
pub use state_machine_safety::StateMachineSafety;
pub use terminal_state::TerminalState;
pub use votes::Votes;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property's name, as the checker's file is called.
    pub property: &'static str,
    /// What is wrong, with the values that show it.
    pub what: String,
    /// The operations involved, by their place in the history.
    pub operations: Vec<usize>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

impl Violation {
    /// Of a property, with no operation in particular.
    #[must_use]
    pub fn of(property: &'static str, what: impl Into<String>) -> Self {
        Self { property, what: what.into(), operations: Vec::new() }
    }
}

/// Watches over one property.
pub trait Checker {
    /// The property's name.
    fn property(&self) -> &'static str;

    /// Something was seen.
    ///
    /// # Errors
    /// The property is violated.
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation>;

    /// The run is over.
    ///
    /// # Errors
    /// The property is violated.
    fn conclude(&mut self, history: &History) -> Result<(), Violation>;
}

/// Every checker, for one run. They share what they learn of the log, so that it is replayed once: show each
/// observation to all of them, in this order.
#[must_use]
pub fn all(config: Config) -> Vec<Box<dyn Checker>> {
    let ledger = Ledger::shared(config);
    let with = || SharedLedger::clone(&ledger);
    vec![
        Box::new(StateMachineSafety::new(with())),
        Box::new(OneLeader::default()),
        Box::new(Votes::default()),
        Box::new(LogMatching::default()),
        Box::new(LeaderCompleteness::new(with())),
        Box::new(StateHashes::new(with())),
        Box::new(Conservation::new(with())),
        Box::new(Acknowledged::new(with())),
        Box::new(TerminalState::new(with())),
        Box::new(Expiry::new(with())),
        Box::new(Idempotency::new(with())),
        Box::new(LogWitness::new(with())),
        Box::new(Orders::new(with())),
        Box::new(Payments::new(with())),
        Box::new(Queues),
    ]
}
