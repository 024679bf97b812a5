//! Who should lead and who should not, beyond what raft looks at: the state machine may know that its own state, or
//! another replica's, is not to be trusted.
//!
//! A replica that *stands back* keeps its log and its vote, so that the quorum holds, and lets others campaign first: it
//! does so itself only after several election timeouts without a leader, for it may be the only one that has everything
//! that is committed. Whoever it elects then, it hands leadership on as soon as somebody has caught up.

use crate::types::NodeId;

/// Election timeouts for which one that stands back leaves campaigning to others.
const TIMEOUTS: u32 = 4;

#[derive(Debug, Default)]
pub(super) struct Standing {
    back: bool,
    /// Ticks at which it would have campaigned, since it last had a leader or did.
    waited: u32,
    avoided: Vec<NodeId>,
}

impl Standing {
    /// Whether to leave campaigning to others from now on.
    pub(super) fn stand_back(&mut self, back: bool) {
        self.back = back;
        self.waited = 0;
    }

    pub(super) fn stands_back(&self) -> bool {
        self.back
    }

    /// These nodes are not handed leadership to.
    pub(super) fn avoid(&mut self, nodes: &[NodeId]) {
        if self.avoided != nodes {
            self.avoided = nodes.to_vec();
        }
    }

    pub(super) fn avoids(&self, node: NodeId) -> bool {
        self.avoided.contains(&node)
    }

    /// Once a tick: raft is about to campaign, or is not. True: not yet.
    pub(super) fn holds_back(&mut self, campaigns: bool, election_ticks: u32) -> bool {
        if !(self.back && campaigns) {
            self.waited = 0;
            return false;
        }
        self.waited += 1;
        self.waited <= TIMEOUTS.saturating_mul(election_ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_stands_back_campaigns_after_everybody_else() {
        let mut standing = Standing::default();
        assert!(!standing.holds_back(true, 10));
        standing.stand_back(true);
        for _ in 0..2 {
            let held = (0..100).take_while(|_| standing.holds_back(true, 10)).count();
            assert_eq!(held, 40);
            assert!(!standing.holds_back(false, 10), "a leader, or a campaign of its own, starts the count anew");
        }
    }
}
