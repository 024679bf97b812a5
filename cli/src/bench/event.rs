//! What happens to the cluster while it is measured.

use super::away::Away;
use super::site::Site;
use crate::clock;
use crate::error::CliError;
use crate::output::grouped;
use doorbuster_protocol::types::{ProductId, shard_of};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often it is looked how many units are still held.
const LOOK: Duration = Duration::from_millis(5);
/// A leader is looked for so long.
const FIND: Duration = Duration::from_secs(10);

/// What happens.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The leader of this product's shard is killed (`kill -9`) at this moment.
    LeaderKilled(ProductId, Instant),
    /// So many reservations of this product fall due between these moments.
    Storm {
        /// Of which product.
        product: ProductId,
        /// How many.
        count: u32,
        /// The first deadline.
        first: Instant,
        /// The last one.
        last: Instant,
        /// How long it is watched at most.
        until: Instant,
    },
    /// A follower that was away is started at this moment; the load ends at that one.
    Return(Away, Instant, Instant),
}

/// A name, and `[n, latency in us]`: all but one of `n` operations took no longer.
pub type Curve = (&'static str, Vec<[f64; 2]>);

/// What came of it, as rows for people and fields for programs.
#[derive(Clone, Debug, Default)]
pub struct Aftermath {
    /// For people.
    pub rows: Vec<(String, String)>,
    /// For programs: names, and what there is to say.
    pub fields: Vec<(&'static str, Value)>,
    /// For the page: curves of percentiles to be compared.
    pub curves: Vec<Curve>,
    /// What should not have happened.
    pub wrong: Option<String>,
}

impl Aftermath {
    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self.fields.extend(other.fields);
        self.curves.extend(other.curves);
        self.wrong = self.wrong.or(other.wrong);
        self
    }
}

impl Event {
    /// Makes it happen, or watches it happen.
    ///
    /// # Errors
    /// If it could not be made to happen, or not be watched.
    pub async fn happen(&self, site: &Site) -> Result<Aftermath, CliError> {
        match *self {
            Self::LeaderKilled(product, at) => {
                tokio::time::sleep_until(at.into()).await;
                let cluster = site
                    .cluster()
                    .ok_or_else(|| CliError::usage("failover kills a node of its own: give --spawn 3"))?;
                let leader = cluster.leader(site.client(), shard_of(product, site.client().shards()), FIND).await?;
                cluster.kill(leader)?;
                Ok(Aftermath {
                    rows: vec![("killed".to_owned(), format!("node {leader}, which led, in the middle of it"))],
                    fields: vec![("killed", json!({ "node": leader.0 }))],
                    ..Aftermath::default()
                })
            }
            Self::Return(away, at, until) => Ok(away.come_back(site, at, until).await?.told()),
            Self::Storm { product, count, first, last, until } => {
                watch(site, product, count, (first, last, until)).await
            }
        }
    }
}

async fn watch(
    site: &Site,
    product: ProductId,
    count: u32,
    (first, last, until): (Instant, Instant, Instant),
) -> Result<Aftermath, CliError> {
    tokio::time::sleep_until((first - LOOK).into()).await;
    let held_before = site.client().product(product).await?.product.held.get();
    if held_before != count {
        return Err(CliError::failed(format!(
            "{held_before} of {count} reservations are held before the first is due"
        )));
    }
    loop {
        let held = site.client().product(product).await?.product.held.get();
        let now = clock::now();
        if held == 0 {
            let took = now.saturating_duration_since(first);
            let late = now.saturating_duration_since(last);
            let rate = f64::from(count) / took.as_secs_f64().max(f64::MIN_POSITIVE);
            let text = format!(
                "{} units within {:.3} s of the first deadline, {}/s; the last {:.0} ms after its own",
                grouped(f64::from(count)),
                took.as_secs_f64(),
                grouped(rate),
                late.as_secs_f64() * 1e3
            );
            let field = json!({
                "units": count, "seconds": took.as_secs_f64(), "units_per_second": rate.round(),
                "last_after_deadline_ms": late.as_secs_f64() * 1e3,
            });
            return Ok(Aftermath {
                rows: vec![("came back".to_owned(), text)],
                fields: vec![("came_back", field)],
                ..Aftermath::default()
            });
        }
        if now >= until {
            let wrong = format!("{held} of {count} units had not come back when the time that is measured was over");
            return Ok(Aftermath { wrong: Some(wrong), ..Aftermath::default() });
        }
        tokio::time::sleep(LOOK).await;
    }
}
