//! A node's vote does not change within a term, and its terms never go back, not over a restart either once they were
//! on disk.
//!
//! Source: Ongaro and Ousterhout, figure 2, "persistent state on all servers: currentTerm, votedFor; updated on stable
//! storage before responding to RPCs"; section 5.4.1.
//! What was appended and not yet synced may be lost with the process: it was not acted upon.
//! Does not see: votes that are sent without having been appended (`one_leader` sees what they lead to).

use std::collections::BTreeMap;

use doorbuster_protocol::types::{NodeId, ShardId};
use doorbuster_raft::HardState;

use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{Observation, Seen};

/// See the module.
#[derive(Debug, Default)]
pub struct Votes {
    of: BTreeMap<(NodeId, ShardId), States>,
}

#[derive(Clone, Copy, Debug, Default)]
struct States {
    appended: HardState,
    synced: HardState,
}

impl Checker for Votes {
    fn property(&self) -> &'static str {
        "votes"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        match &seen.what {
            Observation::Appends { node, shard, hard_state: Some(new), .. } => {
                let states = self.of.entry((*node, *shard)).or_default();
                let old = std::mem::replace(&mut states.appended, *new);
                let voted_anew = new.term == old.term && old.vote != 0 && new.vote != old.vote;
                if new.term < old.term || voted_anew {
                    let what = format!("node {node} had for shard {shard} {old:?}, and now appends {new:?}");
                    return Err(Violation::of(self.property(), what));
                }
            }
            Observation::Synced { node } => {
                self.of_node(*node).for_each(|states| states.synced = states.appended);
            }
            Observation::Started { node } | Observation::Ended { node, .. } => {
                self.of_node(*node).for_each(|states| states.appended = states.synced);
            }
            _ => {}
        }
        Ok(())
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        Ok(())
    }
}

impl Votes {
    fn of_node(&mut self, node: NodeId) -> impl Iterator<Item = &mut States> {
        self.of.range_mut((node, ShardId(0))..=(node, ShardId(u16::MAX))).map(|(_, states)| states)
    }
}
