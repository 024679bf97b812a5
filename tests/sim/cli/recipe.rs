//! What one run is made from, in one line of text: a seed, and what is changed of what it draws.
//!
//! `seed=42`, `seed=42 high`, `seed=42 nodes=3 shoppers=1 faults=crash=30,message-loss=100`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::checkers;
use crate::sim::workload::{self, Shape};
use crate::sim::{Fault, Faults, Outcome, Scenario, World};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Everything that is not changed comes from it.
    pub seed: u64,
    /// Every fault at its highest rate.
    pub high: bool,
    changes: BTreeMap<String, String>,
}

impl Recipe {
    /// Of a seed, with nothing changed.
    pub fn of(seed: u64, high: bool) -> Self {
        Self { seed, high, changes: BTreeMap::new() }
    }

    /// The same with one thing changed.
    #[must_use]
    pub fn with(&self, key: &str, value: &impl ToString) -> Self {
        let mut other = self.clone();
        other.changes.insert(key.to_owned(), value.to_string());
        other
    }

    /// What it comes to.
    ///
    /// # Errors
    /// A change that makes no sense.
    pub fn build(&self) -> Result<(Scenario, Shape), String> {
        let drawn = if self.high { Scenario::draw_all_high(self.seed) } else { Scenario::draw(self.seed) };
        let mut scenario = match self.changes.get("faults") {
            Some(faults) => Scenario::with(self.seed, faults.parse::<Faults>()?),
            None => drawn,
        };
        for (key, value) in &self.changes {
            let number = || value.parse::<u64>().map_err(|error| format!("{key}={value}: {error}"));
            let small = || u16::try_from(number()?).map_err(|error| format!("{key}={value}: {error}"));
            let size = || usize::try_from(number()?).map_err(|error| format!("{key}={value}: {error}"));
            match key.as_str() {
                "nodes" => scenario.nodes = small()?,
                "shards" => scenario.shards = small()?,
                "span-ms" => scenario.span = Duration::from_millis(number()?),
                "tick-ms" => scenario.tick = Duration::from_millis(number()?),
                "election-ms" => scenario.election = Duration::from_millis(number()?),
                "segment-bytes" => scenario.segment_bytes = number()?,
                "snapshot-entries" => scenario.snapshot_entries = number()?,
                "snapshot-bytes" => scenario.snapshot_bytes = number()?,
                "queue" => scenario.queue = size()?,
                "batch" => scenario.batch = size()?,
                "crash-at" => scenario.crash_at = Some(crash_at(value)?),
                _ => {}
            }
        }
        let mut shape = Shape::draw(&scenario);
        for (key, value) in &self.changes {
            let number = || value.parse::<u64>().map_err(|error| format!("{key}={value}: {error}"));
            let size = || usize::try_from(number()?).map_err(|error| format!("{key}={value}: {error}"));
            match key.as_str() {
                "products" => shape.products = size()?,
                "users" => shape.users = number()?,
                "shoppers" => shape.shoppers = size()?,
                "readers" => shape.readers = size()?,
                "reads" => shape.reads = number()?,
                "payers" => shape.payers = size()?,
                "crowds" => shape.crowds = size()?,
                "operators" => shape.operators = size()?,
                "writers" => shape.writers = size()?,
                "wishes" => shape.wishes = number()?,
                "gateways-alone" => shape.leave_payments_to_gateways(number()? > 0),
                "deaths" => shape.deaths = number()?,
                "cancels" => shape.cancels = number()?,
                "database-failures" => shape.database_failures = number()?,
                key if SCENARIO.contains(&key) => {}
                key => return Err(format!("there is no {key:?} to change")),
            }
        }
        Ok((scenario, shape))
    }

    /// Plays it.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn play(&self, trace: bool) -> Result<Outcome, String> {
        let (mut scenario, shape) = self.build()?;
        scenario.trace = trace;
        let wrong_clock = scenario.faults.on(Fault::WallClockOff) || scenario.faults.on(Fault::WallClockJump);
        let actors = workload::actors(&shape, scenario.shards);
        let checkers = checkers::all(checkers::Config {
            shards: scenario.shards,
            tick: scenario.tick,
            wrong_clock,
            gateways_alone: shape.gateways_alone,
            ..checkers::Config::default()
        });
        Ok(World::new(scenario, actors, checkers).run())
    }

    /// The command that plays it again.
    pub fn command(&self) -> String {
        let high = if self.high { " --high" } else { "" };
        let with = match self.changes() {
            changes if changes.is_empty() => String::new(),
            changes => format!(" --with \"{changes}\""),
        };
        format!("cargo run --release -p doorbuster-tests --bin sim -- --seed {}{high}{with}", self.seed)
    }

    fn changes(&self) -> String {
        self.changes.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    }
}

const SCENARIO: [&str; 12] = [
    "faults",
    "nodes",
    "shards",
    "span-ms",
    "tick-ms",
    "election-ms",
    "segment-bytes",
    "snapshot-entries",
    "snapshot-bytes",
    "queue",
    "batch",
    "crash-at",
];

/// `NODE:OPERATION`, both counted from 1.
fn crash_at(text: &str) -> Result<(usize, u64), String> {
    let wrong = || format!("crash-at={text}: write NODE:OPERATION, both counted from 1");
    let (node, operation) = text.split_once(':').ok_or_else(wrong)?;
    let node: usize = node.parse().map_err(|_| wrong())?;
    let operation = operation.parse().map_err(|_| wrong())?;
    Ok((node.checked_sub(1).ok_or_else(wrong)?, operation))
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={}{}", self.seed, if self.high { " high" } else { "" })?;
        self.changes.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

impl FromStr for Recipe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut recipe = Self::of(0, false);
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some(("seed", seed)) => recipe.seed = seed.parse().map_err(|error| format!("{word}: {error}"))?,
                Some((key, value)) => drop(recipe.changes.insert(key.to_owned(), value.to_owned())),
                None if word == "high" => recipe.high = true,
                None => return Err(format!("{word:?} is no change: write key=value")),
            }
        }
        recipe.build().map(|_| recipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let recipe = Recipe::of(42, true).with("nodes", &5).with("faults", &"crash=30,pause=7").with("shoppers", &2);
        let text = recipe.to_string();
        assert_eq!(text, "seed=42 high faults=crash=30,pause=7 nodes=5 shoppers=2");
        assert_eq!(text.parse(), Ok(recipe.clone()));
        let (scenario, shape) = recipe.build().expect("it makes sense");
        assert_eq!(
            (scenario.nodes, shape.shoppers, scenario.faults.to_string()),
            (5, 2, "pause=7,crash=30".to_owned())
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "seed=x",
            "seed=1 gremlins=3",
            "seed=1 nodes=many",
            "seed=1 loud",
            "seed=1 faults=gremlins",
            "seed=1 crash-at=0:5",
        ] {
            assert!(text.parse::<Recipe>().is_err(), "{text}");
        }
    }
}
