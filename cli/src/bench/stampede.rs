//! The real mix at one product, `bench sale`: offered, and then counted. What buyers heard must be what the cluster says.

use super::cpu::Shares;
use super::crowd::{Crowd, Mix};
use super::event::Aftermath;
use super::generator::{Load, Rhythm};
use super::progress::Progress;
use super::recorder::Window;
use super::report::Report;
use super::run::acknowledge_feeds;
use super::site::Site;
use super::workload::{PlainArgs, Workload};
use crate::clock;
use crate::error::CliError;
use crate::names::parse_duration;
use crate::output::grouped;
use clap::Args;
use doorbuster_protocol::reply::ProductView;
use doorbuster_protocol::types::{Millis, ProductId};
use serde_json::json;
use std::time::Duration;

/// When the load is over, units that are held come back by time, and some time later at most.
const GRACE: Duration = Duration::from_secs(20);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// What is on sale, and what its buyers do.
#[derive(Args, Debug)]
pub struct SaleArgs {
    /// Units on sale
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=40_000_000))]
    pub stock: u32,
    /// How long each unit is held, and a payment may take
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "DURATION")]
    pub ttl: Millis,
    #[command(flatten)]
    mix: Mix,
    /// What all workloads can be told
    #[command(flatten)]
    pub plain: PlainArgs,
}

impl SaleArgs {
    /// Whether it can be done.
    ///
    /// # Errors
    /// Which flags do not go together.
    pub fn validate(&self) -> Result<(), CliError> {
        let Mix { pay_share, walk_away_share, .. } = self.mix;
        if pay_share + walk_away_share > 100 {
            return Err(CliError::usage(format!(
                "--pay-share {pay_share} --walk-away-share {walk_away_share}: together at most 100"
            )));
        }
        if self.plain.load.callers.is_some() {
            return Err(CliError::usage("--callers: the buyers of sale ask over --connections; leave it out"));
        }
        if self.plain.load.find_capacity {
            return Err(CliError::usage("--find-capacity: a sale happens once; give a --rate"));
        }
        Ok(())
    }

    /// Lets them come, and counts.
    ///
    /// # Errors
    /// If the cluster cannot be started or reached.
    pub async fn measure(&self, work: &Workload) -> Result<(Report, Site), CliError> {
        let PlainArgs { load: args, place } = &self.plain;
        let site = Site::open(place).await?;
        let prepared = work.prepare(&site).await?;
        let crowd = Crowd::new(self.mix, prepared.product, site.guide(prepared.product));
        let all = crowd.all();
        let start = clock::now();
        let from = start + args.warm_up();
        let window = Window { from, until: from + args.duration() };
        let rhythm = args.rate.map_or(Rhythm::Closed(args.depth), |rate| Rhythm::Open(f64::from(rate)));
        let (threads, connections, cpus) = (args.threads, args.connections, args.generator_cpus.clone());
        let acknowledging = acknowledge_feeds(&site);
        let before = site.used();
        let bar = Progress::over(work.name(), all.buyers(), window.until);
        let outcome = Load { threads, connections, rhythm, cpus, start, window }.run(&crowd).await?;
        drop(bar);
        let servers = before.zip(site.used()).map(|((before, _), (after, pinned))| (after.since(&before), pinned));
        let machine = std::thread::available_parallelism().map_or(1, usize::from);
        let shares =
            Shares { machine, elapsed: outcome.elapsed, generator: (usize::from(threads), outcome.used), servers };
        let left = self.settled(&site, prepared.product).await?;
        acknowledging.abort();
        let unsure = outcome.recorder.failures().contains_key("unanswered");
        let told = self.tell(&left, all.buyers().taken(), all.counts(), unsure);
        let told = told.and(prepared.live.map(|live| live.told()).unwrap_or_default());
        Ok((Report::new(work.name(), args, place, outcome.recorder, shares).with(told), site))
    }

    /// The product once nothing is held any more, or when that should be so.
    async fn settled(&self, site: &Site, product: ProductId) -> Result<ProductView, CliError> {
        let deadline = clock::now() + Duration::from_millis(self.ttl.0) * 2 + GRACE;
        loop {
            let view = site.client().product(product).await?.product;
            if view.held.get() == 0 || clock::now() > deadline {
                return Ok(view);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn tell(&self, left: &ProductView, buyers: u64, (granted, confirmed): (u64, u64), unsure: bool) -> Aftermath {
        let (sold, available, held) =
            (u64::from(left.sold.get()), u64::from(left.available.get()), u64::from(left.held.get()));
        let stock = u64::from(self.stock);
        let fits = (sold == confirmed || unsure && sold > confirmed) && sold + available == stock && held == 0;
        let counts = format!(
            "{} of {} units, as {} buyers of {} heard; {} grants came to nothing, {} units are left",
            grouped(sold as f64),
            grouped(stock as f64),
            grouped(confirmed as f64),
            grouped(buyers as f64),
            grouped(granted.saturating_sub(confirmed) as f64),
            grouped(available as f64)
        );
        let field = json!({
            "stock": stock, "sold": sold, "available": available, "held": held, "buyers": buyers, "granted": granted,
            "confirmed": confirmed, "fits": fits,
        });
        let wrong = format!(
            "{confirmed} buyers heard that theirs is confirmed; the cluster has sold {sold}, holds {held} and has {available} left of {stock}"
        );
        Aftermath {
            rows: vec![("sold".to_owned(), counts)],
            fields: vec![("sale", field)],
            wrong: (!fits).then_some(wrong),
            ..Aftermath::default()
        }
    }
}
