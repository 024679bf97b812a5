//! One bench, from the first operation to its report.

use super::callers::Callers;
use super::capacity::Search;
use super::cpu::Shares;
use super::event::Aftermath;
use super::generator::{Load, Rhythm};
use super::live::Live;
use super::native::Native;
use super::options::{LoadArgs, PlaceArgs};
use super::progress::Progress;
use super::recorder::Window;
use super::report::Report;
use super::site::Site;
use super::workload::Prepared;
use crate::clock;
use crate::error::CliError;
use doorbuster_protocol::types::{FeedPosition, ShardId};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Where the search for the capacity begins, in operations a second.
const FIRST_RATE: f64 = 10_000.0;
/// How often the order feed is acknowledged, as an order writer would.
const ACKNOWLEDGE: Duration = Duration::from_millis(20);

/// What is asked of whom, and how.
pub struct Bench<'a> {
    /// The workload's name.
    pub name: &'static str,
    /// What is asked, of what.
    pub prepared: &'a Prepared,
    /// How.
    pub args: &'a LoadArgs,
    /// Where, for the report.
    pub place: &'a PlaceArgs,
    /// Where.
    pub site: &'a Site,
}

impl Bench<'_> {
    /// Does it.
    ///
    /// # Errors
    /// If the cluster cannot be reached, or what should happen to it cannot be made to happen.
    pub async fn measure(&self) -> Result<Report, CliError> {
        let acknowledging = acknowledge_feeds(self.site);
        let report = if self.args.find_capacity {
            self.find_capacity().await
        } else {
            let closed = Rhythm::Closed(self.args.depth);
            self.offer(self.args.rate.map_or(closed, |rate| Rhythm::Open(f64::from(rate)))).await
        };
        acknowledging.abort();
        report
    }

    /// The report of the highest rate that met the objective, or else of the last that did not.
    async fn find_capacity(&self) -> Result<Report, CliError> {
        let mut search = Search::from(self.args.rate.map_or(FIRST_RATE, f64::from));
        let (mut best, mut last, mut steps) = (None, None, Vec::new());
        while let Some(rate) = search.next() {
            let report = self.offer(Rhythm::Open(rate)).await?;
            if self.prepared.work.has_ended() {
                return Err(CliError::usage("--find-capacity ran out of reservations: give a higher --prepared"));
            }
            let step = report.step(rate, self.args.slo_p99);
            Progress::say(&step.to_string());
            search.tell(step.met);
            steps.push(step);
            if step.met { best = Some(report) } else { last = Some(report) }
        }
        let report = best.or(last).ok_or_else(|| CliError::usage("--rate: too low or too high to begin with"))?;
        Ok(report.with_steps(steps))
    }

    async fn offer(&self, rhythm: Rhythm) -> Result<Report, CliError> {
        let (args, prepared) = (self.args, self.prepared);
        let from = prepared.from.unwrap_or_else(|| clock::now() + args.warm_up());
        let window = Window { from, until: from + args.duration() };
        let start = from - args.warm_up();
        tokio::time::sleep_until(start.into()).await;
        let (threads, cpus) = (args.threads, args.generator_cpus.clone());
        let load = Load { threads, connections: args.connections, rhythm, cpus, start, window };
        let asked = Native::new(prepared.work.clone(), self.site.guide(prepared.product));
        let before = self.site.used();
        let bar = Progress::over(self.name, &prepared.work, window.until);
        let event = async {
            match &prepared.event {
                Some(event) => event(window).happen(self.site).await,
                None => Ok(Aftermath::default()),
            }
        };
        let load = async {
            match args.callers {
                Some(count) => Callers { count, load }.run(&prepared.work, self.site.config()).await,
                None => load.run(&asked).await,
            }
        };
        let (outcome, aftermath) = tokio::join!(load, event);
        drop(bar);
        let (outcome, aftermath) = (outcome?, aftermath?);
        let servers = before.zip(self.site.used()).map(|((before, _), (after, pinned))| (after.since(&before), pinned));
        let machine = std::thread::available_parallelism().map_or(1, usize::from);
        let generator = (usize::from(args.threads), outcome.used);
        let told = prepared.live.as_ref().map(Live::told).unwrap_or_default();
        let shares = Shares { machine, elapsed: outcome.elapsed, generator, servers };
        Ok(Report::new(self.name, args, self.place, outcome.recorder, shares).with(told.and(aftermath)))
    }
}

/// Acknowledges what is on the order feeds without storing it, so that they do not fill.
#[must_use]
pub fn acknowledge_feeds(site: &Site) -> AbortHandle {
    let client = site.client().clone();
    let shards: Vec<_> = (0..client.shards()).map(ShardId).collect();
    let acknowledging = async move {
        loop {
            for shard in &shards {
                // A shard without a leader is asked again in the next round.
                let Ok(page) = client.feed(*shard, FeedPosition(u64::MAX), 1).await else { continue };
                if page.last > page.acknowledged {
                    let _ = client.acknowledge_feed(*shard, page.last).await;
                }
            }
            tokio::time::sleep(ACKNOWLEDGE).await;
        }
    };
    tokio::spawn(acknowledging).abort_handle()
}
