//! Where it plays: three servers, two gateways, a PostgreSQL, a payment provider, the proxies between them all, a disk that
//! can be filled and syncs that can be slowed; started here, and ended with it on every way out.
//!
//! Every process is a child of ours that the kernel kills when the thread that started it ends, whatever ends it; so
//! they are started on the runtime's own threads, which live as long as we do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use doorbuster_cli::demo::cluster::{Cluster, ClusterConfig, Detour};
use doorbuster_cli::demo::front::{Front, FrontConfig};
use doorbuster_cli::error::CliError;
use doorbuster_client::{Client, Config};
use doorbuster_protocol::types::NodeId;
use parking_lot::Mutex;
use toml::{Table, Value};

use super::Settings;
use super::disk::SmallDisk;
use super::network::{Network, Wire};
use super::postgres::Postgres;
use super::provider::Provider;
use super::sync::Syncs;
use crate::sim::cli::planted;

/// Gateways, each with an order writer.
const GATEWAYS: usize = 2;
const SHARDS: u16 = 4;
/// The node on the disk that can be filled.
pub const ON_SMALL_DISK: NodeId = NodeId(3);
/// How long the cluster may take to serve whole again once nothing is wrong any more.
pub const HEALED_WITHIN: Duration = Duration::from_secs(60);

/// Everything that runs. Fields are dropped in this order: processes before what they use.
pub struct Stage {
    /// The servers.
    pub cluster: Cluster,
    /// The gateways.
    pub gateways: Vec<tokio::sync::Mutex<Front>>,
    /// The database.
    pub postgres: tokio::sync::Mutex<Postgres>,
    /// Who takes the money.
    pub provider: tokio::sync::Mutex<Provider>,
    /// The proxies.
    pub network: Arc<Network>,
    /// The disk that can be filled.
    pub disk: Option<SmallDisk>,
    /// The syncs that can be slowed.
    pub syncs: Option<Syncs>,
    /// What cannot be done on this machine, and why.
    pub left_out: Vec<String>,
    /// The database's URL, past the proxies.
    pub database: String,
    /// The payment provider's URL, past the proxies.
    pub till: String,
    effects: Mutex<BTreeMap<&'static str, u64>>,
}

impl Stage {
    /// Starts everything.
    pub async fn set(binary: &Path, settings: &Settings) -> Result<Self, CliError> {
        let folder = &settings.folder;
        let mut left_out = Vec::new();
        let syncs = noted(Syncs::build(folder), "slow and failing syncs", &mut left_out);
        let disk = noted(SmallDisk::mount(folder), "a full disk", &mut left_out);
        let network = Arc::new(Network::default());
        let config = cluster_config(binary, folder, syncs.as_ref(), disk.as_ref(), Arc::clone(&network));
        let cluster = Cluster::start(config).await?;
        let postgres = Postgres::start(&folder.join("postgres")).await?;
        let database = Postgres::url(&postgres.address());
        let through = Postgres::url(&network.lay(Wire::Database, &[postgres.address()])?);
        let mut provider = Provider::new(binary, &folder.join("provider"))?;
        let gateway = match &settings.planted {
            Some(bug) => mistaken(folder, bug)?,
            None => binary.to_owned(),
        };
        let settings = gateway_settings(&network.lay(Wire::Provider, &[provider.address()])?, &provider.secrets_file());
        let mut gateways = Vec::new();
        for number in 1..=GATEWAYS {
            let config = FrontConfig {
                binary: gateway.clone(),
                folder: folder.join(format!("gateway{number}")),
                database: Some(through.clone()),
                settings: settings.clone(),
            };
            gateways.push(tokio::sync::Mutex::new(Front::start(config, &cluster).await?));
        }
        let addresses: Vec<String> =
            gateways.iter_mut().map(|gateway| gateway.get_mut().address().to_owned()).collect();
        provider.start(&network.lay(Wire::Webhooks, &addresses)?).await?;
        let (till, effects) = (provider.url(), Mutex::default());
        let (postgres, provider) = (tokio::sync::Mutex::new(postgres), tokio::sync::Mutex::new(provider));
        Ok(Self { cluster, gateways, postgres, provider, network, disk, syncs, left_out, database, till, effects })
    }

    /// Something that a fault may or may not come to has come.
    pub fn noted(&self, effect: &'static str) {
        *self.effects.lock().entry(effect).or_default() += 1;
    }

    /// What faults came to, and how often.
    pub fn effects(&self) -> BTreeMap<&'static str, u64> {
        self.effects.lock().clone()
    }

    /// A client of the servers, through the proxies.
    pub async fn client(&self, name: &str) -> Result<Client, CliError> {
        let config =
            Config { name: name.to_owned(), deadline: Duration::from_secs(10), ..self.cluster.client_config() };
        Ok(Client::connect(config).await?)
    }

    /// Where the gateways listen.
    pub async fn gateway_addresses(&self) -> Vec<String> {
        let mut addresses = Vec::new();
        for gateway in &self.gateways {
            addresses.push(gateway.lock().await.address().to_owned());
        }
        addresses
    }

    /// Ends every fault, starts whatever does not run, and waits until everything serves.
    pub async fn heal(&self) -> Result<(), CliError> {
        self.network.heal(|_| true, true);
        if let Some(disk) = &self.disk {
            disk.make_room()?;
        }
        for node in self.cluster.nodes() {
            if let Some(syncs) = &self.syncs {
                syncs.plain(node)?;
            }
            match self.cluster.is_running(node) {
                true => self.cluster.unfreeze(node)?,
                false => self.cluster.start_node(node)?,
            }
        }
        let mut postgres = self.postgres.lock().await;
        if !postgres.is_running() {
            postgres.up().await?;
        }
        drop(postgres);
        let mut provider = self.provider.lock().await;
        match provider.is_running() {
            true => provider.unfreeze()?,
            false => provider.up().await?,
        }
        provider.plain().await?;
        drop(provider);
        self.cluster.wait_ready(HEALED_WITHIN).await?;
        for gateway in &self.gateways {
            let mut gateway = gateway.lock().await;
            match gateway.is_running() {
                true => gateway.unfreeze()?,
                false => gateway.start_again()?,
            }
            gateway.wait_ready().await?;
        }
        Ok(())
    }

    /// Asks everything to end, and waits until it has. What does not end by itself is killed with the stage.
    pub async fn strike(self) -> Result<(), CliError> {
        for gateway in &self.gateways {
            gateway.lock().await.shutdown().await?;
        }
        self.provider.lock().await.shutdown()?;
        self.cluster.shutdown().await?;
        self.postgres.lock().await.down(super::postgres::Ending::Fast).await
    }

    /// The last lines of every log.
    pub fn log_tails(&self, lines: usize) -> String {
        let nodes = self.cluster.nodes();
        let tails = nodes.into_iter().map(|node| format!("--- node {node}\n{}\n", self.cluster.log_tail(node, lines)));
        tails.collect()
    }
}

fn noted<T>(made: Result<T, String>, what: &str, left_out: &mut Vec<String>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(why) => {
            left_out.push(format!("{what}: {why}"));
            None
        }
    }
}

fn cluster_config(
    binary: &Path,
    folder: &Path,
    syncs: Option<&Syncs>,
    disk: Option<&SmallDisk>,
    network: Arc<Network>,
) -> ClusterConfig {
    // Snapshots are taken and logs cut all the time, so that restarts and laggards meet both.
    let often = ClusterConfig::new(binary, folder).with("snapshot_entries", 300).with("snapshot_spacing_ms", 0);
    let mut config = often.with("segment_bytes", 1 << 20);
    config.shards = SHARDS;
    let environment = |node| (NodeId(node), syncs.map(|syncs| syncs.environment(NodeId(node))).unwrap_or_default());
    config.environment = (1..=config.nodes).map(environment).collect();
    config.data = disk.map(|disk| BTreeMap::from([(ON_SMALL_DISK, disk.data())])).unwrap_or_default();
    config.detour = Some(network as Arc<dyn Detour>);
    config
}

fn gateway_settings(provider: &str, secrets: &Path) -> Table {
    let table = |fields: &[(&str, Value)]| -> Value {
        Value::Table(fields.iter().map(|(field, value)| ((*field).to_owned(), value.clone())).collect())
    };
    let simulator = table(&[("url", Value::from(format!("http://{provider}")))]);
    let fields = [
        // Anybody may say who he is; on the loopback address only.
        ("insecure_dev", Value::from(true)),
        ("auth", table(&[])),
        ("deadline_ms", Value::from(1500)),
        ("limits", table(&[("address_per_second", Value::from(0))])),
        // What a killed gateway leaves behind is taken up before its pin ends.
        (
            "payment",
            table(&[
                ("simulator", simulator),
                ("charge_timeout_ms", Value::from(700)),
                ("webhook_secrets_file", Value::from(secrets.display().to_string())),
                ("cancel_within_ms", Value::from(60_000)),
                ("sweep_every_ms", Value::from(300)),
                ("sweep_after_ms", Value::from(800)),
            ]),
        ),
    ];
    fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()
}

/// The binary of the same build as this one.
pub fn binary() -> Result<PathBuf, CliError> {
    beside("doorbuster")
}

fn beside(name: &str) -> Result<PathBuf, CliError> {
    let own =
        std::env::current_exe().map_err(|error| CliError::failed(format!("cannot find this program: {error}")))?;
    let binary = own.with_file_name(name);
    match binary.is_file() {
        true => Ok(binary),
        false => Err(CliError::usage(format!("{} is missing: start with ./chaos, which builds it", binary.display()))),
    }
}

/// A gateway with this bug in it.
fn mistaken(folder: &Path, bug: &str) -> Result<PathBuf, CliError> {
    planted::named(bug).map_err(|error| CliError::usage(format!("--planted: {error}")))?;
    let (path, program) = (folder.join("mistaken"), beside("mistaken")?);
    let text = format!("#!/bin/sh\nDOORBUSTER_PLANTED={bug} exec '{}' \"$@\"\n", program.display());
    let wrong = |error: std::io::Error| CliError::failed(format!("{}: {error}", path.display()));
    std::fs::write(&path, text).map_err(wrong)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(wrong)?;
    Ok(path)
}
