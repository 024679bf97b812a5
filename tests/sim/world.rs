//! The world: what happens when, to whom, and what is seen of it.

use super::counters::Counters;
use super::marks::Marks;
use super::port::Actor;
use super::scenario::Scenario;
use crate::checkers::{Checker, Violation};
use crate::history::{History, Moment};

/// A run that has not begun.
pub struct World {
    scenario: Scenario,
    actors: Vec<Box<dyn Actor>>,
    checkers: Vec<Box<dyn Checker>>,
}

/// What came of a run.
pub struct Outcome {
    /// Over everything that happened, in order: equal for equal scenarios.
    pub trace_hash: u64,
    /// Virtual time that passed.
    pub lasted: Moment,
    /// What happened how often.
    pub counters: Counters,
    /// What was reached.
    pub marks: Marks,
    /// What clients did and heard.
    pub history: History,
    /// The first promise that was broken, if one was.
    pub found: Option<Found>,
}

/// A broken promise, and when.
#[derive(Clone, Debug)]
pub struct Found {
    /// The promise.
    pub violation: Violation,
    /// When it was seen.
    pub at: Moment,
    /// The last lines of the trace before it; empty unless the scenario asks for a trace.
    pub context: Vec<String>,
}

impl World {
    /// A world with these actors in it, watched by these checkers.
    #[must_use]
    pub fn new(scenario: Scenario, actors: Vec<Box<dyn Actor>>, checkers: Vec<Box<dyn Checker>>) -> Self {
        Self { scenario, actors, checkers }
    }

    /// Plays it to its end, or to the first violation.
    #[must_use]
    pub fn run(self) -> Outcome {
        let _ = (self.scenario, self.actors, self.checkers);
        Outcome {
            trace_hash: 0,
            lasted: Moment(0),
            counters: Counters::default(),
            marks: Marks::default(),
            history: History::default(),
            found: None,
        }
    }
}
