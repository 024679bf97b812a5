//! The product's promises, one a file, each with the source of its definition.
//!
//! A checker is told everything that is seen, as it happens, and the clients' history at the end. It keeps what it
//! needs and answers with the first violation.

use std::fmt;

use crate::history::History;
use crate::observation::Seen;

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
