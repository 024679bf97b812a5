//! Every queue is within its bound, at the end of every turn of every node.
//!
//! Source: DESIGN section 5, "every queue is bounded; when one is full the answer is `busy`, before any effect".
//! Does not see: what a queue holds in the middle of a turn, queues that are not observed (sockets, the log thread's).

use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{Observation, Seen};

/// See the module.
#[derive(Debug, Default)]
pub struct Queues;

impl Checker for Queues {
    fn property(&self) -> &'static str {
        "queues"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Observation::Queues { node, shard, queues } = &seen.what else { return Ok(()) };
        let all = [
            ("backlog", queues.backlog),
            ("waiting", queues.waiting),
            ("reads", queues.reads),
            ("in flight", queues.in_flight),
        ];
        match all.into_iter().find(|(_, (length, bound))| length > bound) {
            None => Ok(()),
            Some((name, (length, bound))) => Err(Violation {
                property: self.property(),
                what: format!("node {node} has {length} in the queue `{name}` of shard {shard}, its bound is {bound}"),
                operations: Vec::new(),
            }),
        }
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}
