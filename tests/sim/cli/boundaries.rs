//! A crash at every I/O boundary: a short run is played again and again, and each time one machine stops in the next of its
//! disk operations, before it takes effect or after, as the seed has it; until there is no next one. What was not synced is
//! kept sector by sector or lost.

use std::sync::atomic::{AtomicBool, Ordering};

use super::args::Args;
use super::job::Report;
use super::pool::Pool;
use super::recipe::Recipe;
use super::sweep;

/// What a run has so that its disks see everything that they can see, and little of it.
const CHANGES: &str = "faults=torn-writes=100,unsynced-lost=100,message-delay=10 nodes=3 span-ms=2500 election-ms=200 \
                       snapshot-entries=25 segment-bytes=65536 wishes=40";

/// Runs so many scenarios. Whether no promise was broken.
///
/// # Errors
/// Workers cannot be had.
pub fn run(args: &Args, scenarios: u64) -> Result<bool, String> {
    let mut broken = 0;
    for seed in 0..scenarios {
        let (node, base) = (seed % 3 + 1, format!("seed={seed} {CHANGES}").parse::<Recipe>()?);
        let found = every_operation(args, &base, node)?;
        println!("seed {seed}, node {node}: stopped in each of {} operations, {} broken", found.0, found.1);
        broken += found.1;
    }
    Ok(broken == 0)
}

/// Operations in which the node was stopped, and runs that broke a promise.
fn every_operation(args: &Args, base: &Recipe, node: u64) -> Result<(u64, u64), String> {
    let pool = Pool { jobs: args.jobs(), patience: args.patience(), plant: None };
    let over = AtomicBool::new(false);
    let recipes = (1u64..)
        .take_while(|_| !over.load(Ordering::Relaxed))
        .map(|operation| base.with("crash-at", &format!("{node}:{operation}")));
    let (mut stopped, mut broken) = (0, 0);
    pool.run(recipes, |recipe, report| {
        match has_stopped(&report) {
            true => stopped += 1,
            false => over.store(true, Ordering::Relaxed),
        }
        if let Some(found) = report.broken {
            sweep::tell(recipe, &found);
            broken += 1;
        }
        broken < 8
    })?;
    Ok((stopped, broken))
}

/// Nothing else stops a machine in these runs. A run that broke a promise may have ended before.
fn has_stopped(report: &Report) -> bool {
    let count = |name: &str| report.counters.get(name).copied().unwrap_or(0);
    report.broken.is_some() || count("machines_crashed") + count("processes_killed") > 0
}
