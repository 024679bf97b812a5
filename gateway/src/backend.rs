//! The connection to the cluster, made in the background: a gateway starts, and says it is not ready, while no server does.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use doorbuster_client::{Client, Config, Error};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, GatewayConfig, field};
use crate::problem::{Problem, cluster};

/// Pause between tries to connect.
const PAUSE: Duration = Duration::from_millis(250);

/// The client, once there is one.
#[derive(Debug, Default)]
pub struct Backend {
    client: OnceLock<Client>,
    is_there: Notify,
}

impl Backend {
    /// The client.
    #[must_use]
    pub fn get(&self) -> Option<&Client> {
        self.client.get()
    }

    /// The client, when there is one.
    pub async fn connected(&self) -> &Client {
        loop {
            let told = self.is_there.notified();
            if let Some(client) = self.get() {
                return client;
            }
            told.await;
        }
    }

    /// The client, or what to answer without one.
    ///
    /// # Errors
    /// 503 `no_leader` before the first connection.
    pub fn client(&self) -> Result<&Client, Problem> {
        self.get().ok_or_else(|| cluster::no_leader("not connected yet"))
    }

    /// Connects, trying until it succeeds or `stop` is cancelled. Logs when what is in the way changes.
    pub async fn connect(&self, config: Config, stop: CancellationToken) {
        let mut told = String::new();
        while !stop.is_cancelled() {
            match Client::connect(config.clone()).await {
                Ok(client) => {
                    tracing::info!(nodes = ?config.nodes, cluster = config.cluster, "connected to the cluster");
                    // Nobody else sets it.
                    let _ = self.client.set(client);
                    self.is_there.notify_waiters();
                    return;
                }
                Err(error) => tell(&mut told, &error),
            }
            let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
        }
    }
}

fn tell(told: &mut String, error: &Error) {
    let text = error.to_string();
    if *told != text {
        tracing::warn!(error = text, "cannot reach the cluster; trying on");
        *told = text;
    }
}

/// What the client needs, from the gateway's configuration.
///
/// # Errors
/// A credential that cannot be read.
pub fn client_config(config: &GatewayConfig) -> Result<Config, ConfigError> {
    let mut client = Config::new(config.cluster.clone(), config.nodes.clone())
        .with_deadline(Duration::from_millis(config.deadline_ms))
        .with_name("doorbuster-gateway");
    client.connections_per_node = config.connections_per_node;
    client.credential = credential(config)?;
    Ok(client)
}

fn credential(config: &GatewayConfig) -> Result<Option<Vec<u8>>, ConfigError> {
    if let Some(path) = &config.credential_file {
        return read(path).map(Some);
    }
    let Some(variable) = &config.credential_env else { return Ok(None) };
    let missing = |_| field("credential_env", variable, "set that environment variable");
    std::env::var(variable).map(|text| Some(text.into_bytes())).map_err(missing)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = std::fs::read(path).map_err(|error| ConfigError::File(path.into(), error))?;
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    Ok(bytes)
}
