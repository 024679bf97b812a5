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

#[cfg(test)]
mod tests {
    use doorbuster_protocol::types::{NodeId, ShardId};

    use super::*;
    use crate::history::Moment;
    use crate::observation::Queues as Lengths;

    fn see(queues: Lengths) -> Result<(), Violation> {
        let what = Observation::Queues { node: NodeId(1), shard: ShardId(0), queues };
        Queues.see(&Seen { at: Moment(0), what })
    }

    #[test]
    fn a_queue_may_be_full_and_not_fuller() {
        let full = Lengths { backlog: (8, 8), waiting: (4, 4), reads: (2, 2), in_flight: (16, 16) };
        assert_eq!(see(full), Ok(()));
        for over in [
            Lengths { backlog: (9, 8), ..full },
            Lengths { waiting: (5, 4), ..full },
            Lengths { reads: (3, 2), ..full },
            Lengths { in_flight: (17, 16), ..full },
        ] {
            assert_eq!(see(over).unwrap_err().property, "queues");
        }
    }
}
