//! `doorbuster demo`: a whole flash sale on this machine, over real processes, sockets and disks, and the proof
//! of its outcome.
//!
//! It starts three servers, a gateway and a payment provider that does much wrong, lets every buyer arrive, kills the gateway
//! twice and the leading server once, waits until everything is sold, every order stored and no money on its way, and then
//! compares what the buyers heard with what the shards, the database and the provider's ledger have, one by one.

pub mod buyers;
pub mod cluster;
mod database;
pub mod disturbance;
pub mod front;
pub mod ledger;
pub mod plan;
pub mod ports;
pub mod process;
mod progress;
pub mod provider;
mod quiet;
mod report;
mod stage;
pub mod stats;
pub mod verdict;

use crate::error::CliError;
use crate::names::parse_duration;
use crate::output::{Output, line, pretty};
use crate::{clock, signals};
use clap::Args;
use disturbance::{GatewayKill, Kill};
use doorbuster_protocol::types::Millis;
use plan::Plan;
use progress::Progress;
use stage::Stage;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use verdict::Evidence;

/// How long nothing may be sold, once everybody has arrived, while there are units: longer than the payments of several who try
/// for the same unit, one after the other, are late.
const SOLD_OUT_WITHIN: Duration = Duration::from_secs(90);
/// How long the database may take to have every order; it may have been down.
const ORDERS_WITHIN: Duration = Duration::from_secs(60);

/// `doorbuster demo ...`
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster demo\n  \
    doorbuster demo --headless --json out.json\n  \
    doorbuster demo --units 50000 --buyers 300000\n  \
    doorbuster demo --database postgres://shop:secret@127.0.0.1/orders\n  \
    doorbuster demo --buyers 10000 --keep-running      then try it with curl\n\n\
    Everybody pays by the gateway at a payment provider that takes no money. What it is late with it tells when the\n\
    reservation is gone: the unit is bought again, or the money goes back. The provider does not slow the sale down: its\n\
    requests are not limited, a charge takes 50 to 250 ms, and 2048 payments are under way at most.\n\n\
    Exit code 0 only if exactly the stock was sold, each unit once, every acknowledged result survived, all replicas\n\
    are equal, the database has every order once, and in the provider's own ledger everything sold is charged once,\n\
    nothing else is, and what was owed is given back once; otherwise 1, with each item that is wrong.")]
pub struct DemoArgs {
    /// Units on sale
    #[arg(long, default_value_t = 100)]
    pub units: u32,
    /// Users who want one; each tries at least once
    #[arg(long, default_value_t = 1_000_000)]
    pub buyers: u64,
    /// How many in a hundred reserve over HTTP, the others through the client library; everybody pays over HTTP
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    pub http_percent: u8,
    /// First attempts offered a second [default: all buyers within 25 seconds]
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<u64>,
    /// How long a reservation is held [default: 3s; for more than 3000 units, a second for each 1000]
    #[arg(long, value_parser = parse_duration, value_name = "DURATION")]
    pub ttl: Option<Millis>,
    /// Cards that the payment provider declines, in a hundred charges
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=50), value_name = "PERCENT")]
    pub declined: u8,
    /// Requests whose first try the payment provider leaves without an answer: half of them it did not get, half it carried out
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    pub unknown: u8,
    /// Charges whose outcome the payment provider tells only after 12 s, when their reservation is gone
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=25), value_name = "PERCENT")]
    pub late: u8,
    /// Kill nothing: neither the leading server nor the gateway, twice, in the middle of the sale
    #[arg(long)]
    pub no_kill: bool,
    /// No progress bar
    #[arg(long)]
    pub headless: bool,
    /// Write the outcome to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep logs, ledger and data in this folder (new or empty) [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The order database: postgres://... [default: SQLite in the data folder]
    #[arg(long, env = "DOORBUSTER_DEMO_DATABASE", value_name = "URL")]
    pub database: Option<String>,
    /// Leave everything running at the end and print what to try, until Ctrl-C
    #[arg(long)]
    pub keep_running: bool,
    /// Shards of the cluster
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shards: u16,
    /// Keep-alive connections to the gateway
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub http_connections: u16,
    /// Seed of everything the buyers do, and of the payment provider's dice [default: a fresh one]
    #[arg(long)]
    pub seed: Option<u64>,
    /// A further field of every server's configuration, as TOML writes it; may be repeated
    #[arg(long, value_name = "FIELD=VALUE")]
    pub server_set: Vec<String>,
}

/// Runs it; Ctrl-C ends it and everything it started.
pub async fn run(args: DemoArgs, output: Output) -> Result<(), CliError> {
    let stop = signals::shutdown()?;
    let plan = Plan::new(&args)?;
    let progress = Progress::new(args.headless, plan.buyers);
    tokio::select! {
        outcome = Box::pin(whole(&args, plan, progress, output, stop.clone())) => outcome,
        () = interrupted(&stop, args.keep_running) => Err(CliError::failed("interrupted; everything it started is stopped")),
    }
}

/// With `--keep-running`, Ctrl-C is the regular end once the sale is over, so the sale itself listens then.
async fn interrupted(stop: &CancellationToken, keep_running: bool) {
    stop.cancelled().await;
    if keep_running {
        // The sale sees the token too and ends within this time if it was only waiting for it.
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}

async fn whole(
    args: &DemoArgs,
    plan: Plan,
    mut progress: Progress,
    _output: Output,
    stop: CancellationToken,
) -> Result<(), CliError> {
    let stage = Stage::set(args, &plan, &progress).await?;
    let outcome = act(args, plan.clone(), &mut progress, &stage).await;
    progress.finish();
    let holds = match outcome {
        Ok(holds) => holds,
        Err(error) => {
            let error = stage.explain(error);
            stage.strike(&progress, true).await;
            return Err(error);
        }
    };
    if args.keep_running && !stop.is_cancelled() {
        line(&stage.what_to_try(&plan).await?);
        stop.cancelled().await;
    }
    stage.strike(&progress, args.data.is_some() || !holds).await;
    if holds { Ok(()) } else { Err(CliError::wrong("the sale does not hold; what is wrong is listed above")) }
}

/// The sale itself, and its verdict.
async fn act(args: &DemoArgs, plan: Plan, progress: &mut Progress, stage: &Stage) -> Result<bool, CliError> {
    let sale = stage.open(plan).await?;
    progress.step(&format!(
        "the sale opens: {} buyers, {} units, seed {}",
        sale.plan.buyers, sale.plan.units, sale.plan.seed
    ));
    let (kills, failures) = sell(args, progress, stage, &sale).await;
    progress.step("everybody was answered; waiting for the last payments and orders, then comparing everything");
    let evidence = gather(stage, &sale, kills, failures).await?;
    let verdict = verdict::judge(&sale.plan, &evidence);
    progress.finish();
    if let Some(path) = &args.json {
        let text = pretty(&report::json(&sale.plan, &evidence, &verdict));
        std::fs::write(path, text + "\n")
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
    }
    line(&report::table(&sale.plan, &evidence, &verdict));
    for problem in &verdict.problems {
        line(&format!("WRONG: {problem}"));
    }
    line(&report::sentence(&sale.plan, &evidence, &verdict));
    Ok(verdict.holds())
}

/// What was killed.
#[derive(Debug, Default)]
struct Kills {
    leader: Option<Kill>,
    gateways: Vec<GatewayKill>,
}

/// Lets everybody come, and come again, until everything is sold.
async fn sell(
    args: &DemoArgs,
    progress: &mut Progress,
    stage: &Stage,
    sale: &Arc<buyers::Sale>,
) -> (Kills, Vec<String>) {
    let arrivals = async {
        stage.doors().arrivals(sale).await;
        sale.everybody_came.cancel();
    };
    let come_again = stage.doors().come_again(sale, (sale.plan.rate / 20).max(20));
    let killing = kill(args, stage, sale);
    let watched = watch(progress, stage, sale);
    let whole = async { tokio::join!(arrivals, come_again, killing, watched) };
    let limit = sale.plan.longest();
    let Ok(((), (), (kills, mut failures), sold_out)) = tokio::time::timeout(limit, whole).await else {
        sale.over.cancel();
        return (Kills::default(), vec![format!("the sale had not ended after {}s", limit.as_secs())]);
    };
    failures.extend(sold_out.err().map(|error| error.message));
    sale.visits.close();
    if tokio::time::timeout(SOLD_OUT_WITHIN, sale.visits.wait()).await.is_err() {
        let open = sale.visits.len();
        failures.push(format!("{open} visits had not ended {}s after the sale", SOLD_OUT_WITHIN.as_secs()));
    }
    (kills, failures)
}

/// Kills what is to be killed, each at its time, and starts it again; and what went wrong with that.
async fn kill(args: &DemoArgs, stage: &Stage, sale: &buyers::Sale) -> (Kills, Vec<String>) {
    if args.no_kill {
        return (Kills::default(), Vec::new());
    }
    let (leader, gateways) = tokio::join!(
        disturbance::kill_the_leader(sale, stage.cluster(), stage.client()),
        disturbance::kill_the_gateways(sale, stage.front(), stage.client())
    );
    let mut failures = Vec::new();
    failures.extend(leader.as_ref().err().map(|error| format!("killing and restarting the leader: {}", error.message)));
    failures
        .extend(gateways.as_ref().err().map(|error| format!("killing and restarting the gateway: {}", error.message)));
    (Kills { leader: leader.ok(), gateways: gateways.unwrap_or_default() }, failures)
}

/// Shows the sale until everybody came and everything is sold, and then closes it; also when nothing is sold any more.
async fn watch(progress: &mut Progress, stage: &Stage, sale: &buyers::Sale) -> Result<(), CliError> {
    let (mut last, mut since) = (0, clock::now());
    let outcome = loop {
        let product = tokio::time::timeout(Duration::from_secs(1), stage.client().product(plan::PRODUCT)).await;
        let product = product.ok().and_then(Result::ok).map(|reply| reply.product);
        progress.show(sale, product.as_ref());
        let came = sale.everybody_came.is_cancelled();
        if came && product.as_ref().is_some_and(|product| product.sold.0 >= sale.plan.units) {
            break Ok(());
        }
        let sold = product.map_or(last, |product| product.sold.0);
        if !came || sold != last {
            (last, since) = (sold, clock::now());
        }
        if since.elapsed() > SOLD_OUT_WITHIN {
            let seconds = SOLD_OUT_WITHIN.as_secs();
            break Err(CliError::wrong(format!("{sold} units are sold, and for {seconds}s it was no more")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    sale.over.cancel();
    outcome
}

async fn gather(
    stage: &Stage,
    sale: &buyers::Sale,
    kills: Kills,
    mut failures: Vec<String>,
) -> Result<Evidence, CliError> {
    failures.extend(quiet::wait(stage.client(), stage.provider().url()).await?);
    let audit = stage.audit(ORDERS_WITHIN).await?;
    let reservations = crate::audit::listing::reservations(stage.client()).await?;
    let (heard, ledger_failed) = sale.ledger.close();
    let happened = crate::audit::simulator::happened(stage.provider().url()).await?;
    let totals = sale.stats.totals();
    let took = totals.last.map_or(Duration::ZERO, |last| last.saturating_duration_since(sale.opened));
    let Kills { leader: kill, gateways } = kills;
    Ok(Evidence { heard, ledger_failed, reservations, audit, happened, totals, kill, gateways, took, failures })
}
