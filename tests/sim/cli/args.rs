//! What can be asked of `sim`.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Runs the product in a world that breaks things; everything derives from a seed.
#[derive(Debug, Parser)]
#[command(name = "sim", version, max_term_width = 120)]
pub struct Args {
    /// What else to do than run seeds
    #[command(subcommand)]
    pub task: Option<Task>,
    /// Seeds to run, the second not included
    #[arg(long, value_name = "FROM..TO", default_value = "0..100", value_parser = range, global = true)]
    pub seeds: Range<u64>,
    /// Run this seed only
    #[arg(long, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// With --seed: print everything that happens
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// Every fault at its highest rate
    #[arg(long)]
    pub high: bool,
    /// Change the seed's scenario: e.g. "nodes=3 shoppers=1 faults=crash=30,message-loss=100"
    #[arg(long, value_name = "CHANGES", default_value = "")]
    pub with: String,
    /// Runs at the same time; as many as there are processors
    #[arg(long, global = true)]
    pub jobs: Option<usize>,
    /// Real seconds after which a run has hung
    #[arg(long, default_value_t = 120, global = true)]
    pub patience: u64,
    /// Real seconds to look for a smaller scenario that breaks the same promise; 0: do not look
    #[arg(long, default_value_t = 60, global = true)]
    pub shrink: u64,
    /// Write the figures into this document, in the place marked for them
    #[arg(long, value_name = "FILE", global = true)]
    pub report: Option<PathBuf>,
}

/// See [`Args::task`].
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Run the seeds and scenarios that once broke a promise
    Regressions,
    /// Stop a machine in each of its disk operations, one run an operation, from its first start to the run's end
    Boundaries {
        /// Scenarios, from seed 0 up; in each another node is the one that stops
        #[arg(long, default_value_t = 3)]
        scenarios: u64,
    },
    /// Plant classic bugs, one at a time, and see each of them caught (builds itself with the feature `planted`)
    Planted {
        /// Most seeds to try for one bug
        #[arg(long, default_value_t = 4000)]
        limit: u64,
        /// Only these bugs, by name
        only: Vec<String>,
    },
    /// Run what comes on the standard input (used by the program itself)
    #[command(hide = true)]
    Worker {
        /// The bug to plant
        #[arg(long)]
        plant: Option<String>,
    },
}

impl Args {
    /// Runs at the same time.
    pub fn jobs(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.jobs.unwrap_or_else(processors).max(1)
    }

    /// When a run has hung.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("two numbers are wanted, as in 0..1000")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(from)?..number(to)?)
}
