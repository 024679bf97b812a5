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
