//! From what a sale will be to what it needs: the formulas of the capacity guide, fed with what was measured. Pure.

use super::book::Book;
use super::samples::Samples;
use doorbuster_cli::output::grouped;
use std::fmt::Write as _;

/// Of its processors a node shall use no more than this part at the peak, so that it can take a burst, a snapshot, or the shards of a
/// node that is gone.
const PART: f64 = 0.5;
/// Bytes of a reserve in the log: 53 of the command, and its part of what a full entry has besides.
const LOG_BYTES: f64 = 54.0;
/// Bytes of an answer on the wire.
const ANSWER_BYTES: f64 = 105.0;
/// Bytes of a record, which a snapshot that is being written may keep a second time.
const RECORD_BYTES: f64 = 76.0;
/// Bytes of an order that waits on the feed.
const FEED_BYTES: f64 = 100.0;
/// Log of a shard that lies in memory before a snapshot cuts it: `snapshot_bytes`.
const LOG_KEPT: f64 = 67_108_864.0;
/// What a node takes without any reservations.
const BASE: f64 = 67_108_864.0;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Core seconds of a refusal.
    pub refusal: f64,
    /// Core seconds of a granted reserve on the leader.
    pub grant: f64,
    /// Seconds of the one thread that owns the product's shard.
    pub shard: f64,
    /// Core seconds of a request on a gateway.
    pub http: f64,
    /// Bytes of a live reservation.
    pub live: f64,
    /// Seconds that one caller waits, three nodes, no added delay.
    pub wait: f64,
}

/// What a sale will be.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Its name.
    pub name: &'static str,
    /// A second, at the peak.
    pub attempts: f64,
    /// Of them granted a second.
    pub grants: f64,
    /// Products that share this evenly.
    pub products: u32,
    /// Clusters of three nodes, over which products are spread evenly.
    pub clusters: u32,
    /// Reservations at the same time, at the peak.
    pub live: f64,
    /// Orders that may wait while the database is down.
    pub unsent: f64,
    /// Seconds that a sync of the disk and a round trip between nodes take more than on the machine that was measured.
    pub slower: f64,
}

/// What it needs. All nodes of a cluster alike: any of them may come to lead everything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Of each node.
    pub cores: f64,
    /// Bytes of each node.
    pub memory: f64,
    /// Bytes a second that each node writes to its log.
    pub log: f64,
    /// Bytes a second that the leader sends: to its followers, and answers.
    pub network: f64,
    /// Requests under way that the rate of grants needs.
    pub in_flight: f64,
    /// Of all gateways together, if everything comes over HTTP.
    pub gateway_cores: f64,
    /// How much of the one thread that owns it the busiest product needs; more than 1 is impossible.
    pub thread: f64,
}

/// The guide's examples.
pub const DEMANDS: &[Demand] = &[
    Demand {
        name: "100 phones, a million buyers in ten seconds",
        attempts: 1e5,
        grants: 100.0,
        products: 1,
        clusters: 1,
        live: 100.0,
        unsent: 1e5,
        slower: 0.0,
    },
    Demand {
        name: "50,000 seats of one concert, two million buyers in ten seconds",
        attempts: 2e5,
        grants: 5e3,
        products: 1,
        clusters: 1,
        live: 5e4,
        unsent: 1e5,
        slower: 1e-3,
    },
    Demand {
        name: "a marketplace: 10,000 products, ten million live, a cloud disk",
        attempts: 1e6,
        grants: 2e5,
        products: 10_000,
        clusters: 1,
        live: 1e7,
        unsent: 1e6,
        slower: 2e-3,
    },
    Demand {
        name: "on paper: 99 nodes, 10,000 products",
        attempts: 1e8,
        grants: 2e7,
        products: 10_000,
        clusters: 33,
        live: 1e9,
        unsent: 3.3e7,
        slower: 1e-3,
    },
];

impl Costs {
    /// Those that follow from what was measured; `None` if something is missing.
    #[must_use]
    pub fn of(book: &Book) -> Option<Self> {
        Some(Self {
            refusal: share(book, "refuse-d16", "/processors/servers_share")?,
            grant: share(book, "reserve-synced", "/processors/servers_share")?.max(leaders_part(book)?),
            shard: share(book, "reserve-synced", "/processors/busiest_server_thread/share")?,
            http: {
                let share = median(book, "http", "/processors/servers_share")?;
                share / median(book, "http", "/http/gateway_per_second")?
            },
            live: median(book, "live-10m", "/live/bytes_each")?,
            wait: median(book, "idle", "/result/latency_us/p50")? / 1e6,
        })
    }

    /// What a sale needs.
    #[must_use]
    pub fn size(&self, demand: &Demand) -> Size {
        let refused = demand.attempts - demand.grants;
        let cores = (refused * self.refusal + demand.grants * self.grant) / PART;
        let of_each = |all: f64| all / f64::from(demand.clusters.max(1));
        let (grants, live, unsent) = (of_each(demand.grants), of_each(demand.live), of_each(demand.unsent));
        let kept = LOG_KEPT.max(live * RECORD_BYTES);
        Size {
            cores: of_each(cores).ceil().max(2.0),
            memory: BASE + live * (self.live + RECORD_BYTES) + kept + unsent * FEED_BYTES,
            log: grants * LOG_BYTES,
            network: 2.0 * grants * LOG_BYTES + of_each(demand.attempts) * ANSWER_BYTES,
            in_flight: demand.grants * (self.wait + demand.slower),
            gateway_cores: (demand.attempts * self.http / PART).ceil(),
            thread: demand.grants / f64::from(demand.products) * self.shard,
        }
    }

    /// The examples, worked out.
    #[must_use]
    pub fn examples(&self) -> String {
        let mut table = String::from(
            "| sale | attempts/s | granted/s | live | clusters of 3 | cores a node | memory a node | log a node | leader sends | \
             under way | gateways' cores | of its shard's thread |\n| --- |",
        );
        table.push_str(&" --- |".repeat(11));
        table.push('\n');
        for demand in DEMANDS {
            let size = self.size(demand);
            let mega = |bytes: f64| format!("{:.1} MB/s", bytes / 1e6);
            let _ = writeln!(
                table,
                "| {} | {} | {} | {} | {} | {:.0} | {:.1} GiB | {} | {} | {} | {:.0} | {:.1}% |",
                demand.name,
                grouped(demand.attempts),
                grouped(demand.grants),
                grouped(demand.live),
                demand.clusters,
                size.cores,
                size.memory / f64::from(1 << 30),
                mega(size.log),
                mega(size.network),
                grouped(size.in_flight.ceil()),
                size.gateway_cores,
                size.thread * 100.0
            );
        }
        table
    }

    /// What they are, for people.
    #[must_use]
    pub fn told(&self) -> String {
        let micros = |seconds: f64| format!("{:.2} µs", seconds * 1e6);
        format!(
            "| letter | what | is | from |\n| --- | --- | --- | --- |\n\
             | *r* | processor time of a refusal | {} | refuse-d16 |\n\
             | *g* | processor time of a granted reserve on the leader: one node's, or half of three nodes' if that is more | {} | reserve-synced, reserve-3-nodes |\n\
             | *t* | of that on the one thread that owns the product | {} | reserve-synced |\n\
             | *h* | processor time of a request on a gateway | {} | http |\n\
             | *b* | memory of a live reservation | {:.1} bytes | memory |\n\
             | *w* | wait of one caller, three nodes | {:.2} ms | idle |\n",
            micros(self.refusal),
            micros(self.grant),
            micros(self.shard),
            micros(self.http),
            self.live,
            self.wait * 1e3
        )
    }
}

/// Half of what three nodes take together: the leader, which has the connections, takes more than a third.
fn leaders_part(book: &Book) -> Option<f64> {
    let processors = median(book, "reserve-3-nodes", "/processors/machine_processors")?;
    Some(share(book, "reserve-3-nodes", "/processors/servers_share")? * processors / 2.0)
}

/// A share of one processor, for each operation: in seconds.
fn share(book: &Book, probe: &str, pointer: &str) -> Option<f64> {
    Some(median(book, probe, pointer)? / median(book, probe, "/result/ops_per_second")?)
}

fn median(book: &Book, probe: &str, pointer: &str) -> Option<f64> {
    let values = book.kept.get(probe)?.values(pointer).map(|(_, value)| value);
    Samples::of(values).map(|samples| samples.median).filter(|median| *median > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs = Costs { refusal: 6e-7, grant: 1e-6, shard: 5e-7, http: 1.6e-5, live: 128.0, wait: 3e-4 };

    fn demand() -> Demand {
        Demand { name: "x", attempts: 1e6, grants: 5e5, products: 1, clusters: 1, live: 1e7, unsent: 1e6, slower: 7e-4 }
    }

    #[test]
    fn cores_are_twice_what_the_peak_needs() {
        let size = COSTS.size(&demand());
        // 500,000 refusals of 0.6 µs and as many grants of 1 µs are 0.8 cores.
        assert_eq!(size.cores, 2.0);
        assert_eq!(size.gateway_cores, 32.0);
        assert!(
            (size.in_flight - 500.0).abs() < 1e-6,
            "half a million a second, each a millisecond: {}",
            size.in_flight
        );
        assert!((size.thread - 0.25).abs() < 1e-9);
        assert!((size.log - 2.7e7).abs() < 1.0 && (size.network - 1.59e8).abs() < 1.0);
    }

    #[test]
    fn memory_is_records_and_what_lies_beside_them() {
        let size = COSTS.size(&demand());
        let wanted = BASE + 1e7 * (128.0 + 76.0) + 1e7 * 76.0 + 1e8;
        assert!((size.memory - wanted).abs() < 1.0);
        let few = COSTS.size(&Demand { live: 100.0, unsent: 0.0, ..demand() });
        assert!(few.memory > BASE + LOG_KEPT && few.memory < 1.01 * (BASE + LOG_KEPT));
    }

    #[test]
    fn clusters_share_the_work() {
        let (one, four) = (
            COSTS.size(&demand()),
            COSTS.size(&Demand { clusters: 4, attempts: 4e6, grants: 2e6, live: 4e7, unsent: 4e6, ..demand() }),
        );
        assert_eq!((four.cores, four.memory, four.log, four.network), (one.cores, one.memory, one.log, one.network));
        assert!((four.gateway_cores - 4.0 * one.gateway_cores).abs() < 1e-9, "gateways are counted all together");
        assert!((four.thread - 4.0 * one.thread).abs() < 1e-9, "one product is no faster on many clusters");
    }

    #[test]
    fn costs_need_everything_measured() {
        assert_eq!(Costs::of(&Book::default()), None);
        assert_eq!(COSTS.examples().lines().count(), 2 + DEMANDS.len());
        assert!(COSTS.told().contains("if that is more | 1.00 µs |"));
    }
}
