//! `doorbuster bench`: how fast a cluster answers, and who was full meanwhile.
//!
//! Rooms: `options` is what it can be told; `site` the cluster that is measured; `work` what is asked; `generator` the
//! threads that ask, with `wire` one connection and `schedule` an open loop's clock; `recorder` what they measure; `cpu`
//! who had the processors; `report` what is printed, `page` the page that can be handed on.

mod cpu;
mod generator;
mod options;
mod page;
mod recorder;
mod report;
mod schedule;
mod site;
mod wire;
mod work;

use crate::error::CliError;
use crate::names::parse_duration;
use crate::output::Output;
use crate::{clock, entropy};
use clap::{Args, Subcommand};
use cpu::Shares;
use doorbuster_protocol::types::{Millis, ProductId};
use generator::{Load, Rhythm};
use options::{LoadArgs, PlaceArgs};
use recorder::Window;
use report::Report;
use site::Site;
use std::time::Duration;
use tokio::task::AbortHandle;
use work::{Ask, Work};

/// Reservations are prepared over so many connections, each with so many under way.
const PREPARING: (u16, u16) = (8, 512);
/// Preparing may take so long.
const PREPARE_WITHIN: Duration = Duration::from_secs(600);
/// How often the order feed is acknowledged, as an order writer would.
const ACKNOWLEDGE: Duration = Duration::from_millis(20);

const EXAMPLES: &str = "Examples:\n  \
    doorbuster bench refuse --spawn 1 --depth 16 --server-cpus 0 --generator-cpus 1\n  \
    doorbuster bench reserve --spawn 3 --depth 64                 three nodes of its own, as fast as they go\n  \
    doorbuster bench refuse --rate 50000 --nodes 127.0.0.1:7400   50,000 attempts/s at a running cluster\n\n\
    It makes products of its own and leaves them there. Exit code 1 if anything was answered otherwise than the workload expects.";

/// `doorbuster bench ...`
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(subcommand)]
    work: Workload,
}

#[derive(Subcommand, Debug)]
enum Workload {
    /// Reserves of a product that is sold out
    Refuse(PlainArgs),
    /// Reserves that are all granted
    Reserve(HoldArgs),
    /// Reservations that are sold
    Confirm(PreparedArgs),
    /// Reservations that are given back
    Release(PreparedArgs),
}

#[derive(Args, Debug)]
struct PlainArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Args, Debug)]
struct HoldArgs {
    /// How long each reservation is held
    #[arg(long, default_value = "1h", value_parser = parse_duration, value_name = "DURATION")]
    ttl: Millis,
    #[command(flatten)]
    plain: PlainArgs,
}

#[derive(Args, Debug)]
struct PreparedArgs {
    /// Reservations made before; it ends when there are no more
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(1..=40_000_000))]
    prepared: u32,
    #[command(flatten)]
    plain: PlainArgs,
}

impl BenchArgs {
    /// Whether a program reads.
    #[must_use]
    pub const fn wants_json(&self) -> bool {
        self.plain().place.connection.json
    }

    const fn plain(&self) -> &PlainArgs {
        match &self.work {
            Workload::Refuse(plain) => plain,
            Workload::Reserve(hold) => &hold.plain,
            Workload::Confirm(prepared) | Workload::Release(prepared) => &prepared.plain,
        }
    }
}

impl Workload {
    const fn name(&self) -> &'static str {
        match self {
            Self::Refuse(_) => "refuse",
            Self::Reserve(_) => "reserve",
            Self::Confirm(_) => "confirm",
            Self::Release(_) => "release",
        }
    }
}

/// Runs it.
pub async fn run(args: BenchArgs, output: Output) -> Result<(), CliError> {
    let PlainArgs { load, place } = args.plain();
    load.validate()?;
    let site = Site::open(place).await?;
    let (product, work) = prepare(&args.work, load, &site).await?;
    let acknowledging = acknowledge_feeds(&site);
    let report = measure(args.work.name(), &work, product, load, place, &site).await;
    acknowledging.abort();
    let report = report?;
    report.print(output);
    if let Some(path) = &load.report {
        report.write_page(path)?;
    }
    site.close().await?;
    report.verdict()
}

/// The hot product, in the state that the workload begins with, and the work.
async fn prepare(workload: &Workload, load: &LoadArgs, site: &Site) -> Result<(ProductId, Work), CliError> {
    let series = entropy::number();
    let hour = Millis(3_600_000);
    let (product, work) = match workload {
        Workload::Refuse(_) => {
            let product = site.sold_out().await?;
            (product, Work::endless(Ask::Refusal, product, series))
        }
        Workload::Reserve(hold) => {
            let product = site.plenty(hold.ttl).await?;
            (product, Work::endless(Ask::Unit, product, series))
        }
        Workload::Confirm(prepared) | Workload::Release(prepared) => {
            let ask = if matches!(workload, Workload::Confirm(_)) { Ask::Confirmation } else { Ask::Release };
            let (product, count) = (site.plenty(hour).await?, u64::from(prepared.prepared));
            fill(site, product, series, count).await?;
            (product, Work::of(ask, product, series, count))
        }
    };
    if load.live > 0 {
        let other = if matches!(workload, Workload::Refuse(_)) { site.plenty(hour).await? } else { product };
        fill(site, other, entropy::number(), u64::from(load.live)).await?;
    }
    Ok((product, work))
}

/// Makes so many reservations.
async fn fill(site: &Site, product: ProductId, series: u64, count: u64) -> Result<(), CliError> {
    let start = clock::now();
    let load = Load {
        threads: 1,
        connections: PREPARING.0,
        rhythm: Rhythm::Closed(PREPARING.1),
        cpus: None,
        start,
        window: Window { from: start, until: start + PREPARE_WITHIN },
    };
    let outcome = load.run(&Work::of(Ask::Unit, product, series, count), &site.guide(product)).await?;
    let failures = outcome.recorder.failures();
    if outcome.recorder.measured() == count && failures.is_empty() {
        return Ok(());
    }
    Err(CliError::failed(format!("of {count} reservations to begin with, these were not made: {failures:?}")))
}

async fn measure(
    name: &str,
    work: &Work,
    product: ProductId,
    args: &LoadArgs,
    place: &PlaceArgs,
    site: &Site,
) -> Result<Report, CliError> {
    let start = clock::now();
    let from = start + args.warm_up();
    let load = Load {
        threads: args.threads,
        connections: args.connections,
        rhythm: args.rate.map_or(Rhythm::Closed(args.depth), |rate| Rhythm::Open(f64::from(rate))),
        cpus: args.generator_cpus.clone(),
        start,
        window: Window { from, until: from + args.duration() },
    };
    let before = site.used();
    let outcome = load.run(work, &site.guide(product)).await?;
    let servers = before.zip(site.used()).map(|((before, _), (after, pinned))| (after.since(&before), pinned));
    let machine = std::thread::available_parallelism().map_or(1, usize::from);
    let shares =
        Shares { machine, elapsed: outcome.elapsed, generator: (usize::from(args.threads), outcome.used), servers };
    Ok(Report::new(name, args, place, outcome.recorder, shares))
}

/// Acknowledges what is on the order feeds without storing it, so that they do not fill.
fn acknowledge_feeds(site: &Site) -> AbortHandle {
    let client = site.client().clone();
    let shards: Vec<_> = (0..client.shards()).map(doorbuster_protocol::types::ShardId).collect();
    tokio::spawn(async move {
        loop {
            for shard in &shards {
                // A shard without a leader is asked again in the next round.
                let Ok(page) = client.feed(*shard, doorbuster_protocol::types::FeedPosition(u64::MAX), 1).await else {
                    continue;
                };
                if page.last > page.acknowledged {
                    let _ = client.acknowledge_feed(*shard, page.last).await;
                }
            }
            tokio::time::sleep(ACKNOWLEDGE).await;
        }
    })
    .abort_handle()
}
