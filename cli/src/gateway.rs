//! `doorbuster gateway`: the HTTP front as a process.

use crate::error::CliError;
use crate::overlay::Overlay;
use crate::signals;
use clap::Args;
use doorbuster_gateway::{GatewayConfig, GatewayError};
use std::path::PathBuf;

/// `doorbuster gateway ...`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster gateway --nodes 127.0.0.1:7400 --insecure-dev          try things out, on loopback only\n  \
    doorbuster gateway --config gateway.toml\n  \
    doorbuster gateway --config gateway.toml --database postgres://shop:secret@db/orders\n  \
    doorbuster gateway --config gateway.toml --set payment.provider=stripe     take money; the file has [[payment.stripe.accounts]]\n\n\
    Settings come from defaults, then the TOML file, then DOORBUSTER_GATEWAY_* variables, then these flags.\n\
    It stops at Ctrl-C or SIGTERM, when requests and payments under way have ended.")]
pub struct GatewayArgs {
    /// TOML file with the settings
    #[arg(long, short, env = "DOORBUSTER_CONFIG_GATEWAY", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where HTTP is served [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Client addresses of the servers, comma-separated [default: 127.0.0.1:7400]
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,...")]
    nodes: Option<Vec<String>>,
    /// The cluster's name [default: doorbuster]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// File that holds the shared secret which the servers want
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// Where orders are stored: sqlite:PATH or postgres://... [default: sqlite:doorbuster-orders.db]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Believe `Authorization: Bearer dev:NAME[:admin]` from anybody; only on a loopback address
    #[arg(long)]
    insecure_dev: bool,
    /// Any other field, as TOML writes it; may be repeated
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// How to log
    #[command(flatten)]
    log: crate::log::LogArgs,
}

/// Runs it until it is told to stop.
pub async fn run(args: GatewayArgs) -> Result<(), CliError> {
    crate::log::start(&args.log)?;
    let mut overlay = Overlay::default();
    overlay.set("listen", args.listen);
    overlay.set("nodes", args.nodes);
    overlay.set("cluster", args.cluster);
    overlay.set("credential_file", args.credential_file.map(|path| path.display().to_string()));
    overlay.set("database", args.database);
    overlay.set("insecure_dev", args.insecure_dev.then_some(true));
    overlay.assign(&args.set)?;
    let config = GatewayConfig::load(args.config.as_deref(), overlay.into_table())
        .map_err(|error| CliError::usage(error.to_string()))?;
    let shutdown = signals::shutdown()?;
    doorbuster_gateway::run(config, shutdown).await.map_err(|error| match error {
        GatewayError::Config(error) => CliError::usage(error.to_string()),
        error => CliError::failed(error.to_string()),
    })
}
