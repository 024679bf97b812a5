//! `doorbuster bench`: how fast a cluster answers, and who was full meanwhile.
//!
//! Rooms: `options` is what it can be told; `site` the cluster that is measured; `work` what is asked; `generator` the
//! threads that ask, with `wire` one connection, `dialect` what it speaks, `native` Doorbuster's own, `post` HTTP, and
//! `schedule` an open loop's clock; `callers` who ask through the client library instead; `recorder` what they measure; `cpu`
//! who had the processors; `live` what reservations to begin with take; `event` what happens to the cluster meanwhile,
//! `away` a follower that comes back, `admin` what servers say of their snapshots; `capacity` the search for the highest
//! rate; `snapshot` and `http` the workloads that take several parts, with `hello` a bare server to compare with;
//! `stampede` the real mix, by the steps of a `crowd`; `report`
//! what is printed, `page` the page that can be handed on.

mod admin;
mod away;
mod callers;
mod capacity;
pub mod cpu;
mod crowd;
pub mod dialect;
mod event;
pub mod generator;
mod hello;
mod http;
mod live;
pub mod native;
pub mod options;
pub mod page;
mod post;
mod progress;
pub mod recorder;
mod report;
mod run;
mod schedule;
pub mod site;
mod snapshot;
mod stampede;
mod wire;
pub mod work;
mod workload;

pub use report::machine;

use crate::error::CliError;
use crate::output::Output;
use crate::signals;
use clap::{Args, Subcommand};
use hello::HelloArgs;
use report::Report;
use run::Bench;
use site::Site;
use workload::{PlainArgs, Workload};

const EXAMPLES: &str = "Examples:\n  \
    doorbuster bench refuse --spawn 1 --depth 16 --server-cpus 0 --generator-cpus 1\n  \
    doorbuster bench reserve --spawn 3 --depth 64                 three nodes of its own, as fast as they go\n  \
    doorbuster bench reserve --spawn 3 --find-capacity --slo-p99 10ms --duration 3s --report capacity.html\n  \
    doorbuster bench failover --spawn 3 --rate 20000              the longest that anybody waits when the leader is killed\n  \
    doorbuster bench catch-up --spawn 3 --missed 1000000 --rate 50000   a follower that comes back\n  \
    doorbuster bench snapshot --spawn 3 --rate 50000              p99.9 without snapshots, with them, and while one is installed\n  \
    doorbuster bench http --spawn 1 --gateway-cpus 0 --server-cpus 1 --generator-cpus 1    a gateway beside a bare hyper server\n  \
    doorbuster bench sale --spawn 3 --stock 100000 --depth 16     a stampede; who is granted a unit pays, or does not\n  \
    doorbuster bench reserve --spawn 3 --callers 50               through the client library, one request each under way\n  \
    doorbuster bench refuse --rate 50000 --nodes 127.0.0.1:7400   50,000 attempts/s at a running cluster\n\n\
    It makes products of its own and leaves them there. Exit code 1 if anything was answered otherwise than the workload expects.";

/// `doorbuster bench ...`
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    #[command(flatten)]
    Work(Box<Workload>),
    /// A bare HTTP server, which `http` starts for itself
    #[command(hide = true)]
    Hello(HelloArgs),
}

impl BenchArgs {
    /// Whether a program reads.
    #[must_use]
    pub const fn wants_json(&self) -> bool {
        match &self.task {
            Task::Work(work) => work.plain().place.connection.json,
            Task::Hello(_) => false,
        }
    }
}

/// Runs it. Ctrl-C ends it early; servers that were started for it, and their folder, are gone then too.
pub async fn run(args: BenchArgs, output: Output) -> Result<(), CliError> {
    let stop = signals::shutdown()?;
    tokio::select! {
        done = perform(args.task, output) => done,
        () = stop.cancelled() => Err(CliError::failed("stopped before the end: nothing was measured")),
    }
}

async fn perform(task: Task, output: Output) -> Result<(), CliError> {
    match task {
        Task::Work(work) => bench(&work, output).await,
        Task::Hello(args) => hello::serve(args).await,
    }
}

async fn bench(work: &Workload, output: Output) -> Result<(), CliError> {
    let plain = work.plain();
    work.validate()?;
    let (report, site) = match work {
        Workload::Snapshot(parts) => parts.measure(work).await?,
        Workload::Http(http) => http.measure(work).await?,
        Workload::Sale(sale) => sale.measure(work).await?,
        _ => whole(work, plain).await?,
    };
    report.print(output);
    if let Some(path) = &plain.load.report {
        report.write_page(path)?;
    }
    site.close().await?;
    report.verdict()
}

/// A workload that is measured once, on one cluster.
async fn whole(work: &Workload, PlainArgs { load, place }: &PlainArgs) -> Result<(Report, Site), CliError> {
    let site = Site::open(place).await?;
    let prepared = work.prepare(&site).await?;
    let bench = Bench { name: work.name(), prepared: &prepared, args: load, place, site: &site };
    let report = bench.measure().await?;
    Ok((report, site))
}
