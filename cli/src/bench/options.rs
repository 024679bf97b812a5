//! What every workload can be told: where, how hard, for how long.

use super::cpu::Cpus;
use crate::connect::Connection;
use crate::error::CliError;
use crate::names::parse_duration;
use clap::{Args, ValueEnum};
use doorbuster_protocol::limits::MAX_IN_FLIGHT_PER_CONNECTION;
use doorbuster_protocol::types::Millis;
use std::path::PathBuf;
use std::time::Duration;
use toml::Table;

/// Where it takes place.
#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    /// Start so many nodes for it in a temporary folder (1, 3 or 5) instead of using a running cluster
    #[arg(long, value_name = "NODES")]
    pub spawn: Option<u16>,
    /// With --spawn: what an answer means; `memory` survives no power cut
    #[arg(long, value_enum, default_value_t = Durability::Disk, requires = "spawn")]
    pub durability: Durability,
    /// With --spawn: added to each sync of the log, to try out a slower disk
    #[arg(long, default_value = "0ms", value_parser = parse_duration, value_name = "DURATION", requires = "spawn")]
    pub sync_delay: Millis,
    /// With --spawn: where the temporary folder goes, so that the disk is the one that counts
    #[arg(long, value_name = "FOLDER", requires = "spawn")]
    pub data: Option<PathBuf>,
    /// With --spawn: processors that the servers run on, like 0 or 0,2 or 0-3
    #[arg(long, value_name = "CPUS", requires = "spawn")]
    pub server_cpus: Option<Cpus>,
    /// The running cluster
    #[command(flatten)]
    pub connection: Connection,
    /// With --spawn: further fields of every server's configuration, which a workload needs
    #[arg(skip)]
    pub settings: Table,
}

/// What an answer of a spawned cluster means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// A quorum has it on disk
    Disk,
    /// A quorum has it in memory
    Memory,
}

/// How hard, and for how long.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// Connections to the leader
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub connections: u16,
    /// Closed loop: requests that each connection has under way, always
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096), conflicts_with = "rate")]
    pub depth: u16,
    /// Ask through the client library, as a backend does: so many callers, each with one request under way
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000), conflicts_with_all = ["connections", "depth", "rate", "find_capacity"])]
    pub callers: Option<u16>,
    /// Open loop: operations a second, whatever the answers do; latency counts from when each was due
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    pub rate: Option<u32>,
    /// How long to measure
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    pub duration: Millis,
    /// How long to offer the same before
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "DURATION")]
    pub warm_up: Millis,
    /// Live reservations of the product to start from
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=40_000_000))]
    pub live: u32,
    /// Threads of the generator
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
    /// Processors that the generator runs on, like 1 or 2-3
    #[arg(long, value_name = "CPUS")]
    pub generator_cpus: Option<Cpus>,
    /// Look for the highest rate whose p99 is within --slo-p99: steps of --duration each, from --rate (or 10,000/s) on
    #[arg(long)]
    pub find_capacity: bool,
    /// The objective of --find-capacity
    #[arg(long, default_value = "10ms", value_parser = parse_duration, value_name = "DURATION")]
    pub slo_p99: Millis,
    /// Write a page with plots to this file, too
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

impl LoadArgs {
    /// How long to measure.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        Duration::from_millis(self.duration.0)
    }

    /// How long to offer the same before.
    #[must_use]
    pub const fn warm_up(&self) -> Duration {
        Duration::from_millis(self.warm_up.0)
    }

    /// Whether it can be done.
    ///
    /// # Errors
    /// Which flags do not go together.
    pub fn validate(&self) -> Result<(), CliError> {
        if self.duration.0 < 100 {
            return Err(CliError::usage("--duration: at least 100ms, or there is nothing to measure"));
        }
        let (threads, callers) = (self.threads, self.callers);
        if callers.is_none() && threads > self.connections {
            return Err(CliError::usage(format!(
                "--threads {threads}: each needs a connection; give --connections {threads} or more"
            )));
        }
        if callers.is_some_and(|callers| threads > callers) {
            return Err(CliError::usage(format!(
                "--threads {threads}: each needs a caller; give --callers {threads} or more"
            )));
        }
        if self.find_capacity && self.depth > 1 {
            return Err(CliError::usage("--depth: --find-capacity offers rates, in an open loop; leave --depth out"));
        }
        debug_assert!(usize::from(self.depth) <= MAX_IN_FLIGHT_PER_CONNECTION);
        Ok(())
    }

    /// The load in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let connections = self.connections;
        if let Some(callers) = self.callers {
            return format!("closed loop: {callers} callers through the client library, one request under way each");
        }
        match self.rate {
            _ if self.find_capacity => format!(
                "open loop over {connections} connections, the highest rate with a p99 of at most {} ms",
                self.slo_p99.0
            ),
            Some(rate) => format!("open loop: {rate} operations/s over {connections} connections"),
            None => format!("closed loop: {connections} connections, {} under way on each", self.depth),
        }
    }
}
