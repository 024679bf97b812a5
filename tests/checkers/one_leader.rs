//! At most one leader in each term of a shard.
//!
//! Source: Ongaro and Ousterhout, figure 3, Election Safety.
//! Does not see: leaders that nobody was told of.

use std::collections::BTreeMap;

use doorbuster_protocol::types::{NodeId, ShardId};

use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{Observation, Seen};

/// See the module.
#[derive(Debug, Default)]
pub struct OneLeader {
    leaders: BTreeMap<(ShardId, u64), NodeId>,
}

impl Checker for OneLeader {
    fn property(&self) -> &'static str {
        "one_leader"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Observation::Leads { node, shard, term } = &seen.what else { return Ok(()) };
        let leader = *self.leaders.entry((*shard, *term)).or_insert(*node);
        if leader == *node {
            return Ok(());
        }
        let what = format!("node {node} leads shard {shard} in term {term}, as node {leader} did");
        Err(Violation::of(self.property(), what))
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;

    #[test]
    fn a_term_has_one_leader_and_a_node_many_terms() {
        let mut checker = OneLeader::default();
        let mut leads = |node, shard, term| {
            let what = Observation::Leads { node: NodeId(node), shard: ShardId(shard), term };
            checker.see(&Seen { at: Moment(0), what })
        };
        for (node, shard, term) in [(1, 0, 1), (2, 0, 2), (2, 1, 1), (1, 0, 1), (1, 0, 3)] {
            assert_eq!(leads(node, shard, term), Ok(()));
        }
        assert!(leads(2, 0, 3).is_err());
    }
}
