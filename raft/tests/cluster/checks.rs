//! What must hold at every instant, one property a function.

use std::collections::{BTreeMap, HashMap};

use doorbuster_raft::{NodeId, RoleChange};

use crate::replica::Replica;

#[derive(Default)]
pub struct Checks {
    leaders: HashMap<u64, NodeId>,
    /// What is at an index once anybody has applied it.
    pub applied: BTreeMap<u64, u64>,
    /// By (index, term): the entry's data and the term of the entry before it.
    entries: HashMap<(u64, u64), (Vec<u8>, Option<u64>)>,
    /// The last index that was acknowledged to a client.
    pub acknowledged: u64,
    pub acknowledgements: u64,
    pub lease_instants: u64,
}

impl Checks {
    pub fn one_leader_a_term(&mut self, node: NodeId, role: RoleChange) {
        if role.leading {
            let leader = *self.leaders.entry(role.term).or_insert(node);
            assert_eq!(leader, node, "two leaders in term {}", role.term);
        }
    }

    pub fn terms(&self) -> usize {
        self.leaders.len()
    }

    pub fn same_entry_everywhere(&mut self, index: u64, word: u64) {
        let known = *self.applied.entry(index).or_insert(word);
        assert_eq!(known, word, "two entries were applied at index {index}");
    }

    /// Two logs that agree on an entry agree on all before it: by induction, on the one before it.
    pub fn logs_match(&mut self, replica: &Replica) {
        let mut before = Some(replica.disk.mark.term).filter(|_| replica.disk.mark.index > 0);
        for entry in &replica.disk.entries {
            let here = (entry.data.to_vec(), before);
            let known = self.entries.entry((entry.index, entry.term)).or_insert_with(|| here.clone());
            assert_eq!(known.0, here.0, "two entries at index {} of term {}", entry.index, entry.term);
            if entry.index > 1 && known.1.is_some() && here.1.is_some() {
                assert_eq!(known.1, here.1, "logs differ before index {} of term {}", entry.index, entry.term);
            }
            before = Some(entry.term);
        }
    }

    /// While a lease holds nobody else leads in a later term, nobody else's lease holds, and everything acknowledged is
    /// applied where it holds.
    pub fn leases_exclude(&mut self, replicas: &[Replica], now: u64) {
        let holders: Vec<_> =
            replicas.iter().filter(|r| r.node.as_ref().is_some_and(|node| node.lease_holds(r.clock(now)))).collect();
        assert!(holders.len() <= 1, "leases of nodes {:?} at once", holders.iter().map(|r| r.id()).collect::<Vec<_>>());
        let Some(holder) = holders.first() else { return };
        self.lease_instants += 1;
        let status = holder.node.as_ref().unwrap().status();
        let deposed = replicas.iter().filter_map(|r| r.node.as_ref()).map(|node| node.status());
        for other in deposed.filter(|other| other.leading && other.term != status.term) {
            assert!(other.term < status.term, "node {} has a lease in term {}, {other:?}", holder.id(), status.term);
        }
        assert!(
            status.applied >= self.acknowledged,
            "a read under the lease of node {} at {} misses {}",
            holder.id(),
            status.applied,
            self.acknowledged
        );
    }
}
