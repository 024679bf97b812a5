//! Finds what nobody carries on: payments without an end and refunds that are due, of all shards, from the shards
//! themselves; and hands them to the saga. Any number of gateways do this at once: every step is idempotent.
//!
//! A payment counts as left behind when nothing has changed about it for `payment.sweep_after_ms` of cluster time. That
//! is no judgement on whoever began it: if it lives, both ask the provider under the same key and are told the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_client::{Client, Error};
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::types::{Millis, Money, ProductId, ShardId};
use tokio_util::sync::CancellationToken;

use super::metrics::{Load, PaymentMetrics};
use super::worker::{Run, Saga};
use crate::config::PaymentConfig;
use crate::entropy::jittered;

/// Reservations in a page.
const PAGE: u32 = 256;

/// See the module.
pub struct Sweeper {
    saga: Arc<Saga>,
    client: Client,
    metrics: PaymentMetrics,
    every: Millis,
    after: Millis,
}

impl Sweeper {
    /// A sweeper for this saga.
    #[must_use]
    pub fn new(saga: Arc<Saga>, client: Client, metrics: PaymentMetrics, config: &PaymentConfig) -> Self {
        let (every, after) = (Millis(config.sweep_every_ms), Millis(config.sweep_after_ms));
        Self { saga, client, metrics, every, after }
    }

    /// Sweeps until `stop`. Does nothing if the configuration says so.
    pub async fn run(self, stop: CancellationToken) {
        if self.after == Millis(0) {
            return;
        }
        let rounds = async {
            loop {
                // From half of it to all, so that gateways which started together do not come together.
                tokio::time::sleep(Duration::from_millis(jittered(Millis(self.every.0 / 2)).0)).await;
                self.round().await;
            }
        };
        stop.run_until_cancelled(rounds).await;
    }

    async fn round(&self) {
        for of in [Unsettled::Payments, Unsettled::Refunds] {
            let mut load = Some(Load::default());
            for shard in (0..self.client.shards()).map(ShardId) {
                match self.shard(shard, of).await {
                    Ok(more) => load = load.map(|load| load.and(more)),
                    Err(error) => {
                        tracing::warn!(%shard, %error, "payments and refunds cannot be swept; trying again");
                        load = None;
                    }
                }
            }
            // What is not known of every shard is not told at all.
            if let Some(load) = load {
                self.metrics.seen(of, load);
            }
        }
    }

    /// Hands over what is left behind on a shard. What changed first stands first, so what is behind one that is not
    /// left behind is not looked at.
    async fn shard(&self, shard: ShardId, of: Unsettled) -> Result<Load, Error> {
        let mut after = Changed::default();
        let mut load = None;
        let mut prices = HashMap::new();
        loop {
            let page = self.client.unsettled(shard, of, after, PAGE).await?;
            let oldest = page.reservations.first().map_or(Millis(0), |first| page.time.since(first.changed_at));
            let load = *load.get_or_insert(Load { count: page.total, oldest });
            for view in &page.reservations {
                if page.time.since(view.changed_at) < self.after {
                    return Ok(load);
                }
                let price = self.price(&mut prices, view.product).await?;
                let run = match of {
                    Unsettled::Payments => Run::finish(view, price),
                    Unsettled::Refunds => Run::refund(view, price),
                };
                self.saga.sweep(run).await;
                after = Changed { at: view.changed_at, reservation: view.reservation };
            }
            if page.reservations.len() < PAGE as usize {
                return Ok(load);
            }
        }
    }

    /// A product's price, which never changes.
    async fn price(&self, known: &mut HashMap<ProductId, Money>, product: ProductId) -> Result<Money, Error> {
        if let Some(price) = known.get(&product) {
            return Ok(*price);
        }
        let price = self.client.product(product).await?.product.spec.price;
        known.insert(product, price);
        Ok(price)
    }
}
