//! The workloads: what each can be told, and the state that it begins with.

use super::away::Away;
use super::event::Event;
use super::generator::{Load, Rhythm};
use super::http::HttpArgs;
use super::live::Live;
use super::native::Native;
use super::options::{LoadArgs, PlaceArgs};
use super::progress::Progress;
use super::recorder::{Recorder, Window};
use super::site::Site;
use super::snapshot::SnapshotArgs;
use super::stampede::SaleArgs;
use super::work::{Ask, Work};
use crate::error::CliError;
use crate::names::parse_duration;
use crate::{clock, entropy};
use clap::{Args, Subcommand};
use doorbuster_protocol::types::{Millis, ProductId, Quantity, Timestamp};
use std::time::{Duration, Instant};

/// Reservations are prepared over so many connections, each with so many under way.
const PREPARING: (u16, u16) = (8, 512);
/// Preparing may take so long.
const PREPARE_WITHIN: Duration = Duration::from_secs(600);
/// How long what is prepared is held.
const HOUR: Millis = Millis(3_600_000);
/// The reservations of a storm fall due within so long.
const STORM: Millis = Millis(1000);

/// What is measured.
#[derive(Subcommand, Debug)]
pub enum Workload {
    /// Reserves of a product that is sold out
    Refuse(PlainArgs),
    /// Reserves that are all granted
    Reserve(HoldArgs),
    /// Reservations that are sold
    Confirm(PreparedArgs),
    /// Reservations that are given back
    Release(PreparedArgs),
    /// Reserves that are all granted, while as many reservations fall due within one second
    ExpiryStorm(StormArgs),
    /// Reserves that are all granted, and the leader is killed in the middle (with --spawn 3 or 5)
    Failover(HoldArgs),
    /// Reserves that are all granted, while a follower comes back that missed many (with --spawn 3 or 5)
    CatchUp(MissingArgs),
    /// Reserves that are all granted: without snapshots, while they are taken, and while a follower comes back that needs one (with --spawn)
    #[command(mut_arg("live", |live| live.default_value("1000000")))]
    Snapshot(SnapshotArgs),
    /// Reserves of a product that is sold out, over HTTP through a gateway, in turns with a bare hyper server (with --spawn)
    Http(HttpArgs),
    /// A sale: a stampede of buyers at one product, of whom some pay, some give back and some walk away
    #[command(mut_arg("warm_up", |warm_up| warm_up.default_value("0ms")))]
    Sale(SaleArgs),
}

/// Nothing but the load and the place.
#[derive(Args, Debug)]
pub struct PlainArgs {
    #[command(flatten)]
    pub load: LoadArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// For how long, too.
#[derive(Args, Debug)]
pub struct HoldArgs {
    /// How long each reservation is held
    #[arg(long, default_value = "1h", value_parser = parse_duration, value_name = "DURATION")]
    ttl: Millis,
    #[command(flatten)]
    plain: PlainArgs,
}

/// How many there are, too.
#[derive(Args, Debug)]
pub struct PreparedArgs {
    /// Reservations made before; it ends when there are no more
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(1..=40_000_000))]
    prepared: u32,
    #[command(flatten)]
    plain: PlainArgs,
}

/// How many fall due, too.
#[derive(Args, Debug)]
pub struct StormArgs {
    /// Reservations that fall due within one second, at the beginning of what is measured
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    due: u32,
    /// How many can surely be made a second before; they are made due accordingly later
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    due_rate: u32,
    #[command(flatten)]
    plain: PlainArgs,
}

/// How many are missed, too.
#[derive(Args, Debug)]
pub struct MissingArgs {
    /// Reservations that are made while the follower is away
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=40_000_000))]
    missed: u32,
    #[command(flatten)]
    plain: PlainArgs,
}

/// A workload that can begin.
pub struct Prepared {
    /// Whose shard's leader is asked.
    pub product: ProductId,
    /// What is asked.
    pub work: Work,
    /// When the time that is measured begins, if that matters.
    pub from: Option<Instant>,
    /// What happens meanwhile, given the time that is measured.
    pub event: Option<Box<dyn Fn(Window) -> Event + Send + Sync>>,
    /// Reservations that it begins with.
    pub live: Option<Live>,
}

impl Workload {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refuse(_) => "refuse",
            Self::Reserve(_) => "reserve",
            Self::Confirm(_) => "confirm",
            Self::Release(_) => "release",
            Self::ExpiryStorm(_) => "expiry-storm",
            Self::Failover(_) => "failover",
            Self::CatchUp(_) => "catch-up",
            Self::Snapshot(_) => "snapshot",
            Self::Http(_) => "http",
            Self::Sale(_) => "sale",
        }
    }

    /// What all have.
    #[must_use]
    pub const fn plain(&self) -> &PlainArgs {
        match self {
            Self::Refuse(plain) => plain,
            Self::Reserve(hold) | Self::Failover(hold) => &hold.plain,
            Self::Confirm(prepared) | Self::Release(prepared) => &prepared.plain,
            Self::ExpiryStorm(storm) => &storm.plain,
            Self::CatchUp(missing) => &missing.plain,
            Self::Snapshot(parts) => &parts.plain,
            Self::Http(http) => &http.plain,
            Self::Sale(sale) => &sale.plain,
        }
    }

    /// Whether it can be done.
    ///
    /// # Errors
    /// Which flags do not go together.
    pub fn validate(&self) -> Result<(), CliError> {
        let PlainArgs { load, place } = self.plain();
        load.validate()?;
        match self {
            Self::Http(http) => http.validate()?,
            Self::Sale(sale) => sale.validate()?,
            _ => {}
        }
        let kills = matches!(self, Self::Failover(_) | Self::CatchUp(_));
        let once = kills || matches!(self, Self::ExpiryStorm(_) | Self::Snapshot(_));
        if once && load.find_capacity {
            return Err(CliError::usage(format!(
                "--find-capacity: what happens in {} happens once; give a --rate",
                self.name()
            )));
        }
        if matches!(self, Self::Snapshot(_)) && place.spawn.is_none() {
            return Err(CliError::usage("snapshot decides when its servers take them: give --spawn 1, 3 or 5"));
        }
        if kills && place.spawn.is_none_or(|nodes| nodes < 3) {
            let name = self.name();
            return Err(CliError::usage(format!("{name} kills a node of its own: give --spawn 3 or --spawn 5")));
        }
        Ok(())
    }

    /// Makes the hot product and what the workload begins with.
    ///
    /// # Errors
    /// If the cluster does not take it.
    pub async fn prepare(&self, site: &Site) -> Result<Prepared, CliError> {
        let series = entropy::number();
        let plain = |product, ask| Prepared::of(product, Work::endless(ask, product, series));
        let mut prepared = match self {
            Self::Sale(sale) => plain(site.on_sale(Quantity(sale.stock), sale.ttl).await?, Ask::Unit),
            Self::Refuse(_) | Self::Http(_) => plain(site.sold_out().await?, Ask::Refusal),
            Self::Reserve(hold) => plain(site.plenty(hold.ttl).await?, Ask::Unit),
            Self::Snapshot(_) => plain(site.plenty(HOUR).await?, Ask::Unit),
            Self::Failover(hold) => {
                let product = site.plenty(hold.ttl).await?;
                let event = move |window: Window| Event::LeaderKilled(product, window.from + window.length() / 2);
                Prepared { event: Some(Box::new(event)), ..plain(product, Ask::Unit) }
            }
            Self::CatchUp(missing) => {
                let product = site.plenty(HOUR).await?;
                let away = Away::leave(site, product).await?;
                fill(site, &Work::of(Ask::Unit, product, entropy::number(), u64::from(missing.missed))).await?;
                let event = move |window: Window| Event::Return(away, window.from, window.until);
                Prepared { event: Some(Box::new(event)), ..plain(product, Ask::Unit) }
            }
            Self::Confirm(prepared) | Self::Release(prepared) => {
                let ask = if matches!(self, Self::Confirm(_)) { Ask::Confirmation } else { Ask::Release };
                let (product, count) = (site.plenty(HOUR).await?, u64::from(prepared.prepared));
                fill(site, &Work::of(Ask::Unit, product, series, count)).await?;
                Prepared::of(product, Work::of(ask, product, series, count))
            }
            Self::ExpiryStorm(storm) => storm.prepare(site, series).await?,
        };
        let live = self.plain().load.live;
        if live > 0 {
            let other = if matches!(self, Self::Refuse(_) | Self::Http(_) | Self::Sale(_)) {
                site.plenty(HOUR).await?
            } else {
                prepared.product
            };
            prepared.live = Some(Live::make(site, other, live).await?);
        }
        Ok(prepared)
    }
}

impl Prepared {
    fn of(product: ProductId, work: Work) -> Self {
        Self { product, work, from: None, event: None, live: None }
    }
}

impl StormArgs {
    /// Two products of one shard: of one, reservations fall due; of the other, units are asked for meanwhile.
    async fn prepare(&self, site: &Site, series: u64) -> Result<Prepared, CliError> {
        let product = site.plenty(HOUR).await?;
        let due = site.plenty_beside(product, HOUR).await?;
        let warm_up = self.plain.load.warm_up();
        let lead =
            Duration::from_secs_f64(f64::from(self.due) / f64::from(self.due_rate)) + warm_up + Duration::from_secs(1);
        let (from, at) = (clock::now() + lead, Timestamp(clock::wall().0 + millis(lead).0));
        let count = u64::from(self.due);
        fill(site, &Work::of(Ask::UnitUntil { at, spread: STORM, of: count }, due, entropy::number(), count)).await?;
        if clock::now() + warm_up > from {
            return Err(CliError::usage(format!(
                "--due-rate {}: so many could not be made a second; give less",
                self.due_rate
            )));
        }
        let count = self.due;
        let event = move |window: Window| {
            let last = window.from + Duration::from_millis(STORM.0);
            Event::Storm { product: due, count, first: window.from, last, until: window.until }
        };
        let work = Work::endless(Ask::Unit, product, series);
        Ok(Prepared { from: Some(from), event: Some(Box::new(event)), ..Prepared::of(product, work) })
    }
}

/// Does all of this work, as fast as it goes.
///
/// # Errors
/// If not all of it could be done.
pub async fn fill(site: &Site, work: &Work) -> Result<Recorder, CliError> {
    fill_over(site, work, PREPARING).await
}

/// The same over so many connections, each with so many under way.
///
/// # Errors
/// If not all of it could be done.
pub async fn fill_over(site: &Site, work: &Work, (connections, depth): (u16, u16)) -> Result<Recorder, CliError> {
    let start = clock::now();
    let window = Window { from: start, until: start + PREPARE_WITHIN };
    let load = Load { threads: 1, connections, rhythm: Rhythm::Closed(depth), cpus: None, start, window };
    let _bar = Progress::over("preparing", work, window.until);
    let outcome = load.run(&Native::new(work.clone(), site.guide(work.product()))).await?;
    let failures = outcome.recorder.failures();
    if work.has_ended() && failures.is_empty() {
        return Ok(outcome.recorder);
    }
    Err(CliError::failed(format!("not all reservations to begin with could be made: {failures:?}")))
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
