//! After the sale money may still be on its way: a payment that the provider is late with, a refund that is due, a webhook that
//! nobody took while the gateway was down. Nothing is compared before all of that has come to its end, or was given its time.

use super::plan::LATE;
use crate::audit::ledger::State;
use crate::audit::simulator::{self, happened};
use crate::clock;
use crate::error::CliError;
use doorbuster_client::{Client, Error};
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::types::ShardId;
use std::time::Duration;

/// How long payments and refunds may take to their end: what the provider is late with, and as long as a gateway may then
/// need that was killed, or has a million other things to do.
const SETTLED_WITHIN: Duration = Duration::from_secs(LATE.0 / 1000 + 60);
/// How long, after that, what is told by webhook may take to be heard. It changes nothing any more; it must not.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks.
const ROUND: Duration = Duration::from_millis(200);

/// Waits until no payment is under way, no refund due, and everything told. What is not at its end in time, in words.
pub async fn wait(client: &Client, provider: &str) -> Result<Option<String>, CliError> {
    let deadline = clock::now() + SETTLED_WITHIN;
    loop {
        let (payments, refunds) = open(client).await?;
        if payments + refunds == 0 && !is_deciding(provider).await? {
            break;
        }
        if clock::now() > deadline {
            let seconds = SETTLED_WITHIN.as_secs();
            return Ok(Some(format!(
                "{payments} payments and {refunds} refunds had not come to their end {seconds}s after the sale"
            )));
        }
        tokio::time::sleep(ROUND).await;
    }
    let deadline = clock::now() + TOLD_WITHIN;
    while happened(provider).await?.waiting > 0 && clock::now() < deadline {
        tokio::time::sleep(ROUND).await;
    }
    Ok(None)
}

/// How many payments and refunds the shards have that nobody has brought to their end.
async fn open(client: &Client) -> Result<(u64, u64), Error> {
    let mut open = [0, 0];
    for shard in (0..client.shards()).map(ShardId) {
        for (count, of) in open.iter_mut().zip([Unsettled::Payments, Unsettled::Refunds]) {
            *count += client.unsettled(shard, of, Changed::default(), 1).await?.total;
        }
    }
    let [payments, refunds] = open;
    Ok((payments, refunds))
}

/// Whether the provider has charges that it has not decided.
async fn is_deciding(provider: &str) -> Result<bool, CliError> {
    Ok(simulator::ledger(provider).await?.iter().any(|charge| charge.state == State::InProgress))
}
