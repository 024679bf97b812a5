//! Snapshots under load: the same load without any, then while the leader takes them, then while a follower that was away
//! installs one. Each part has a name, and p99.9 of the first is what the others are compared with.

use super::admin::Snapshots;
use super::away::{Away, FIND};
use super::event::{Aftermath, Event};
use super::options::PlaceArgs;
use super::recorder::{Recorder, Window, us};
use super::report::{Report, milliseconds};
use super::run::Bench;
use super::site::Site;
use super::work::{Ask, Work};
use super::workload::{PlainArgs, Prepared, Workload, fill_over};
use crate::entropy;
use crate::error::CliError;
use crate::output::grouped;
use clap::Args;
use doorbuster_protocol::types::{NodeId, ProductId, shard_of};
use serde_json::{Value, json};
use std::time::Duration;

/// No snapshot is taken before so many entries, or so many bytes of them.
const NEVER: i64 = 1 << 50;
/// A shard takes one when a node has written 8 segments in all, whatever it is told: they are as large as that needs.
const SEGMENT_BYTES: i64 = 128 << 20;
/// Fewer entries between two snapshots are not possible.
const FEWEST: i64 = 100;
/// Nor is more time, in ms.
const MOST_SPACING: i64 = 3_600_000;
/// A follower misses reservations by so many at a time, until it needs a snapshot, and no more often than that.
const MISSED: u64 = 50_000;
const TIMES: u32 = 100;
/// They are made over so many connections, each with so few under way that entries are many and small.
const MISSING: (u16, u16) = (8, 8);

/// How many, too.
#[derive(Args, Debug)]
pub struct SnapshotArgs {
    /// Snapshots that the leader takes while it is measured with them, more or less
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    snapshots: u16,
    /// What all workloads can be told
    #[command(flatten)]
    pub plain: PlainArgs,
}

/// A part of the measuring.
struct Part {
    name: &'static str,
    report: Report,
    /// What the leader's snapshots were meanwhile.
    snapshots: Snapshots,
}

/// What is measured, on which cluster.
struct Scene<'a> {
    work: &'a Workload,
    place: PlaceArgs,
    site: Site,
    prepared: Prepared,
}

impl SnapshotArgs {
    /// Measures all parts; the report is of the part with snapshots.
    ///
    /// # Errors
    /// If a cluster cannot be started or reached.
    pub async fn measure(&self, work: &Workload) -> Result<(Report, Site), CliError> {
        let scene = Scene::open(work, self.place(None)).await?;
        let without = scene.measure("without snapshots", &self.plain).await?;
        scene.site.close().await?;

        let every = self.spacing();
        let mut scene = Scene::open(work, self.place(Some(every))).await?;
        let with = scene.measure("with snapshots", &self.plain).await?;
        let back = if self.plain.place.spawn.is_some_and(|nodes| nodes > 1) {
            scene.prepared.live = None;
            scene.prepared.event = Some(self.bring_back(&scene.site, scene.prepared.product).await?);
            Some(scene.measure("while one is installed", &self.plain).await?)
        } else {
            None
        };
        let told = tell(&without, &with, back.as_ref(), every);
        let back = back.map(|back| back.report.into_aftermath()).unwrap_or_default();
        Ok((with.report.with(back).with(told), scene.site))
    }

    /// A follower goes, until it needs a snapshot, and comes back while it is measured.
    async fn bring_back(
        &self,
        site: &Site,
        product: ProductId,
    ) -> Result<Box<dyn Fn(Window) -> Event + Send + Sync>, CliError> {
        let away = Away::leave(site, product).await?;
        for _ in 0..TIMES {
            if away.needs_snapshot(site).await? {
                return Ok(Box::new(move |window: Window| {
                    Event::Return(away, window.from + window.length() / 8, window.until)
                }));
            }
            fill_over(site, &Work::of(Ask::Unit, product, entropy::number(), MISSED), MISSING).await?;
        }
        Err(CliError::usage(format!(
            "--snapshots {}: the leader took none while a follower missed {} reservations; give more",
            self.snapshots,
            MISSED * u64::from(TIMES)
        )))
    }

    /// So far apart, so many are taken in the time that is measured. (By time, not by entries: how many entries a load makes
    /// depends on how busy the machine is.)
    fn spacing(&self) -> Duration {
        self.plain.load.duration().div_f64(f64::from(self.snapshots) + 0.5)
    }

    /// Where snapshots are so far apart, or none is taken.
    fn place(&self, spacing: Option<Duration>) -> PlaceArgs {
        let mut place = self.plain.place.clone();
        let mut set = |setting: &str, value: i64| place.settings.insert(setting.to_owned(), value.into());
        set("segment_bytes", SEGMENT_BYTES);
        match spacing.map(|spacing| i64::try_from(spacing.as_millis()).unwrap_or(i64::MAX)) {
            Some(spacing) => {
                set("snapshot_entries", FEWEST);
                set("snapshot_spacing_ms", spacing.min(MOST_SPACING));
            }
            None => {
                set("snapshot_entries", NEVER);
                set("snapshot_bytes", NEVER);
            }
        }
        place
    }
}

impl<'a> Scene<'a> {
    async fn open(work: &'a Workload, place: PlaceArgs) -> Result<Self, CliError> {
        let site = Site::open(&place).await?;
        let prepared = work.prepare(&site).await?;
        Ok(Self { work, place, site, prepared })
    }

    async fn measure(&self, name: &'static str, args: &PlainArgs) -> Result<Part, CliError> {
        let before = self.snapshots().await?;
        let bench = Bench {
            name: self.work.name(),
            prepared: &self.prepared,
            args: &args.load,
            place: &self.place,
            site: &self.site,
        };
        let report = bench.measure().await?;
        Ok(Part { name, report, snapshots: self.snapshots().await?.since(&before) })
    }

    /// The leader's snapshots so far.
    async fn snapshots(&self) -> Result<Snapshots, CliError> {
        let cluster = self.site.cluster().ok_or_else(|| CliError::usage("--spawn is missing"))?;
        let client = self.site.client();
        let leader: NodeId = cluster.leader(client, shard_of(self.prepared.product, client.shards()), FIND).await?;
        Snapshots::of(cluster, leader).await
    }
}

impl Part {
    fn recorder(&self) -> &Recorder {
        self.report.recorder()
    }

    /// How much longer the slowest in a thousand took than in the other part, in ms.
    fn growth(&self, other: &Self) -> f64 {
        (self.recorder().quantile(0.999) as f64 - other.recorder().quantile(0.999) as f64) / 1e6
    }

    fn row(&self) -> (String, String) {
        let recorder = self.recorder();
        let [p99, p999] = [0.99, 0.999].map(|quantile| milliseconds(recorder.quantile(quantile)));
        let mut text = format!(
            "{}/s, p99 {p99}, p99.9 {p999}, longest {}",
            grouped(recorder.per_second()),
            milliseconds(recorder.longest())
        );
        if self.snapshots.written > 0 {
            let each = self.snapshots.each();
            text.push_str(&format!("; the leader took {}, {each:.3} s each", self.snapshots.written));
        }
        (self.name.to_owned(), text)
    }

    fn json(&self) -> Value {
        let recorder = self.recorder();
        json!({
            "ops_per_second": recorder.per_second().round(), "p99_us": us(recorder.quantile(0.99)),
            "p999_us": us(recorder.quantile(0.999)), "max_us": us(recorder.longest()),
            "taken": self.snapshots.written, "seconds_each": self.snapshots.each(),
        })
    }
}

fn tell(without: &Part, with: &Part, back: Option<&Part>, every: Duration) -> Aftermath {
    let parts = [Some(without), Some(with), back];
    let mut rows: Vec<_> = parts.iter().flatten().map(|part| part.row()).collect();
    let mut grown = format!("{:.3} ms with snapshots", with.growth(without));
    if let Some(back) = back {
        grown.push_str(&format!(", {:.3} ms while one is installed", back.growth(without)));
    }
    rows.push(("p99.9 grows by".to_owned(), grown));
    let field = json!({
        "without": without.json(), "with": with.json(), "installing": back.map(Part::json), "spacing_seconds": every.as_secs_f64(),
        "p999_growth_ms": with.growth(without), "p999_growth_installing_ms": back.map(|back| back.growth(without)),
    });
    let curves = parts.iter().flatten().map(|part| (part.name, part.recorder().percentiles())).collect();
    let failed = |part: &Part| part.report.verdict().err().map(|error| format!("{}: {error}", part.name));
    let wrong = failed(without).or_else(|| judge(without, with)).or_else(|| back.and_then(failed));
    Aftermath { rows, fields: vec![("snapshots", field)], curves, wrong }
}

/// What makes the comparison worthless.
fn judge(without: &Part, with: &Part) -> Option<String> {
    match (without.snapshots.written, with.snapshots.written) {
        (0, 1..) => None,
        (0, _) => Some(
            "the leader took no snapshot while it should: give a longer --duration, or more --snapshots".to_owned(),
        ),
        (taken, _) => Some(format!("{taken} snapshots were taken while none should be: give a shorter --duration")),
    }
}
