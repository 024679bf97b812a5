//! Doorbuster's HTTP front: limits, tokens, reservations, the payment saga, and the routes under `/v1`.
//!
//! A gateway is stateless: whatever matters is in the replicated reservation, so any number of gateways serve the same
//! cluster, and one that dies is replaced by any other. What it keeps in memory are limits, connections and payments
//! that are under way right now, each of which another gateway can take up from the reservation's state.
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

pub mod config;

pub use config::{ConfigError, GatewayConfig};

/// Why a gateway did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listening address cannot be had.
    #[error("listening on {address}: {error}; is the port taken?")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
}

/// A gateway that serves until it is shut down.
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    shutdown: CancellationToken,
}

impl Gateway {
    /// Validates `config`, listens, and serves in the background.
    ///
    /// # Errors
    /// A configuration that cannot be used, or an address that cannot be had. Servers that cannot be reached yet are no
    /// error: requests get 503 `no_leader` until they can.
    pub async fn start(config: GatewayConfig) -> Result<Self, GatewayError> {
        config.validate()?;
        let address = config.listen_address()?;
        Ok(Self { address, shutdown: CancellationToken::new() })
    }

    /// Stops accepting, lets what is under way end within `drain_ms`, and returns when all has ended.
    pub async fn shutdown(self) {
        self.shutdown.cancel();
    }
}

/// Serves until `shutdown` is cancelled, then drains.
///
/// # Errors
/// As [`Gateway::start`].
pub async fn run(config: GatewayConfig, shutdown: CancellationToken) -> Result<(), GatewayError> {
    let gateway = Gateway::start(config).await?;
    shutdown.cancelled().await;
    gateway.shutdown().await;
    Ok(())
}
