//! Coverage: what runs should have reached at least once, declared here so that what was never reached shows.

use std::collections::BTreeSet;

/// Every mark that exists.
pub const DECLARED: &[&str] = &[
    // the network
    "message_lost",
    "message_duplicated",
    "message_reordered",
    "message_delayed_beyond_election",
    "peer_connection_broken",
    "client_connection_broken",
    "dead_leader_closed_connection",
    "living_leader_closed_connection",
    "partition_symmetric",
    "partition_one_way",
    "partition_isolates_leader",
    "partitions_healed_out_of_order",
    // processes
    "paused_beyond_lease",
    "paused_leader",
    "paused_beyond_election",
    "slow_follower",
    "crash_in_write",
    "crash_in_sync",
    "crash_in_sync_dir",
    "crash_in_create",
    "crash_in_rename",
    "crash_in_remove",
    "crash_while_starting",
    "crash_of_all_nodes",
    "crash_loop",
    "crash_of_leader",
    "crash_of_process_only",
    "machine_crash",
    // disks
    "unsynced_write_lost",
    "unsynced_write_kept",
    "write_torn",
    "name_lost",
    "sync_failed_in_log",
    "sync_failed_in_snapshot",
    "sync_failed_in_identity",
    "short_write",
    "disk_full",
    "slow_disk",
    "bit_rot_in_log",
    "bit_rot_in_hard_state",
    "bit_rot_in_snapshot",
    "stale_block",
    "misdirected_block",
    "damage_refused",
    "damage_harmless",
    "disk_lost",
    "lost_disk_refused_by_itself",
    "disk_formatted_again",
    "formatted_disk_refused_by_peers",
    // clocks
    "wall_clock_off",
    "wall_clock_jumped_forward",
    "wall_clock_jumped_back",
    "clock_drifts",
    "leader_heard_two_clocks",
    // replication
    "leader_elected",
    "leader_changed",
    "leader_changed_with_requests_in_flight",
    "two_believe_to_lead",
    "entries_replaced",
    "snapshot_written",
    "snapshot_sent",
    "snapshot_unreadable",
    "snapshot_installed",
    "snapshot_stream_broken",
    "snapshot_superseded",
    "snapshot_while_lagging",
    "crash_while_snapshot_is_written",
    "crash_while_snapshot_is_received",
    "log_segment_rolled",
    "nothing_behind_snapshots",
    // clients and the sale
    "retried_with_same_id",
    "retried_at_another_node",
    "conflicting_retry",
    "timed_out",
    "gave_up",
    "granted",
    "refused_sold_out",
    "refused_all_held",
    "refused_insufficient_stock",
    "refused_limit_reached",
    "refused_not_open",
    "refused_closed",
    "refused_paused",
    "confirmed",
    "released",
    "extended",
    "expired",
    "mass_expiry",
    "payment_begun",
    "late_payment",
    "refund_due",
    "refunded",
    "sale_cancelled",
    "sale_cancelled_unpaid",
    "leader_drained",
    "restarted_in_good_order",
    "payment_swept",
    "charge_cancelled",
    "late_charge",
    "late_charge_after_cancel",
    "stock_adjusted",
    "busy",
    "not_leader",
    "outcome_unknown",
    "waited_too_long",
    "read_linearizable",
    // the order writer
    "orders_stored",
    "orders_database_failed",
    "orders_failed_after_store_before_acknowledge",
    "orders_stored_twice_offered",
];

/// The marks reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    reached: BTreeSet<&'static str>,
}

impl Marks {
    /// Notes one.
    ///
    /// # Panics
    /// If it is not declared.
    pub fn reach(&mut self, mark: &'static str) {
        if self.reached.insert(mark) {
            assert!(DECLARED.contains(&mark), "the mark {mark:?} is not declared in marks.rs");
        }
    }

    /// Whether it was reached.
    #[must_use]
    pub fn has(&self, mark: &str) -> bool {
        self.reached.contains(mark)
    }

    /// All that were reached, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.reached.iter().copied()
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Self) {
        self.reached.extend(other.iter());
    }

    /// Those declared and not reached.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> + '_ {
        DECLARED.iter().copied().filter(|mark| !self.has(mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mark_is_declared_twice() {
        let all: BTreeSet<_> = DECLARED.iter().collect();
        assert_eq!(all.len(), DECLARED.len());
    }

    #[test]
    #[should_panic(expected = "not declared")]
    fn an_undeclared_mark_is_a_bug() {
        Marks::default().reach("somewhere");
    }
}
