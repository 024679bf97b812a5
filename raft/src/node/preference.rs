//! Spreads leaders over nodes: a shard's leader hands over to the shard's preferred node once that one has kept up for a
//! while. An attempt that fails costs the leases of a term, therefore the next one waits longer.

use std::time::Duration;

use crate::config::NodeConfig;
use crate::types::{Monotonic, NodeId};

const MAX_WAIT: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Preference {
    /// The preferred node, if it is not this one.
    other: Option<NodeId>,
    after: Duration,
    /// How long it must keep up now: `after`, doubled with every attempt.
    wait: Duration,
    /// Since when it keeps up.
    since: Option<Monotonic>,
    /// The commit index one tick ago: who has that keeps up.
    commit: u64,
}

impl Preference {
    pub(super) fn new(config: &NodeConfig) -> Self {
        let other = config.preferred.filter(|&preferred| preferred != config.node);
        Self { other, after: config.preferred_after, wait: config.preferred_after, since: None, commit: 0 }
    }

    /// The preferred node, if it is another one.
    pub(super) fn other(&self) -> Option<NodeId> {
        self.other
    }

    /// `matched` is no more than a tick behind.
    pub(super) fn keeps_up(&self, matched: u64) -> bool {
        matched >= self.commit
    }

    /// Once a tick. True: hand over now.
    pub(super) fn hand_over(&mut self, now: Monotonic, keeps_up: bool, commit: u64) -> bool {
        self.commit = commit;
        if !keeps_up {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if now.since(since) < self.wait {
            return false;
        }
        self.since = None;
        self.wait = (self.wait * 2).min(MAX_WAIT);
        true
    }

    /// Somebody leads who is not this node: attempts start anew when it does again.
    pub(super) fn follow(&mut self) {
        self.since = None;
        self.wait = self.after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn hands_over_after_keeping_up_without_a_gap() {
        let mut preference = Preference::new(&NodeConfig::new(1, 1, vec![1, 2, 3]));
        assert_eq!(preference.other(), Some(2));
        assert!(!preference.hand_over(Monotonic(0), true, 10));
        assert!(!preference.hand_over(Monotonic(2 * SECOND), false, 10));
        assert!(!preference.hand_over(Monotonic(3 * SECOND), true, 10));
        assert!(!preference.hand_over(Monotonic(5 * SECOND), true, 10));
        assert!(preference.hand_over(Monotonic(6 * SECOND), true, 10));
        assert!(preference.keeps_up(10) && !preference.keeps_up(9));
    }

    #[test]
    fn a_failed_attempt_doubles_the_wait() {
        let mut preference = Preference::new(&NodeConfig::new(1, 1, vec![1, 2, 3]));
        assert!(!preference.hand_over(Monotonic(0), true, 0));
        assert!(preference.hand_over(Monotonic(3 * SECOND), true, 0));
        assert!(!preference.hand_over(Monotonic(4 * SECOND), true, 0));
        assert!(!preference.hand_over(Monotonic(9 * SECOND), true, 0));
        assert!(preference.hand_over(Monotonic(10 * SECOND), true, 0));
    }

    #[test]
    fn the_preferred_node_itself_has_nobody_to_hand_to() {
        assert_eq!(Preference::new(&NodeConfig::new(2, 1, vec![1, 2, 3])).other(), None);
    }
}
