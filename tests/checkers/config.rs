//! What the checkers have to know of the world that they watch.

use std::time::Duration;

use doorbuster_inventory::Limits;
use doorbuster_protocol::types::Millis;

/// See the module. One for all checkers of a run.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Shards of the cluster.
    pub shards: u16,
    /// What each shard may hold, as its replicas were told.
    pub limits: Limits,
    /// How far the leaders' stamps may be from the median of all nodes' true wall clocks, either way: the spread of the
    /// clocks that are not wrong, and what steering (500 parts per million) had no time to make up. A clock that jumped
    /// by an hour is wrong and does not count.
    pub clock_tolerance: Millis,
    /// Whether a node's wall clock is wrong. Then the lower median of two clocks may be its, and the stamps of a leader
    /// that has heard of no third one behind by any time; see `expiry`.
    pub wrong_clock: bool,
    /// The servers' tick.
    pub tick: Duration,
    /// How long a leader that is seen idle may be unable to propose without anybody seeing why: a hand-over of its
    /// leadership that comes to nothing.
    pub unseen_outage: Duration,
    /// Whether nobody but gateways, before one provider, confirms reservations and has to do with payments.
    pub gateways_alone: bool,
    /// Whether the history has every command that anybody sends, the order writer's acknowledgements excepted. If so,
    /// a logged command that nobody asked for is a violation.
    pub history_is_complete: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 1,
            limits: Limits::default(),
            clock_tolerance: Millis(250),
            wrong_clock: false,
            tick: Duration::from_millis(10),
            unseen_outage: Duration::from_secs(2),
            gateways_alone: false,
            history_is_complete: true,
        }
    }
}
