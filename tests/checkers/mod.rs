//! The product's promises, one a file, each with the source of its definition.
//!
//! A checker is told everything that is seen, as it happens, and the clients' history at the end. It keeps what it
//! needs and answers with the first violation.

mod config;
mod queues;

use std::fmt;

use crate::history::History;
use crate::observation::Seen;

pub use config::Config;
pub use queues::Queues;

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
pub fn all(_config: Config) -> Vec<Box<dyn Checker>> {
    vec![Box::new(Queues)]
}
