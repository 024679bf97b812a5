//! `doorbuster bench`: how fast a cluster answers. Open loop: attempts are offered at a fixed rate, each measured from the
//! moment it was meant to be sent, so that a stall is not hidden by a generator that waits for it.

use crate::connect::Connection;
use crate::demo::cluster::{Cluster, ClusterConfig};
use crate::demo::stats::{Answered, Stats, Totals};
use crate::error::CliError;
use crate::names::parse_duration;
use crate::output::{Output, facts, line};
use crate::{clock, entropy};
use clap::{Args, Subcommand};
use doorbuster_client::{Client, Config, Error};
use doorbuster_protocol::command::{LatePaymentPolicy, ProductSpec, Reserve, Target};
use doorbuster_protocol::types::{Currency, Millis, Money, ProductId, Quantity, ReservationId, Timestamp, UserId};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;

/// How often the generator looks what is due. Attempts that fall due in between are sent together, and measured from
/// their own instants.
const STEP: Duration = Duration::from_millis(1);
/// Offered before the measurement begins, so that connections and caches are warm.
const WARM_UP: Duration = Duration::from_secs(2);
/// One attempt may take so long.
const DEADLINE: Duration = Duration::from_secs(10);

/// `doorbuster bench ...`
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand, Debug)]
enum Work {
    /// Offer reserves of one sold-out product at a fixed rate
    Refuse(RefuseArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster bench refuse --spawn 3                            three nodes of its own, 100,000 attempts/s for 10 s\n  \
    doorbuster bench refuse --rate 50000 --nodes 127.0.0.1:7410  against a running cluster\n\n\
    Exit code 1 if an attempt was answered otherwise than sold_out.")]
struct RefuseArgs {
    /// Attempts offered a second
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// How long to measure, after two seconds of warming up
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    duration: Millis,
    /// Connections to each node
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
    /// Start so many nodes for it in a temporary folder (1, 3 or 5) instead of using a running cluster
    #[arg(long, value_name = "NODES")]
    spawn: Option<u16>,
    #[command(flatten)]
    connection: Connection,
}

impl BenchArgs {
    /// Whether a program reads.
    #[must_use]
    pub const fn wants_json(&self) -> bool {
        let Work::Refuse(args) = &self.work;
        args.connection.json
    }
}

/// Runs it.
pub async fn run(args: BenchArgs, output: Output) -> Result<(), CliError> {
    let Work::Refuse(args) = args.work;
    let folder = tempfile::tempdir().map_err(|error| CliError::failed(format!("no temporary folder: {error}")))?;
    let cluster = match args.spawn {
        Some(nodes) => Some(spawn(nodes, folder.path()).await?),
        None => None,
    };
    let config = cluster.as_ref().map_or_else(|| args.connection.config(), |cluster| Ok(cluster.client_config()))?;
    let connections = usize::from(args.connections);
    let client = Client::connect(Config { connections_per_node: connections, deadline: DEADLINE, ..config }).await?;
    let product = sell_out(&client).await?;
    offer(&client, product, args.rate, WARM_UP).await;
    let totals = offer(&client, product, args.rate, Duration::from_millis(args.duration.0)).await;
    report(&args, &totals, output);
    client.close().await;
    if let Some(cluster) = &cluster {
        cluster.shutdown().await?;
    }
    let others = totals.attempts - totals.refusals.get("sold_out").copied().unwrap_or_default();
    if others == 0 { Ok(()) } else { Err(CliError::wrong(format!("{others} attempts were not answered sold_out"))) }
}

async fn spawn(nodes: u16, folder: &std::path::Path) -> Result<Cluster, CliError> {
    if ![1, 3, 5].contains(&nodes) {
        return Err(CliError::usage(format!("--spawn {nodes}: a cluster has 1, 3 or 5 nodes")));
    }
    let binary = std::env::current_exe()
        .map_err(|error| CliError::failed(format!("cannot find this program's file: {error}")))?;
    Cluster::start(ClusterConfig { nodes, ..ClusterConfig::new(binary, folder) }).await
}

/// A new product with one unit, and that one sold.
async fn sell_out(client: &Client) -> Result<ProductId, CliError> {
    let product = ProductId(entropy::number() | 1);
    let spec = ProductSpec {
        product,
        name: "bench: sold out".to_owned(),
        stock: Quantity(1),
        price: Money { minor: 100, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(0),
        limit_per_reservation: Quantity(0),
        ttl: Millis(60_000),
        max_life: Millis(60_000),
        payment_cap: Millis(60_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::default(),
    };
    client.create_product(spec).await?;
    let (reservation, user) = (entropy::reservation_id(), UserId(1));
    client.reserve(Reserve { product, reservation, user, quantity: Quantity(1), ttl: Millis(0) }).await?;
    client.confirm(Target { product, reservation, user }).await?;
    Ok(product)
}

/// Offers `rate` attempts a second, each by a new user under a new id, and waits until all are answered.
async fn offer(client: &Client, product: ProductId, rate: u32, duration: Duration) -> Totals {
    let (stats, attempts) = (Arc::new(Stats::default()), TaskTracker::new());
    let total = u64::from(rate) * u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) / 1000;
    let base = u128::from(entropy::number()) << 64;
    let start = clock::now();
    let mut step = tokio::time::interval(STEP);
    step.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut sent = 0;
    while sent < total {
        step.tick().await;
        let due = (start.elapsed().as_micros() * u128::from(rate) / 1_000_000).min(u128::from(total));
        while u128::from(sent) < due {
            let meant = start + Duration::from_micros(sent * 1_000_000 / u64::from(rate));
            sent += 1;
            let (client, stats) = (client.clone(), Arc::clone(&stats));
            attempts.spawn(async move { attempt(&client, product, base | u128::from(sent), meant, &stats).await });
        }
    }
    attempts.close();
    attempts.wait().await;
    stats.totals()
}

async fn attempt(client: &Client, product: ProductId, id: u128, meant: Instant, stats: &Stats) {
    let reserve =
        Reserve { product, reservation: ReservationId(id), user: UserId(id), quantity: Quantity(1), ttl: Millis(0) };
    let answered = match client.reserve(reserve).await {
        Ok(_) => Answered::Granted,
        Err(Error::Refused(refusal)) => Answered::Refused(refusal.code().name().to_owned()),
        Err(error) => {
            stats.complain(error.to_string());
            Answered::Refused("failed".to_owned())
        }
    };
    stats.answered(meant, &answered);
}

fn report(args: &RefuseArgs, totals: &Totals, output: Output) {
    let latency = totals.refused_us;
    let milliseconds = |us: u64| format!("{}.{:03} ms", us / 1000, us % 1000);
    let people = || {
        let mut table = facts();
        table.add_row(["offered", &format!("{} attempts/s for {} s", args.rate, args.duration.0 / 1000)]);
        table.add_row(["answered", &totals.attempts.to_string()]);
        for (code, count) in &totals.refusals {
            table.add_row([code.as_str(), &count.to_string()]);
        }
        table.add_row(["p50", &milliseconds(latency.p50)]);
        table.add_row(["p99", &milliseconds(latency.p99)]);
        table.add_row(["p99.9", &milliseconds(latency.p999)]);
        table.add_row(["longest", &milliseconds(latency.max)]);
        table.to_string()
    };
    output.print(people, || {
        json!({
            "work": "refuse", "offered_per_second": args.rate, "seconds": args.duration.0 as f64 / 1000.0,
            "attempts": totals.attempts, "refusals": totals.refusals,
            "latency_us": { "p50": latency.p50, "p99": latency.p99, "p999": latency.p999, "max": latency.max },
        })
    });
    for complaint in &totals.complaints {
        line(complaint);
    }
}
