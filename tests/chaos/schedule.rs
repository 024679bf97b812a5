//! When which fault strikes: each lane deals its faults from a shuffled deck, again and again, with rests in between, so
//! that every kind comes about equally often; lanes overlap as they happen to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use doorbuster_cli::clock;
use doorbuster_cli::error::CliError;
use doorbuster_client::Client;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Settings;
use super::faults::{Lane, Scene, lanes};
use super::record::Record;
use super::stage::Stage;

/// What struck, when, and for how long.
#[derive(Debug)]
pub struct Events {
    begun: Instant,
    struck: Mutex<Vec<Event>>,
}

#[derive(Clone, Debug)]
struct Event {
    from: Duration,
    to: Duration,
    name: &'static str,
}

impl Default for Events {
    fn default() -> Self {
        Self { begun: clock::now(), struck: Mutex::default() }
    }
}

impl Events {
    /// How often each fault struck.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for event in self.struck.lock().iter() {
            *counts.entry(event.name).or_default() += 1;
        }
        counts
    }

    /// One line a fault: from, to, in seconds since the beginning, and its name.
    pub fn text(&self) -> String {
        let line =
            |event: &Event| format!("{:9.3} {:9.3} {}\n", event.from.as_secs_f64(), event.to.as_secs_f64(), event.name);
        self.struck.lock().iter().map(line).collect()
    }

    fn note(&self, from: Duration, name: &'static str) {
        self.struck.lock().push(Event { from, to: self.begun.elapsed(), name });
    }
}

/// Lets all lanes run until the time is over, or something happens that must not.
pub async fn play(settings: &Settings, stage: &Stage, record: &Record, events: &Events) -> Result<(), CliError> {
    let client = stage.client("chaos-schedule").await?;
    let until = clock::now() + settings.time;
    let deck = |number: u64, lane: Lane| {
        let rng = StdRng::seed_from_u64(settings.seed.wrapping_mul(31).wrapping_add(number));
        Deck { lane, rng, until, client: &client, stage, events }
    };
    let [first, second, third, fourth] = lanes(stage);
    let (first, second) = (deck(1, first).deal(), deck(2, second).deal());
    let (third, fourth) = (deck(3, third).deal(), deck(4, fourth).deal());
    tokio::try_join!(first, second, third, fourth, watch(until, record, events)).map(drop)
}

struct Deck<'a> {
    lane: Lane,
    rng: StdRng,
    until: Instant,
    client: &'a Client,
    stage: &'a Stage,
    events: &'a Events,
}

impl Deck<'_> {
    async fn deal(mut self) -> Result<(), CliError> {
        let mut deck = Vec::new();
        loop {
            let rest = Duration::from_millis(self.rng.random_range(self.lane.rest / 5..=self.lane.rest));
            tokio::time::sleep(rest).await;
            if clock::now() >= self.until {
                return Ok(());
            }
            if deck.is_empty() {
                deck.clone_from(&self.lane.faults);
            }
            let fault = deck.swap_remove(self.rng.random_range(0..deck.len()));
            let from = self.events.begun.elapsed();
            let mut scene = Scene { stage: self.stage, client: self.client, rng: &mut self.rng };
            let struck = (fault.strike)(&mut scene).await;
            self.events.note(from, fault.name);
            struck.map_err(|error| CliError { message: format!("{}: {}", fault.name, error.message), ..error })?;
            if self.lane.servers {
                nobody_ended_unasked(self.stage)?;
            }
        }
    }
}

/// A server ends when it is killed, asked to, or its disk fails, and then that fault has started it again.
fn nobody_ended_unasked(stage: &Stage) -> Result<(), CliError> {
    for node in stage.cluster.nodes() {
        if let Some(status) = stage.cluster.ended(node) {
            let tail = stage.cluster.log_tail(node, 30);
            return Err(CliError::wrong(format!("node {node} ended by itself ({status}); it logged last\n{tail}")));
        }
    }
    Ok(())
}

/// Tells how it goes.
async fn watch(until: Instant, record: &Record, events: &Events) -> Result<(), CliError> {
    let every = Duration::from_secs(10);
    while clock::now() + every < until {
        tokio::time::sleep(every).await;
        let (seconds, faults) = (events.begun.elapsed().as_secs(), events.struck.lock().len());
        super::report::progress(&format!("{seconds} s: {} operations, {faults} faults", record.len()));
    }
    Ok(())
}
