//! `doorbuster server`: a node as a process, and `doorbuster server format`, its explicit first start.

use crate::error::CliError;
use crate::output::Output;
use crate::overlay::Overlay;
use crate::signals;
use clap::{Args, Subcommand, ValueEnum};
use doorbuster_server::config::ServerConfig;
use doorbuster_server::logging;
use serde_json::json;
use std::path::PathBuf;
use toml::{Table, Value};

/// `doorbuster server ...`
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
    doorbuster server format --data node1 && doorbuster server --data node1        a cluster of one\n  \
    doorbuster server format --config node1.toml && doorbuster server --config node1.toml\n  \
    doorbuster server --node 1 --data n1 --listen 127.0.0.1:7411 --peer-listen 127.0.0.1:7421 --admin-listen 127.0.0.1:7431 \\\n      \
    --peer 2=127.0.0.1:7422,127.0.0.1:7412 --peer 3=127.0.0.1:7423,127.0.0.1:7413\n\n\
    Settings come from defaults, then the TOML file, then DOORBUSTER_SERVER_* variables, then these flags.\n\
    It stops at Ctrl-C or SIGTERM, after handing its leaderships over."
)]
pub struct ServerArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Run the node (what `doorbuster server` does without a subcommand)
    Run(Flags),
    /// Make an empty folder this node's data folder: once, before its first start
    #[command(after_help = "Example:\n  doorbuster server format --config node1.toml\n\n\
        Do this once for each node of a new cluster, with the settings the node will run with. A node that lost its\n\
        data must not be formatted and started again under its old number: it may have voted and acknowledged what is\n\
        lost, and the others refuse it.")]
    Format(Flags),
}

#[derive(Args, Debug)]
struct Flags {
    /// TOML file with the settings
    #[arg(long, short, env = "DOORBUSTER_CONFIG_SERVER", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which node of the cluster this is, from 1 [default: 1]
    #[arg(long, value_name = "NUMBER")]
    node: Option<u16>,
    /// The cluster's name [default: doorbuster]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The node's data folder [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where clients connect [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where the other nodes connect [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDRESS:PORT")]
    peer_listen: Option<String>,
    /// Where metrics and health are served over HTTP [default: 127.0.0.1:7402]
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin_listen: Option<String>,
    /// The address clients are told for this node [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Another node, by its number, peer address and client address; repeated for each
    #[arg(long, value_parser = parse_peer, value_name = "NUMBER=PEER,CLIENT")]
    peer: Vec<Table>,
    /// Shards of the cluster, fixed at format [default: 8]
    #[arg(long, value_name = "COUNT")]
    shards: Option<u16>,
    /// What a reply means [default: disk]
    #[arg(long, value_enum)]
    durability: Option<Durability>,
    /// File with the shared secrets that clients may show, one a line
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// What to log: a level, or target=level pairs joined by commas [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Any other field, as TOML writes it; may be repeated
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Durability {
    /// A quorum of nodes has it on disk
    Disk,
    /// A quorum has it in memory; a power cut of all nodes loses it
    Memory,
}

fn parse_peer(text: &str) -> Result<Table, String> {
    let wanted = || format!("'{text}' is no node: wanted NUMBER=PEER,CLIENT as in 2=10.0.0.2:7401,10.0.0.2:7400");
    let (node, addresses) = text.split_once('=').ok_or_else(wanted)?;
    let (peer, client) = addresses.split_once(',').ok_or_else(wanted)?;
    let node: u16 = node.parse().map_err(|_| wanted())?;
    let mut entry = Table::new();
    entry.insert("node".to_owned(), Value::from(i64::from(node)));
    entry.insert("peer".to_owned(), Value::from(peer));
    entry.insert("client".to_owned(), Value::from(client));
    Ok(entry)
}

impl Flags {
    fn load(self) -> Result<ServerConfig, CliError> {
        let path = |path: PathBuf| path.display().to_string();
        let mut overlay = Overlay::default();
        overlay.set("node", self.node.map(i64::from));
        overlay.set("cluster", self.cluster);
        overlay.set("data", self.data.map(path));
        overlay.set("listen", self.listen);
        overlay.set("peer_listen", self.peer_listen);
        overlay.set("admin_listen", self.admin_listen);
        overlay.set("advertise", self.advertise);
        overlay.set("peers", (!self.peer.is_empty()).then_some(self.peer));
        overlay.set("shards", self.shards.map(i64::from));
        overlay.set("durability", self.durability.map(Durability::name));
        overlay.set("credential_file", self.credential_file.map(path));
        overlay.set("log_level", self.log);
        overlay.assign(&self.set)?;
        let wrong = |error: doorbuster_server::config::ConfigError| CliError::usage(error.to_string());
        let config = ServerConfig::load(self.config.as_deref(), overlay.into_table()).map_err(wrong)?;
        config.validate().map_err(wrong)?;
        Ok(config)
    }
}

impl Durability {
    const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}

/// Runs it until it is told to stop, or formats.
pub async fn run(args: ServerArgs, output: Output) -> Result<(), CliError> {
    match args.action {
        Some(Action::Format(flags)) => format(&flags.load()?, output),
        Some(Action::Run(flags)) => serve(flags.load()?).await,
        None => serve(args.flags.load()?).await,
    }
}

fn format(config: &ServerConfig, output: Output) -> Result<(), CliError> {
    let identity = doorbuster_server::format(config).map_err(|error| CliError::failed(error.to_string()))?;
    let folder = config.data.display();
    let (node, cluster, shards) = (identity.node, &identity.cluster, identity.shards);
    output.print(
        || format!("{folder} is now the data folder of node {node} of cluster {cluster} with {shards} shards; start it with `doorbuster server`"),
        || json!({ "data": folder.to_string(), "node": node.0, "cluster": cluster, "shards": shards }),
    );
    Ok(())
}

async fn serve(config: ServerConfig) -> Result<(), CliError> {
    logging::start(&config).map_err(|error| CliError::failed(error.to_string()))?;
    let shutdown = signals::shutdown()?;
    doorbuster_server::run(config, shutdown).await.map_err(|error| CliError::failed(error.to_string()))
}
