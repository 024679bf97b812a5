//! What payment providers tell by themselves, over HTTP: `POST /v1/webhooks/{provider}`.
//!
//! Fault model: anybody can post anything; a provider's events come late, often, in any order, or never, also before the
//! call that they are about has been answered; the database and the cluster are down at any moment. So an event is
//! believed only with a signature ([`signature`]), is written down ([`store`]) before its sender hears 200, and is no more
//! than a reason to ask the provider what came of the payment: what it answers then goes through the saga's steps as
//! always. Losing an event, or acting on it twice, changes nothing but when a payment is settled.

use crate::config::{ConfigError, GatewayConfig};
use crate::orders::OrderStore;

pub mod event;
pub mod metrics;
pub mod retention;
mod secrets;
pub mod sender;
pub mod signature;
pub mod store;

use sender::Sender;
use signature::Secrets;
use store::EventStore;

/// What is needed to take a provider's webhooks.
#[derive(Debug)]
pub struct Webhooks {
    /// Who sends them.
    pub sender: &'static Sender,
    /// What it signs them with.
    pub secrets: Secrets,
    /// Where they are written down.
    pub store: EventStore,
}

impl Webhooks {
    /// Those of the configured provider; none without secrets to check them with.
    ///
    /// # Errors
    /// Secrets that cannot be read, or are none.
    pub fn load(config: &GatewayConfig, orders: Option<&OrderStore>) -> Result<Option<Self>, ConfigError> {
        let (Some(secrets), Some(orders)) = (secrets::load(&config.payment)?, orders) else { return Ok(None) };
        let sender = sender::of(config.payment.provider);
        Ok(Some(Self { sender, secrets, store: EventStore::beside(orders) }))
    }
}
