//! What the gateway counts, in Prometheus' text format. A gateway has a recorder of its own, not the process's, so several
//! may live in one process. Handles are made once; counting is an atomic addition.

use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::events::BacklogMetrics;
use crate::orders::OrderMetrics;
use crate::problem::kinds;
use crate::routes::TABLE;
use crate::saga::metrics::{self, PaymentMetrics};
use crate::saga::pacing::AccountReport;
use crate::webhooks::metrics::WebhookMetrics;

/// Buckets of the latency histograms, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const META: Metadata<'static> = Metadata::new("doorbuster_gateway", Level::INFO, None);

/// The counters.
pub struct Metrics {
    handle: PrometheusHandle,
    /// By route, in the table's order, then one for what has none; by hundreds of the status.
    requests: Vec<[Counter; 4]>,
    latency: Vec<Histogram>,
    /// By problem, in the order of `kinds::ALL`.
    problems: Vec<Counter>,
    in_progress: Gauge,
    connections: Gauge,
    /// What the order writer counts.
    pub orders: OrderMetrics,
    /// What waits to be published.
    pub backlog: BacklogMetrics,
    recorder: PrometheusRecorder,
    /// What the saga counts.
    pub payments: PaymentMetrics,
    /// What providers told.
    pub webhooks: WebhookMetrics,
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets(&BUCKETS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        let counter = |name, labels: &[(&'static str, String)]| recorder.register_counter(&key(name, labels), &META);
        let names = TABLE.iter().map(|route| format!("{} {}", route.method, route.path)).chain(["none".to_owned()]);
        let names: Vec<String> = names.collect();
        let by_class = |route: &String| {
            ["2xx", "3xx", "4xx", "5xx"].map(|class| {
                counter("doorbuster_gateway_requests_total", &[("route", route.clone()), ("status", class.into())])
            })
        };
        let latency = |route: &String| {
            let key = key("doorbuster_gateway_request_seconds", &[("route", route.clone())]);
            recorder.register_histogram(&key, &META)
        };
        Self {
            handle: recorder.handle(),
            requests: names.iter().map(by_class).collect(),
            latency: names.iter().map(latency).collect(),
            problems: kinds::ALL
                .iter()
                .map(|kind| counter("doorbuster_gateway_problems_total", &[("code", kind.code.into())]))
                .collect(),
            in_progress: gauge(&recorder, "doorbuster_gateway_requests_in_progress"),
            connections: gauge(&recorder, "doorbuster_gateway_connections"),
            orders: OrderMetrics::new(&recorder),
            backlog: BacklogMetrics::new(&recorder),
            payments: PaymentMetrics::new(&recorder),
            webhooks: WebhookMetrics::new(&recorder),
            recorder,
        }
    }

    /// A request was answered. `route` is its index in the table, if it has one.
    pub fn answered(&self, route: Option<usize>, status: u16, took: Duration) {
        let route = route.unwrap_or(TABLE.len());
        self.requests[route][usize::from(status / 100).clamp(2, 5) - 2].increment(1);
        self.latency[route].record(took.as_secs_f64());
    }

    /// A request was answered with this problem.
    pub fn problem(&self, kind: &'static kinds::Kind) {
        if let Some(index) = kinds::ALL.iter().position(|known| std::ptr::eq(*known, kind)) {
            self.problems[index].increment(1);
        }
    }

    /// So many connections are open.
    pub fn connections(&self, open: usize) {
        self.connections.set(to_f64(open));
    }

    /// Everything, as text; the provider's accounts as they are now.
    #[must_use]
    pub fn render(&self, in_progress: usize, accounts: &[AccountReport]) -> String {
        accounts.iter().for_each(|account| metrics::account_now(&self.recorder, account));
        self.in_progress.set(to_f64(in_progress));
        self.handle.render()
    }

    /// What the publisher of events counts, on a gateway that has one.
    #[cfg(feature = "kafka")]
    pub fn events(&self) -> crate::events::EventMetrics {
        crate::events::EventMetrics::new(&self.recorder)
    }

    /// Folds what was recorded into the histograms; to be called every few seconds, so that what waits stays small.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn key(name: &'static str, labels: &[(&'static str, String)]) -> Key {
    let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, value.clone())).collect();
    Key::from_parts(name, labels)
}

fn gauge(recorder: &PrometheusRecorder, name: &'static str) -> Gauge {
    recorder.register_gauge(&key(name, &[]), &META)
}

fn to_f64(count: usize) -> f64 {
    // Counts of connections and requests are far below 2^32.
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::query::Unsettled;
    use doorbuster_protocol::types::Millis;

    use super::*;
    use crate::saga::metrics::Load;
    use crate::saga::pacing::breaker::State;
    use crate::saga::step::Outcome;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        metrics.answered(Some(0), 200, Duration::from_millis(3));
        metrics.answered(None, 404, Duration::from_micros(10));
        metrics.problem(&kinds::SOLD_OUT);
        metrics.payments.payment_ended(Outcome::Declined("card_declined"));
        metrics.payments.refund_ended(Outcome::Refunded);
        metrics.payments.seen(Unsettled::Refunds, Load { count: 3, oldest: Millis(61_500) });
        let account = AccountReport {
            account: "main".into(),
            queued: [7, 2],
            oldest: Duration::from_millis(1500),
            breaker: State::Open,
            results: [5, 4, 3, 1],
        };
        let text = metrics.render(2, &[account]);
        for line in [
            "doorbuster_gateway_requests_total{route=\"none\",status=\"4xx\"} 1",
            "doorbuster_gateway_problems_total{code=\"sold_out\"} 1",
            "doorbuster_gateway_payments_total{outcome=\"declined\"} 1",
            "doorbuster_gateway_refunds_total{outcome=\"refunded\"} 1",
            "doorbuster_gateway_refunds_due 3",
            "doorbuster_gateway_refund_oldest_seconds 61.5",
            "doorbuster_gateway_account_queue{account=\"main\",rank=\"buyer\"} 7",
            "doorbuster_gateway_account_queue{account=\"main\",rank=\"settling\"} 2",
            "doorbuster_gateway_account_queue_oldest_seconds{account=\"main\"} 1.5",
            "doorbuster_gateway_account_breaker{account=\"main\"} 2",
            "doorbuster_gateway_account_requests_total{account=\"main\",result=\"busy\"} 4",
            "doorbuster_gateway_requests_in_progress 2",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(text.contains("doorbuster_gateway_request_seconds_bucket"), "{text}");
    }
}
