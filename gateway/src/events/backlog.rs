//! What waits to be published, shown by every gateway with an order database, in builds without the feature `kafka` too: were it
//! only who publishes, nobody would tell when there is none any more.

use std::time::Duration;

use ::metrics::{Gauge, Key, Level, Metadata, Recorder};
use doorbuster_protocol::types::Timestamp;
use tokio_util::sync::CancellationToken;

use super::outbox::{Outbox, Waiting};
use crate::clock::{self, Stopwatch};
use crate::orders::OrderStore;

const META: Metadata<'static> = Metadata::new("doorbuster_gateway", Level::INFO, None);
/// Between two counts.
const COUNTED_EVERY: Duration = Duration::from_secs(5);
/// Events wait, and for so long nobody has claimed them: nobody publishes.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// How often that is said.
const SAID_EVERY: Duration = Duration::from_secs(600);

/// The backlog's gauges. `Clone` shares them.
#[derive(Clone)]
pub struct BacklogMetrics {
    /// `doorbuster_gateway_events_pending`: entries that are stored and not published, over all shards and gateways; 0 if nobody
    /// ever published from this database.
    pub pending: Gauge,
    /// `doorbuster_gateway_event_oldest_seconds`: since when the oldest of them is stored; 0 if there is none.
    pub oldest: Gauge,
}

impl BacklogMetrics {
    /// Registered with `recorder`.
    #[must_use]
    pub fn new(recorder: &dyn Recorder) -> Self {
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_static_name(name), &META);
        Self {
            pending: gauge("doorbuster_gateway_events_pending"),
            oldest: gauge("doorbuster_gateway_event_oldest_seconds"),
        }
    }
}

/// Counts until `stop`. What cannot be counted leaves the gauges as they were.
pub async fn watch(orders: OrderStore, metrics: BacklogMetrics, stop: CancellationToken) {
    let outbox = Outbox::beside(&orders);
    let mut said = None;
    let counting = async {
        loop {
            match outbox.waiting().await {
                Ok(waiting) => {
                    show(&metrics, &waiting);
                    tell(&waiting, &mut said);
                }
                Err(error) => tracing::debug!(%error, "waiting events cannot be counted now"),
            }
            tokio::time::sleep(COUNTED_EVERY).await;
        }
    };
    stop.run_until_cancelled(counting).await;
}

fn show(metrics: &BacklogMetrics, waiting: &Waiting) {
    // Far below 2^52, where a float counts exactly.
    #[allow(clippy::cast_precision_loss)]
    metrics.pending.set(waiting.events as f64);
    let age = waiting.since.map_or(Duration::ZERO, |since| between(since, clock::wall()));
    metrics.oldest.set(age.as_secs_f64());
}

/// Says that nobody publishes, when that begins and now and then.
fn tell(waiting: &Waiting, said: &mut Option<Stopwatch>) {
    let Some(age) = abandoned(waiting, clock::wall()) else {
        *said = None;
        return;
    };
    if said.as_ref().is_none_or(|said| said.elapsed() > SAID_EVERY) {
        *said = Some(Stopwatch::start());
        let (events, seconds) = (waiting.events, age.as_secs());
        tracing::warn!(
            events,
            seconds,
            "events wait in the order database and no gateway publishes them: run one with [kafka], or, to publish no more, \
             clear the tables as EVENTS.md says"
        );
    }
}

/// For how long nobody publishes what waits, if it is long. A publisher keeps its claim for as long as something waits, whether
/// or not Kafka takes it.
fn abandoned(waiting: &Waiting, now: Timestamp) -> Option<Duration> {
    let since = waiting.since?.max(waiting.claimed_until);
    Some(between(since, now)).filter(|age| *age > ABANDONED_AFTER)
}

/// The database's clock and this machine's may differ: not below zero.
fn between(since: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(now.get().saturating_sub(since.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_has_claimed_for_a_minute_is_abandoned() {
        let now = Timestamp(1_800_000_000_000);
        let ago = |seconds: u64| Timestamp(now.get() - 1000 * seconds);
        for (since, claimed_until, expected) in [
            (None, Timestamp(0), None),
            (Some(ago(3600)), Timestamp(0), Some(3600)),
            (Some(ago(59)), Timestamp(0), None),
            (Some(ago(3600)), ago(59), None),
            (Some(ago(3600)), ago(61), Some(61)),
            (Some(ago(3600)), Timestamp(now.get() + 9000), None),
        ] {
            let waiting = Waiting { events: 3, since, claimed_until };
            assert_eq!(abandoned(&waiting, now), expected.map(Duration::from_secs), "{waiting:?}");
        }
    }
}
