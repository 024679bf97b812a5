//! Sends events to where webhooks are wanted, each until it is acknowledged with 2xx: several at once, each with a pause after
//! a failure that doubles. Anything but 2xx is a failure, also no answer within `PATIENCE`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::clock;
use crate::outbox::Due;
use crate::routes::Shop;
use crate::signature::Secrets;

/// The header that carries the signature.
pub const SIGNATURE: &str = "doorbuster-signature";
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events sent at once.
const AT_ONCE: usize = 16;
/// Longest pause before the ledger is looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// Where webhooks go, and what signs them.
#[derive(Clone, Debug)]
pub struct Webhooks {
    authority: String,
    path: String,
    secrets: Secrets,
}

/// Not a place that webhooks are sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "webhooks go to http://HOST:PORT/PATH on a loopback address, not to {0}: this provider is for trying things out on one machine"
)]
pub struct NoPlace(String);

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Webhooks {
    /// To this URL, signed so.
    ///
    /// # Errors
    /// Another scheme, or an address that is not this machine's.
    pub fn to(url: &str, secrets: Secrets) -> Result<Self, NoPlace> {
        let wrong = || NoPlace(url.to_owned());
        let parsed = Url::parse(url).map_err(|_| wrong())?;
        let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else { return Err(wrong()) };
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let is_here = plain == "localhost" || plain.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if parsed.scheme() != "http" || !is_here || !parsed.username().is_empty() {
            return Err(wrong());
        }
        Ok(Self { authority: format!("{host}:{port}"), path: parsed.path().to_owned(), secrets })
    }

    /// Sends what is due until `stop`, then waits for what is being sent.
    pub(crate) async fn run(self, shop: Arc<Shop>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let (webhooks, sending) = (Arc::new(self), TaskTracker::new());
        stop.run_until_cancelled(webhooks.send_all(&shop, &places, &sending)).await;
        sending.close();
        sending.wait().await;
    }

    async fn send_all(self: &Arc<Self>, shop: &Arc<Shop>, places: &Arc<Semaphore>, sending: &TaskTracker) {
        loop {
            // Nobody closes the semaphore; once there is room, what is due is taken.
            drop(places.acquire().await);
            let room = u32::try_from(places.available_permits()).unwrap_or(0);
            let due = if shop.is_down() { Ok(Vec::new()) } else { shop.ledger().take_due(room).await };
            let due = due.unwrap_or_else(|error| {
                tracing::error!(%error, "the ledger fails");
                Vec::new()
            });
            if due.is_empty() {
                self.rest(shop).await;
            }
            for due in due {
                let Ok(place) = places.clone().acquire_owned().await else { return };
                let (webhooks, shop) = (Arc::clone(self), Arc::clone(shop));
                sending.spawn(async move {
                    webhooks.send(&shop, &due).await;
                    drop(place);
                });
            }
        }
    }

    /// Until something may be due.
    async fn rest(&self, shop: &Shop) {
        let next = shop.ledger().next_due().await.ok().flatten().unwrap_or(LOOK).min(LOOK);
        let next = if shop.is_down() { LOOK } else { next };
        // Whether it was woken does not matter.
        let _ = tokio::time::timeout(next.max(Duration::from_millis(1)), shop.decided()).await;
    }

    async fn send(&self, shop: &Shop, due: &Due) {
        let sent = tokio::time::timeout(PATIENCE, self.exchange(due)).await;
        let is_acknowledged = match sent {
            Ok(Ok(status)) => (200..300).contains(&status),
            Ok(Err(error)) => {
                tracing::debug!(error, "a webhook cannot be sent");
                false
            }
            Err(_) => false,
        };
        let ledger = shop.ledger();
        let written = match is_acknowledged {
            true => ledger.acknowledged(due.number).await,
            false => ledger.failed(due).await.map(|()| 0),
        };
        match written {
            Ok(times) => shop.tally().sent(is_acknowledged, times == 1),
            Err(error) => tracing::error!(%error, "the ledger fails; a webhook is sent again"),
        }
    }

    async fn exchange(&self, due: &Due) -> Result<u16, Failure> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with its sender.
        tokio::spawn(connection);
        let request = Request::builder()
            .method("POST")
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(SIGNATURE, self.secrets.sign(clock::wall() / 1000, due.body.as_bytes()))
            .body(Full::new(Bytes::from(due.body.clone())))?;
        Ok(sender.send_request(request).await?.status().as_u16())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_stay_on_this_machine() {
        let secrets = || Secrets::read(&"s".repeat(32)).unwrap();
        for (url, authority) in [
            ("http://127.0.0.1:8080/v1/webhooks/simulator", "127.0.0.1:8080"),
            ("http://[::1]:8080/v1/webhooks/simulator", "[::1]:8080"),
            ("http://localhost/v1/webhooks/simulator", "localhost:80"),
        ] {
            let webhooks = Webhooks::to(url, secrets()).unwrap();
            assert_eq!((webhooks.authority.as_str(), webhooks.path.as_str()), (authority, "/v1/webhooks/simulator"));
        }
        for url in ["", "https://127.0.0.1/x", "http://192.0.2.1/x", "http://example.com/x", "http://me@127.0.0.1/x"] {
            assert_eq!(Webhooks::to(url, secrets()).unwrap_err(), NoPlace(url.to_owned()));
        }
    }
}
