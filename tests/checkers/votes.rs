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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Moment;

    const NODE: NodeId = NodeId(1);

    fn see(checker: &mut Votes, what: Observation<'_>) -> Result<(), Violation> {
        checker.see(&Seen { at: Moment(0), what })
    }

    fn append(checker: &mut Votes, term: u64, vote: u64) -> Result<(), Violation> {
        let hard_state = Some(HardState { term, vote, commit: 0 });
        see(checker, Observation::Appends { node: NODE, shard: ShardId(0), entries: &[], hard_state })
    }

    fn voted(votes: &[(u64, u64)]) -> Votes {
        let mut checker = Votes::default();
        for (term, vote) in votes {
            append(&mut checker, *term, *vote).unwrap();
        }
        checker
    }

    #[test]
    fn a_vote_is_given_once_a_term() {
        let mut checker = voted(&[(1, 0), (1, 2), (1, 2), (2, 0), (2, 3)]);
        assert!(append(&mut checker, 2, 1).is_err());
        assert!(append(&mut voted(&[(1, 2)]), 1, 0).is_err(), "nor is it taken back");
        assert!(append(&mut voted(&[(3, 0)]), 2, 0).is_err(), "nor does the term go back");
    }

    #[test]
    fn what_was_synced_holds_over_a_restart_and_the_rest_may_be_lost() {
        let mut checker = voted(&[(1, 2)]);
        see(&mut checker, Observation::Started { node: NODE }).unwrap();
        assert_eq!(append(&mut checker, 1, 3), Ok(()), "it had not been synced");
        see(&mut checker, Observation::Synced { node: NODE }).unwrap();
        see(&mut checker, Observation::Ended { node: NODE, said: None }).unwrap();
        see(&mut checker, Observation::Started { node: NODE }).unwrap();
        assert!(append(&mut checker, 1, 2).is_err());
        assert!(append(&mut checker, 0, 0).is_err());
    }
}
