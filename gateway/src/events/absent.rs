//! What stands in for the publisher in a build without the feature `kafka`: there is none.

use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, GatewayConfig};
use crate::metrics::Metrics;
use crate::orders::OrderStore;

/// Nothing is one.
#[derive(Debug)]
pub enum Publisher {}

impl Publisher {
    /// None. A configuration that asks for one was refused when it was validated.
    ///
    /// # Errors
    /// Never.
    pub(crate) fn load(_: &GatewayConfig, _: Option<&OrderStore>, _: &Metrics) -> Result<Option<Self>, ConfigError> {
        Ok(None)
    }

    pub(crate) async fn subscribe(&self, _: u16, _: &CancellationToken) {
        match *self {}
    }

    pub(crate) async fn run(self, _: u16, _: CancellationToken) {
        match self {}
    }
}
