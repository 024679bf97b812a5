//! The clients: each a task that wants one thing after the other, asks again with the same id while it is patient, and
//! writes down what it heard.

pub mod answer;
pub mod http;
pub mod operator;
pub mod tcp;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_client::{Client, Error};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::Millis;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use super::record::Record;
use super::shop::Shop;
use crate::history::Heard;

/// How long the library may try before it gives up, for those who come back and for those who ask once.
const DEADLINE: Duration = Duration::from_millis(1500);
const ONCE_DEADLINE: Duration = Duration::from_millis(400);
/// Pause before the same is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// What every client has.
#[derive(Clone, Debug)]
pub struct Buyer {
    /// Its number in the history.
    pub number: u32,
    /// What is on sale.
    pub shop: Arc<Shop>,
    /// Where everything is written down.
    pub record: Arc<Record>,
    /// When to stop.
    pub over: CancellationToken,
}

impl Buyer {
    /// Its own stream of decisions.
    pub fn rng(&self, seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed ^ (u64::from(self.number) << 40))
    }

    /// Asks through the library, again with the same id after an unknown outcome, `tries` times in all.
    pub async fn ask(&self, client: &Client, body: RequestBody, tries: u32) -> Heard {
        let ticket = self.record.call(self.number, body.clone());
        let mut unheard = false;
        let mut heard = Heard::Unknown;
        let deadline = if tries > 1 { DEADLINE } else { ONCE_DEADLINE };
        for again in 0..tries {
            if again > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let request = Request { body: body.clone(), wait: Millis(0) };
            let (answer, missed) = client.execute_noting(request, Some(deadline)).await;
            unheard |= missed;
            heard = match answer {
                Ok(reply) => Heard::Reply(reply),
                Err(Error::Refused(refusal)) => Heard::Refused(refusal),
                Err(Error::OutcomeUnknown) => Heard::Unknown,
                Err(_) if unheard => Heard::Unknown,
                Err(error) => Heard::NotDone(error.to_string()),
            };
            if matches!(heard, Heard::Reply(_) | Heard::Refused(_)) || self.over.is_cancelled() {
                break;
            }
        }
        if unheard {
            self.record.unheard(ticket);
        }
        self.record.heard(ticket, heard.clone());
        heard
    }

    /// A moment to think.
    pub async fn think(&self, rng: &mut StdRng, most: u64) {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..=most))).await;
    }
}
