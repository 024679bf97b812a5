//! Chaos: real servers, gateways, PostgreSQL, a payment provider and clients on this machine, a seeded schedule of everything
//! that goes wrong with them, and at the end the question whether every promise was kept.
//!
//! The seed decides what is tried, when and on whom. What comes of it is up to a real machine: the same seed gives the
//! same schedule, not the same run. That is the simulator's part; this is the part that has no simulated disk, clock or
//! scheduler in it.

pub mod attempts;
pub mod buyers;
pub mod checks;
pub mod disk;
pub mod faults;
pub mod hidden;
pub mod inspection;
pub mod judged;
pub mod money;
pub mod network;
pub mod postgres;
pub mod provider;
pub mod proxy;
pub mod record;
pub mod recording;
pub mod report;
pub mod schedule;
pub mod shop;
pub mod stage;
pub mod sync;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use doorbuster_cli::clock;
use doorbuster_cli::error::CliError;
use doorbuster_client::Client;
use doorbuster_protocol::types::Millis;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use buyers::{Buyer, http, operator, tcp};
use record::Record;
use recording::Recording;
use report::Report;
use schedule::Events;
use shop::Shop;
use stage::Stage;

use crate::checkers::linearizability::{self, Assumptions};

/// Buyers by the client library, two clients between them, and over HTTP.
const TCP_BUYERS: u32 = 10;
const HTTP_BUYERS: u32 = 8;
const HTTP_CLIENTS: std::ops::RangeInclusive<u32> = TCP_BUYERS + 1..=TCP_BUYERS + HTTP_BUYERS;
/// How far stamps may be from the wall clock: a leader that was stopped between reading its clock and proposing stamps
/// what it is sent with a time as long ago as it was stopped.
const TOLERANCE: Millis = Millis(4000);
/// Steps of the search for one product's order, after which it is undecided.
const STEPS: u64 = 5_000_000;
/// How long everything runs undisturbed before the first fault.
const CALM: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For how long things go wrong.
    pub time: Duration,
    /// Decides everything that is ours to decide.
    pub seed: u64,
    /// Where data, logs and history go.
    pub folder: PathBuf,
    /// A bug that the gateways have.
    pub planted: Option<String>,
}

/// Runs it: all faults, then none, then the checks.
pub async fn run(settings: &Settings) -> Result<Report, CliError> {
    let stage = Stage::set(&stage::binary()?, settings).await?;
    let record = Arc::new(Record::default());
    let events = Events::default();
    let mut report = Report::new(settings, &stage);
    let shop = Arc::new(Shop::new(settings.seed));
    let begun = clock::now();
    let played = play(settings, &stage, &shop, &record, &events).await;
    report.faults = events.counts();
    report.effects = stage.effects();
    if let Err(error) = played {
        report.problems.push(error.message);
    }
    let healing = clock::now();
    match stage.heal().await {
        Ok(()) => {
            report.healed = Some(healing.elapsed());
            let conclusion = conclude(settings, &stage, &record, &mut report).await;
            report.problems.extend(conclusion.err().map(|error| error.message));
        }
        Err(error) => report.problems.push(format!("not whole again after the last fault: {}", error.message)),
    }
    report.took = begun.elapsed();
    report.products = shop.made();
    report.account(&record.history(), stage.network.traffic());
    keep(&settings.folder, &record, &events, &report)?;
    if !report.problems.is_empty() {
        report.problems.push(format!("the servers logged last\n{}", stage.log_tails(10)));
        return Ok(report);
    }
    stage.strike().await?;
    Ok(report)
}

/// Clients come, faults strike, until the time is over.
async fn play(
    settings: &Settings,
    stage: &Stage,
    shop: &Arc<Shop>,
    record: &Arc<Record>,
    events: &Events,
) -> Result<(), CliError> {
    let over = CancellationToken::new();
    let mut clients = JoinSet::new();
    let buyer = |number| Buyer { number, shop: Arc::clone(shop), record: Arc::clone(record), over: over.clone() };
    let seed = settings.seed;
    let libraries = [stage.client("chaos-1").await?, stage.client("chaos-2").await?];
    let library = |number: u32| -> Client { libraries[number as usize % libraries.len()].clone() };
    clients.spawn(operator::run(buyer(0), library(0), seed));
    for number in 1..=TCP_BUYERS {
        clients.spawn(tcp::run(buyer(number), library(number), seed));
    }
    let gateways = Arc::new(stage.gateway_addresses().await);
    for number in HTTP_CLIENTS {
        clients.spawn(http::run(buyer(number), Arc::clone(&gateways), seed));
    }
    tokio::time::sleep(CALM).await;
    let played = schedule::play(settings, stage, record, events).await;
    over.cancel();
    while let Some(ended) = clients.join_next().await {
        ended.map_err(|error| CliError::failed(format!("a client's task failed: {error}")))?;
    }
    played
}

/// Looks at everything, and asks every judge.
async fn conclude(
    settings: &Settings,
    stage: &Stage,
    record: &Arc<Record>,
    report: &mut Report,
) -> Result<(), CliError> {
    let client = stage.client("chaos-inspection").await?;
    inspection::until_nothing_is_live(&client).await?;
    let counter = money::counter(&record.history(), |client| HTTP_CLIENTS.contains(&client));
    let settling = clock::now();
    match money::until_settled(&client, &stage.till, &counter).await {
        Ok(()) => report.settled = Some(settling.elapsed()),
        Err(error) => report.problems.push(error.message),
    }
    let found = inspection::look_at_everything(&client, record).await?;
    let mut history = record.attempts();
    hidden::fill_in(&mut history, &found, |client| HTTP_CLIENTS.contains(&client));
    report.problems.extend(checks::check(&history, &found));
    let recording = Recording { epoch: record.epoch(), history };
    write(&settings.folder, "history.recording", &recording.text())?;
    report.judge(&judge(&recording));
    let audit = inspection::audit(&stage::binary()?, stage, &settings.folder).await?;
    report.audit = audit.summary;
    report.problems.extend(audit.problems);
    report.provider = stage.provider.lock().await.tally().await?;
    let money = money::compare(&client, &stage.database, &stage.till, &counter).await?;
    report.problems.extend(money.problems.iter().cloned());
    report.money = money;
    Ok(())
}

/// Judges a history for linearizability.
pub fn judge(recording: &Recording) -> linearizability::Report {
    let assumptions = Assumptions { epoch: recording.epoch, tolerance: TOLERANCE, steps: STEPS };
    linearizability::check(&recording.history, &assumptions)
}

/// What somebody needs who wants to know what happened.
fn keep(folder: &Path, record: &Record, events: &Events, report: &Report) -> Result<(), CliError> {
    let history = record.attempts();
    let line = |(number, operation): (usize, &crate::history::Operation)| format!("{number} {operation:?}\n");
    write(folder, "history.txt", &history.operations.iter().enumerate().map(line).collect::<String>())?;
    write(folder, "events.txt", &events.text())?;
    write(folder, "report.json", &(doorbuster_cli::output::pretty(&report.json()) + "\n"))
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), CliError> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
}
