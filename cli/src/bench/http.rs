//! Refused reserves over HTTP, through a gateway, beside a bare hyper server that answers the same to whatever it is asked:
//! in turns, on the same processors, from the same generator. What the gateway makes of a core is its part of what hyper makes.

use super::cpu::{Cpus, Pinned, Shares, Used};
use super::event::Aftermath;
use super::generator::{Load, Outcome, Rhythm};
use super::hello;
use super::options::LoadArgs;
use super::post::Post;
use super::progress::Progress;
use super::recorder::{Recorder, Window};
use super::report::Report;
use super::site::Site;
use super::workload::{PlainArgs, Workload};
use crate::demo::front::{Front, FrontConfig};
use crate::demo::ports::free_ports;
use crate::demo::process::Process;
use crate::error::CliError;
use crate::output::grouped;
use crate::{clock, token};
use clap::Args;
use jsonwebtoken::EncodingKey;
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use toml::Table;

/// How often each of both has its turn.
const TURNS: u32 = 5;
/// Users, each with a token.
const USERS: usize = 1000;
/// A turn that is not the first is warmed up for so long.
const WARM: Duration = Duration::from_millis(200);
/// How long tokens are good for, in seconds.
const VALID: u64 = 24 * 3600;

/// Where the gateway runs, too.
#[derive(Args, Debug)]
pub struct HttpArgs {
    /// Processors that the gateway runs on, and in its turn the server that it is compared with, like 0
    #[arg(long, value_name = "CPUS", default_value = "0")]
    gateway_cpus: Cpus,
    /// What all workloads can be told
    #[command(flatten)]
    pub plain: PlainArgs,
}

/// What one of both made of its turns.
struct Side {
    /// Of all turns together.
    recorder: Recorder,
    /// Requests a second, by turn.
    rates: Vec<f64>,
    shares: Shares,
}

impl HttpArgs {
    /// Whether it can be done.
    ///
    /// # Errors
    /// Which flags do not go together.
    pub fn validate(&self) -> Result<(), CliError> {
        let PlainArgs { load, place } = &self.plain;
        let wrong = [
            (place.spawn.is_none(), "http starts its own gateway: give --spawn 1, 3 or 5"),
            (load.rate.is_some(), "--rate: http has one request under way on each connection, always; leave it out"),
            (load.depth > 1, "--depth: http has one request under way on each connection; give more --connections"),
            (load.callers.is_some(), "--callers: http asks over --connections; leave it out"),
            (load.find_capacity, "--find-capacity: http compares two servers at their highest rate; leave it out"),
        ];
        wrong.into_iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err(CliError::usage(why)))
    }

    /// Measures both in turns; the report is the gateway's.
    ///
    /// # Errors
    /// If something cannot be started or reached.
    pub async fn measure(&self, work: &Workload) -> Result<(Report, Site), CliError> {
        let PlainArgs { load, place } = &self.plain;
        let site = Site::open(place).await?;
        let prepared = work.prepare(&site).await?;
        let (mut front, hello, address) = self.start(&site)?;
        front.wait_ready().await?;
        hello::wait(&address).await?;

        let tokens = tokens(front.secret())?;
        let post = |address: &str| Post::new(address, prepared.product, tokens.clone());
        let gateway = (post(front.address()), front.pid());
        let hyper = (post(&address), hello.pid());
        let bar = Progress::over(work.name(), gateway.0.asked(), clock::now() + self.whole());
        let (mut ours, mut theirs) = (None, None);
        for turn in 0..TURNS {
            self.turn(turn, &gateway, &mut ours).await?;
            self.turn(turn, &hyper, &mut theirs).await?;
        }
        drop(bar);
        front.shutdown().await?;
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Err(CliError::failed("there was no turn")) };
        let told = self.tell(&ours, &theirs).and(prepared.live.map(|live| live.told()).unwrap_or_default());
        Ok((Report::new(work.name(), load, place, ours.recorder, ours.shares).with(told), site))
    }

    /// The gateway, the bare server, and where that one listens.
    fn start(&self, site: &Site) -> Result<(Front, Process, String), CliError> {
        let cluster = site.cluster().ok_or_else(|| CliError::usage("--spawn is missing"))?;
        let folder = site.folder().ok_or_else(|| CliError::usage("--spawn is missing"))?;
        let limits = Table::from_iter([("address_per_second".to_owned(), 0.into())]);
        let config = FrontConfig {
            binary: super::site::binary()?,
            folder: folder.join("gateway"),
            database: None,
            settings: Table::from_iter([("limits".to_owned(), limits.into())]),
        };
        // Children run where the thread ran that started them.
        let _pinned = Pinned::to(&self.gateway_cpus)?;
        let front = Front::launch(&config, cluster)?;
        let [port] = free_ports::<1>()?;
        let address = format!("127.0.0.1:{port}");
        let hello = hello::start(&config.binary, &address, &folder.join(Path::new("hello.txt")))?;
        Ok((front, hello, address))
    }

    async fn turn(&self, turn: u32, (post, pid): &(Post, u32), side: &mut Option<Side>) -> Result<(), CliError> {
        let LoadArgs { threads, connections, .. } = self.plain.load;
        let cpus = self.plain.load.generator_cpus.clone();
        let start = clock::now();
        let from = start + if turn == 0 { self.plain.load.warm_up() } else { WARM };
        let window = Window { from, until: from + self.plain.load.duration() / TURNS };
        let load = Load { threads, connections, rhythm: Rhythm::Closed(1), cpus, start, window };
        let before = Used::by(&[*pid]);
        let Outcome { recorder, used, elapsed } = load.run(post).await?;
        let server = Used::by(&[*pid]).since(&before);
        let machine = std::thread::available_parallelism().map_or(1, usize::from);
        let servers = Some((server, Some(self.gateway_cpus.count())));
        let shares = Shares { machine, elapsed, generator: (usize::from(threads), used), servers };
        let rate = recorder.per_second();
        match side {
            Some(side) => {
                side.recorder.append(&recorder);
                side.rates.push(rate);
                side.shares = shares;
            }
            None => *side = Some(Side { recorder, rates: vec![rate], shares }),
        }
        Ok(())
    }

    fn whole(&self) -> Duration {
        self.plain.load.duration() * 2 + self.plain.load.warm_up() * 2 + WARM * (2 * (TURNS - 1))
    }

    fn tell(&self, ours: &Side, theirs: &Side) -> Aftermath {
        let ratios = ours.rates.iter().zip(&theirs.rates).map(|(ours, theirs)| ours / theirs.max(1.0));
        let ratio = median(ratios.collect());
        let (gateway, hyper) = (median(ours.rates.clone()), median(theirs.rates.clone()));
        let text = format!(
            "{:.0}% of a bare hyper server's {}/s, on processor(s) {}: medians of {TURNS} turns of each",
            ratio * 100.0,
            grouped(hyper),
            self.gateway_cpus
        );
        let field = json!({
            "gateway_per_second": gateway.round(), "hyper_per_second": hyper.round(),
            "ratio": (ratio * 1000.0).round() / 1000.0, "gateway_turns": ours.rates, "hyper_turns": theirs.rates,
            "gateway_cpus": self.gateway_cpus.to_string(), "hyper_processors": theirs.shares.json(),
        });
        let failures = theirs.recorder.failures();
        let wrong = (!failures.is_empty()).then(|| format!("the bare server was not answered by: {failures:?}"));
        let rows = vec![("gateway".to_owned(), text), ("hyper meanwhile".to_owned(), theirs.shares.verdict())];
        let curves =
            vec![("gateway", ours.recorder.percentiles()), ("bare hyper server", theirs.recorder.percentiles())];
        Aftermath { rows, fields: vec![("http", field)], curves, wrong }
    }
}

fn tokens(secret: &[u8]) -> Result<Vec<String>, CliError> {
    let (key, expires) = (EncodingKey::from_secret(secret), clock::wall().0 / 1000 + VALID);
    (0..USERS).map(|user| token::sign(&key, &format!("bench-{user}"), false, expires)).collect()
}

/// The middle one; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
