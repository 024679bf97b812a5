//! How one replica behaves: its identity, its timing and its limits. Everything is bounded; [`NodeConfig::validate`]
//! names the field and the fix.

use std::time::Duration;

use crate::types::{NodeId, ShardId};

/// Configuration of one [`Node`](crate::Node). `NodeConfig::new` gives the recommended values.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This node.
    pub node: NodeId,
    /// The shard it is a replica of.
    pub shard: ShardId,
    /// All replicas of the shard, this node included: 1 to 7 of them.
    pub voters: Vec<NodeId>,
    /// Time between two calls of [`Node::tick`](crate::Node::tick). Default 20 ms, minimum 1 ms.
    pub tick: Duration,
    /// A follower that hears nothing from a leader for this many ticks, up to twice as many, campaigns. Default 15,
    /// minimum 5 and more than twice `heartbeat_ticks`. Must be equal on all replicas: leases rest on it.
    pub election_ticks: u32,
    /// A leader says that it is there every so many ticks. Default 2, minimum 1.
    pub heartbeat_ticks: u32,
    /// Taken off the lease for clocks that run at different rates. Default 10% of the election timeout.
    pub lease_margin: Duration,
    /// Largest entry that may be proposed, bytes. Default and maximum 1 MiB.
    pub max_entry_bytes: usize,
    /// A message to a follower carries entries of up to about this many bytes (one entry at least). Default 256 KiB.
    pub max_message_bytes: u64,
    /// Appends on their way to a follower without an acknowledgement. Default 64: with `max_message_bytes` as much as the
    /// transport queues for a peer, so that a follower which catches up is not sent what would be dropped.
    pub max_inflight_messages: usize,
    /// Bytes of proposals not committed yet; more are refused as full. Default 64 MiB.
    pub max_uncommitted_bytes: u64,
    /// Bytes of entries that may be on their way to this node's disk before it takes more: beyond, a leader refuses
    /// proposals as full and a follower ignores appends, which its leader repeats. Default 16 MiB, what a leader sends ahead
    /// of a follower's acknowledgements. With the appends that it lets begin, this bounds the log's queue.
    pub max_unsynced_bytes: u64,
    /// Bytes of entries applied in one poll. Default 4 MiB.
    pub max_apply_bytes: u64,
    /// Reads that may wait for a quorum's confirmation; more are refused. Default 4096.
    pub max_pending_reads: usize,
    /// Bytes of entries that stay in memory behind a snapshot, so that a follower which lags a little needs no snapshot.
    /// Default 4 MiB.
    pub trailing_bytes: u64,
    /// Election timeouts are drawn from this, the node and the term. Different on different nodes or not, it only spreads.
    pub seed: u64,
    /// The node that should lead this shard when it can; others hand leadership to it. None: whoever is elected.
    pub preferred: Option<NodeId>,
    /// How long the preferred node must have kept up before leadership is handed to it. Default 3 s.
    pub preferred_after: Duration,
}

/// A value that cannot work, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// The field of [`NodeConfig`] at fault.
    pub field: &'static str,
    /// What is wrong with its value and what would be right.
    pub problem: String,
}

impl NodeConfig {
    /// Recommended values; leaders of the shards spread over the nodes in turn.
    #[must_use]
    pub fn new(node: NodeId, shard: ShardId, voters: Vec<NodeId>) -> Self {
        // In the order of numbers, so that all replicas agree however they list each other: two that prefer different
        // nodes would hand leadership to and fro.
        let mut sorted = voters.clone();
        sorted.sort_unstable();
        let preferred = sorted.get(usize::from(shard) % sorted.len().max(1)).copied();
        Self {
            node,
            shard,
            voters,
            tick: Duration::from_millis(20),
            election_ticks: 15,
            heartbeat_ticks: 2,
            lease_margin: Duration::from_millis(30),
            max_entry_bytes: MAX_ENTRY_BYTES,
            max_message_bytes: 256 << 10,
            max_inflight_messages: 64,
            max_uncommitted_bytes: 64 << 20,
            max_unsynced_bytes: 16 << 20,
            max_apply_bytes: 4 << 20,
            max_pending_reads: 4096,
            trailing_bytes: 4 << 20,
            seed: 0,
            preferred,
            preferred_after: Duration::from_secs(3),
        }
    }

    /// The shortest time without a leader after which a replica campaigns or votes.
    #[must_use]
    pub fn election_timeout(&self) -> Duration {
        self.tick * self.election_ticks
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |field, problem: String| Err(ConfigError { field, problem });
        let mut sorted = self.voters.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != self.voters.len() || !(1..=MAX_VOTERS).contains(&sorted.len()) {
            return wrong("voters", format!("must be 1 to {MAX_VOTERS} different nodes, not {:?}", self.voters));
        }
        if sorted[0] == 0 {
            return wrong("voters", "node 0 does not exist: number nodes from 1".into());
        }
        if !self.voters.contains(&self.node) {
            return wrong("node", format!("node {} is not among the voters {:?}", self.node, self.voters));
        }
        if self.preferred.is_some_and(|preferred| !self.voters.contains(&preferred)) {
            return wrong("preferred", format!("{:?} is not among the voters {:?}", self.preferred, self.voters));
        }
        self.validate_timing().and_then(|()| self.validate_limits())
    }

    fn validate_timing(&self) -> Result<(), ConfigError> {
        let wrong = |field, problem: String| Err(ConfigError { field, problem });
        if self.tick < Duration::from_millis(1) {
            return wrong("tick", format!("{:?} is too short: at least 1 ms", self.tick));
        }
        if self.heartbeat_ticks == 0 {
            return wrong("heartbeat_ticks", "must be at least 1".into());
        }
        if self.election_ticks < 5 || u64::from(self.election_ticks) <= 2 * u64::from(self.heartbeat_ticks) {
            let problem = format!(
                "{} is too few: at least 5, and more than twice the {} heartbeat_ticks",
                self.election_ticks, self.heartbeat_ticks
            );
            return wrong("election_ticks", problem);
        }
        if self.election_ticks > MAX_ELECTION_TICKS {
            return wrong("election_ticks", format!("{} is above {MAX_ELECTION_TICKS}", self.election_ticks));
        }
        if self.lease_margin >= self.election_timeout() {
            let problem = format!("{:?} leaves nothing of {:?}", self.lease_margin, self.election_timeout());
            return wrong("lease_margin", problem);
        }
        Ok(())
    }

    fn validate_limits(&self) -> Result<(), ConfigError> {
        let wrong = |field, problem: String| Err(ConfigError { field, problem });
        if !(1..=MAX_ENTRY_BYTES).contains(&self.max_entry_bytes) {
            return wrong("max_entry_bytes", format!("{} is not in 1..={MAX_ENTRY_BYTES}", self.max_entry_bytes));
        }
        if !(1..=MAX_MESSAGE_BYTES).contains(&self.max_message_bytes) {
            return wrong("max_message_bytes", format!("{} is not in 1..={MAX_MESSAGE_BYTES}", self.max_message_bytes));
        }
        if !(1..=4096).contains(&self.max_inflight_messages) {
            return wrong("max_inflight_messages", format!("{} is not in 1..=4096", self.max_inflight_messages));
        }
        let entry = self.max_entry_bytes as u64;
        if self.max_uncommitted_bytes < entry {
            return wrong("max_uncommitted_bytes", format!("must hold one entry of {entry} bytes"));
        }
        if self.max_uncommitted_bytes < self.max_message_bytes {
            let problem = format!("must not be below the {} max_message_bytes", self.max_message_bytes);
            return wrong("max_uncommitted_bytes", problem);
        }
        if self.max_unsynced_bytes == 0 {
            return wrong("max_unsynced_bytes", "must be at least 1".into());
        }
        if self.max_apply_bytes == 0 {
            return wrong("max_apply_bytes", "must be at least 1".into());
        }
        if self.max_pending_reads == 0 {
            return wrong("max_pending_reads", "must be at least 1".into());
        }
        Ok(())
    }
}

/// Most replicas of a shard.
pub(crate) const MAX_VOTERS: usize = 7;
/// Largest entry, bytes.
pub(crate) const MAX_ENTRY_BYTES: usize = 1 << 20;
/// Largest aim for the entries of one message, bytes.
pub(crate) const MAX_MESSAGE_BYTES: u64 = 4 << 20;
const MAX_ELECTION_TICKS: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_replicas_prefer_the_same_node_and_shards_spread() {
        let preferred = |shard, voters: &[NodeId]| NodeConfig::new(1, shard, voters.to_vec()).preferred;
        for shard in 0..9 {
            assert_eq!(preferred(shard, &[1, 2, 3]), Some(u64::from(shard) % 3 + 1));
            assert_eq!(preferred(shard, &[3, 1, 2]), preferred(shard, &[1, 2, 3]));
        }
    }

    #[test]
    fn what_cannot_work_is_named() {
        type Spoil = fn(&mut NodeConfig);
        let cases: [(&str, Spoil); 13] = [
            ("voters", |config| config.voters = vec![1, 2, 2]),
            ("voters", |config| config.voters = (1..=8).collect()),
            ("voters", |config| config.voters = vec![0, 1]),
            ("node", |config| config.node = 9),
            ("preferred", |config| config.preferred = Some(9)),
            ("tick", |config| config.tick = Duration::ZERO),
            ("heartbeat_ticks", |config| config.heartbeat_ticks = 0),
            ("election_ticks", |config| config.election_ticks = 4),
            ("lease_margin", |config| config.lease_margin = Duration::from_secs(1)),
            ("max_entry_bytes", |config| config.max_entry_bytes = MAX_ENTRY_BYTES + 1),
            ("max_uncommitted_bytes", |config| config.max_uncommitted_bytes = 0),
            ("max_unsynced_bytes", |config| config.max_unsynced_bytes = 0),
            ("max_inflight_messages", |config| config.max_inflight_messages = 0),
        ];
        assert_eq!(NodeConfig::new(1, 0, vec![1, 2, 3]).validate(), Ok(()));
        for (field, spoil) in cases {
            let mut config = NodeConfig::new(1, 0, vec![1, 2, 3]);
            spoil(&mut config);
            assert_eq!(config.validate().map_err(|error| error.field), Err(field));
        }
    }
}
