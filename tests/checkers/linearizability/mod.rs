//! Every operation took effect at one moment between question and answer, reads and refusals included: judged by the
//! clients' history alone, as it comes from real processes.
//!
//! Source: Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects"; the search is Wing and
//! Gong's with Lowe's memory ("Testing for linearizability", 2017). DESIGN section 5 on refusals.
//!
//! Products are judged one by one, which is enough for all of them together (locality). What is nondeterministic:
//! - An operation that was given up may have taken effect at any moment after its call, or never.
//! - A reservation may expire from its deadline minus the tolerance on, those with the earliest deadline first; one that
//!   a command names, whenever it is due. Its deadline is known from answers; of one that nobody was told of, bounded.
//!
//! What keeps thousands of operations a product tractable:
//! - The window slides: only operations called before the first return that is open are candidates, so at a quiescent
//!   point nothing but the state is left of what went before.
//! - An operation that changes nothing and is true now is taken at once, without an alternative: that never hurts.
//! - Commands take their turns by the stamps in their answers, for stamps never go back along the log (DESIGN section 4:
//!   RULE; an order of the answers that contradicts it is a violation).
//! - Looking ahead: what later answers tell of a reservation decides which of the given-up operations happened, and when;
//!   what they do not show yet has not happened before them.
//! - What no operation that may come next would notice is not guessed now; what the most urgent one would notice is first.
//!   Except for money that came too late and went back: whether units were left for it depends on when it came.
//! - States that were met before with the same operations done are not searched again.
//!
//! A search that exceeds its budget is *undecided*, which is neither passed nor failed, and reported as such. What
//! makes one so is given-up commands that nobody learns the outcome of, on a product that many fight for: somebody should
//! look, at the end, what became of them. With such a look thousands of operations take about as many steps.
//! Does not see: the feed and audits; order between products; what happens after a retention (a history must be
//! shorter than that); one id used with several products of a shard is given the benefit of the doubt.

mod act;
mod asked;
mod facts;
mod fates;
mod object;
mod refusal;
mod search;
mod sightings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use doorbuster_protocol::types::{Millis, ProductId, Timestamp};

use super::Violation;
use crate::history::History;
use search::{Found, Search};

/// What is assumed of the world.
#[derive(Clone, Copy, Debug)]
pub struct Assumptions {
    /// Wall clock at the history's moment 0.
    pub epoch: Timestamp,
    /// How far the cluster's stamps may be from that clock, either way.
    pub tolerance: Millis,
    /// Steps of the search for one product, after which it is undecided.
    pub steps: u64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self { epoch: Timestamp(0), tolerance: Millis(1000), steps: 20_000_000 }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Products judged.
    pub products: usize,
    /// Operations on them.
    pub operations: usize,
    /// Those of them that nobody knows the outcome of.
    pub given_up: usize,
    /// Steps of all searches.
    pub steps: u64,
    /// Products whose search exceeded its budget.
    pub undecided: Vec<ProductId>,
    /// Those that are not linearizable.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Nothing wrong, and nothing undecided.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.undecided.is_empty() && self.violations.is_empty()
    }
}

/// Judges a history.
#[must_use]
pub fn check(history: &History, assumptions: &Assumptions) -> Report {
    let mut report = Report::default();
    let products = asked::by_product(history, assumptions);
    let facts = facts::gather(history);
    let shared = facts::shared_ids(history);
    for (product, asks) in products {
        report.products += 1;
        report.operations += asks.len();
        report.given_up += asks.iter().filter(|ask| ask.is_given_up()).count();
        let (found, steps) = Search::new(asks, &facts, &shared, assumptions).run();
        report.steps += steps;
        match found {
            Found::Order => {}
            Found::TooMuch => report.undecided.push(product),
            Found::None { stuck, state } => report.violations.push(Violation {
                property: "linearizability",
                what: format!(
                    "product {product}: no order explains all answers; the longest ends before {:?}, with {state}",
                    stuck.first().map(|at| &history.operations[*at])
                ),
                operations: stuck,
            }),
        }
    }
    report
}

type ByProduct<'a> = BTreeMap<ProductId, Vec<asked::Ask<'a>>>;
