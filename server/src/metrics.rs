//! Every metric of the server: its name, kind, unit and meaning, in one table.
//!
//! Names follow Prometheus: `doorbuster_` first, base units, `_total` on counters. Handles are looked up once, so that
//! counting on a request's path is one atomic addition. The recorder is the process's: several servers in one process
//! (tests) share it.

use std::sync::OnceLock;
use std::time::Duration;

use doorbuster_protocol::types::NodeId;
use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// How often histograms must be folded, lest they grow: see [`Exporter::upkeep`].
pub const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Upper bounds of the buckets of times, in seconds: 50 µs to 10 s.
const SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Upper bounds of the buckets of counts.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];

macro_rules! table {
    (
        counters { $($counter:ident: $counter_name:literal $({$key:literal = $value:literal})?, $counter_help:literal;)* }
        gauges { $($gauge:ident: $gauge_name:literal, $gauge_help:literal;)* }
        histograms { $($histogram:ident: $histogram_name:literal, $buckets:expr, $histogram_help:literal;)* }
    ) => {
        /// The server's metrics.
        #[derive(Clone)]
        pub struct Metrics {
            $(#[doc = $counter_help] pub $counter: Counter,)*
            $(#[doc = $gauge_help] pub $gauge: Gauge,)*
            $(#[doc = $histogram_help] pub $histogram: Histogram,)*
        }

        impl Metrics {
            /// Looks every handle up in the process's recorder, so [`Exporter::install`] comes first.
            #[must_use]
            pub fn new() -> Self {
                $(metrics::describe_counter!($counter_name, Unit::Count, $counter_help);)*
                $(metrics::describe_gauge!($gauge_name, $gauge_help);)*
                $(metrics::describe_histogram!($histogram_name, $histogram_help);)*
                describe_labelled();
                Self {
                    $($counter: metrics::counter!($counter_name $(, $key => $value)?),)*
                    $($gauge: metrics::gauge!($gauge_name),)*
                    $($histogram: metrics::histogram!($histogram_name),)*
                }
            }
        }

        impl Metrics {
            /// Counts nothing: for a node that nobody asks.
            #[must_use]
            pub fn silent() -> Self {
                Self {
                    $($counter: Counter::noop(),)*
                    $($gauge: Gauge::noop(),)*
                    $($histogram: Histogram::noop(),)*
                }
            }
        }

        /// Names of all metrics without a label of their own, with their meaning.
        pub const TABLE: &[(&str, &str)] = &[
            $(($counter_name, $counter_help),)* $(($gauge_name, $gauge_help),)* $(($histogram_name, $histogram_help),)*
        ];
        const BUCKETS: &[(&str, &[f64])] = &[$(($histogram_name, $buckets),)*];
    };
}

table! {
    counters {
        connections_opened: "doorbuster_connections_opened_total", "Client connections accepted.";
        connections_refused: "doorbuster_connections_refused_total", "Client connections refused: too many, or a failed handshake.";
        requests: "doorbuster_requests_total", "Requests decoded.";
        malformed: "doorbuster_malformed_total", "Requests and frames that could not be read.";
        busy: "doorbuster_busy_total", "Requests answered busy because a queue was full.";
        feed_full: "doorbuster_feed_full_total", "Reserves and payments answered busy because the order feed waits to be stored.";
        waited_too_long: "doorbuster_waited_too_long_total", "Requests dropped because their caller had stopped waiting.";
        not_leader: "doorbuster_not_leader_total", "Requests for shards that another node leads.";
        outcome_unknown: "doorbuster_outcome_unknown_total", "Requests whose outcome a change of leader left unknown.";
        gate_tickets: "doorbuster_gate_decisions_total" {"decision" = "ticket"}, "Reserves by what the gate did with them.";
        gate_waits: "doorbuster_gate_decisions_total" {"decision" = "wait"}, "Reserves by what the gate did with them.";
        gate_refusals: "doorbuster_gate_decisions_total" {"decision" = "refused"}, "Reserves by what the gate did with them.";
        gate_not_here: "doorbuster_gate_decisions_total" {"decision" = "not_here"}, "Reserves by what the gate did with them.";
        commands_granted: "doorbuster_commands_total" {"outcome" = "done"}, "Commands applied as leader, by outcome.";
        commands_refused: "doorbuster_commands_total" {"outcome" = "refused"}, "Commands applied as leader, by outcome.";
        entries_applied: "doorbuster_entries_applied_total", "Log entries applied, as leader or follower.";
        proposals_dropped: "doorbuster_proposals_dropped_total", "Entries that the log did not take.";
        expired: "doorbuster_reservations_expired_total", "Reservations expired by time entries.";
        reads_by_lease: "doorbuster_reads_total" {"by" = "lease"}, "Linearizable reads by what made them safe.";
        reads_by_index: "doorbuster_reads_total" {"by" = "read_index"}, "Linearizable reads by what made them safe.";
        state_disputes: "doorbuster_state_disputes_total", "Times that a replica here and another one had different states. Never anything but 0.";
        leader_changes: "doorbuster_leader_changes_total", "Times that a shard on this node changed its leader.";
        campaigns_silence: "doorbuster_campaigns_total" {"cause" = "silence"}, "Campaigns of replicas here to be elected: no leader was heard, or its connection closed.";
        campaigns_closed: "doorbuster_campaigns_total" {"cause" = "closed"}, "Campaigns of replicas here to be elected: no leader was heard, or its connection closed.";
        snapshots_written: "doorbuster_snapshots_total" {"what" = "written"}, "Snapshots by what was done with them.";
        snapshots_sent: "doorbuster_snapshots_total" {"what" = "sent"}, "Snapshots by what was done with them.";
        snapshots_installed: "doorbuster_snapshots_total" {"what" = "installed"}, "Snapshots by what was done with them.";
    }
    gauges {
        connections: "doorbuster_connections", "Client connections open.";
        shards_leading: "doorbuster_shards_leading", "Shards that this node leads.";
        shards_diverged: "doorbuster_shards_diverged", "Replicas here that stopped serving because their state differs from the others'. Never anything but 0.";
        log_bytes: "doorbuster_log_bytes", "Size of the replicated log on disk.";
        log_segments: "doorbuster_log_segments", "Segment files of the replicated log.";
        reservations: "doorbuster_reservations", "Reservations known on this node's replicas, live and retained.";
        feed_entries: "doorbuster_order_feed_entries", "Entries of the order feeds of this node's replicas that wait to be stored.";
        shards_disputed: "doorbuster_shards_disputed", "Replicas here that differ from another, while nobody can tell who is right. Never anything but 0.";
        filter_bytes: "doorbuster_filter_bytes", "Memory of the filters that guard fast refusals.";
    }
    histograms {
        entry_commands: "doorbuster_entry_commands", COUNTS, "Commands in one proposed entry.";
        commit_seconds: "doorbuster_commit_seconds", SECONDS, "Time from proposing an entry to its being applied.";
        log_sync_seconds: "doorbuster_log_sync_seconds", SECONDS, "Time from handing a write to the log to its being on disk.";
        snapshot_seconds: "doorbuster_snapshot_seconds", SECONDS, "Time to write a snapshot.";
    }
}

const INBOX_DEPTH: &str = "doorbuster_inbox_depth";
const PEER_CONNECTED: &str = "doorbuster_peer_connected";
const PEER_CLOCK_OFFSET: &str = "doorbuster_peer_clock_offset_seconds";
const BUILD_INFO: &str = "doorbuster_build_info";

fn describe_labelled() {
    metrics::describe_gauge!(INBOX_DEPTH, "Requests waiting in a shard group's inbox.");
    metrics::describe_gauge!(PEER_CONNECTED, "1 if messages get through to the peer, else 0.");
    metrics::describe_gauge!(PEER_CLOCK_OFFSET, Unit::Seconds, "A peer's wall clock minus this node's.");
    metrics::describe_gauge!(BUILD_INFO, "1, labelled with the version and the node.");
}

impl Metrics {
    /// Requests waiting in the inbox of a shard group.
    pub fn inbox_depth(thread: usize) -> Gauge {
        metrics::gauge!(INBOX_DEPTH, "thread" => thread.to_string())
    }

    /// Whether messages get through to a peer.
    pub fn peer_connected(peer: NodeId) -> Gauge {
        metrics::gauge!(PEER_CONNECTED, "peer" => peer.to_string())
    }

    /// A peer's wall clock minus ours, in seconds.
    pub fn peer_clock_offset(peer: NodeId) -> Gauge {
        metrics::gauge!(PEER_CLOCK_OFFSET, "peer" => peer.to_string())
    }

    /// Says which build and node this is.
    pub fn build_info(node: NodeId) {
        metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "node" => node.to_string()).set(1.0);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Turns what was counted into Prometheus' text.
#[derive(Clone)]
pub struct Exporter(PrometheusHandle);

impl Exporter {
    /// Becomes the process's recorder, or joins the one that an earlier call installed.
    ///
    /// # Errors
    /// If something else has installed a recorder.
    pub fn install() -> Result<Self, BuildError> {
        static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
        static INSTALLING: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
        let _one_at_a_time = INSTALLING.lock();
        if let Some(handle) = INSTALLED.get() {
            return Ok(Self(handle.clone()));
        }
        let mut builder = PrometheusBuilder::new();
        for (name, bounds) in BUCKETS {
            builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)?;
        }
        let handle = builder.install_recorder()?;
        Ok(Self(INSTALLED.get_or_init(|| handle).clone()))
    }

    /// The text of a scrape.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what histograms have gathered; to be called every [`UPKEEP_EVERY`].
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for (name, help) in TABLE {
            assert!(name.starts_with("doorbuster_"), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(help.len() > 10 && help.ends_with('.'), "{name}: {help:?}");
            assert!(!name.ends_with("_ms") && !name.ends_with("_us"), "{name}: base units are seconds and bytes");
        }
    }

    #[test]
    fn a_scrape_shows_what_was_counted() {
        let exporter = Exporter::install().unwrap();
        let _joined = Exporter::install().unwrap();
        let metrics = Metrics::new();
        metrics.gate_refusals.increment(7);
        metrics.log_sync_seconds.record(0.000_2);
        Metrics::peer_clock_offset(NodeId(2)).set(-0.25);
        Metrics::build_info(NodeId(1));
        exporter.upkeep();
        let text = exporter.render();
        for line in [
            "# TYPE doorbuster_gate_decisions_total counter",
            "doorbuster_gate_decisions_total{decision=\"refused\"} 7",
            "doorbuster_log_sync_seconds_bucket{le=\"0.00025\"} 1",
            "doorbuster_peer_clock_offset_seconds{peer=\"2\"} -0.25",
            "doorbuster_build_info{",
        ] {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
    }
}
