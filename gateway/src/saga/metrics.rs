//! What is counted of payments and refunds.

use ::metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use doorbuster_protocol::query::Unsettled;
use doorbuster_protocol::types::Millis;

use super::pacing::breaker::State;
use super::pacing::queue::RANKS;
use super::pacing::{AccountReport, RESULTS};
use super::step::Outcome;

const META: Metadata<'static> = Metadata::new("doorbuster_gateway", Level::INFO, None);
/// Outcomes by their names, in the order of [`index`].
const OUTCOMES: [&str; 6] = ["confirmed", "declined", "refund_due", "refunded", "unsettled", "unresolved"];

/// The counters. `Clone` shares them.
#[derive(Clone)]
pub struct PaymentMetrics {
    /// `doorbuster_gateway_payments_total`: runs of a payment that ended here, by outcome. Anything `unsettled` wants a
    /// person.
    payments: [Counter; 6],
    /// `doorbuster_gateway_refunds_total`: runs of a refund that ended here, by outcome.
    refunds: [Counter; 6],
    /// `doorbuster_gateway_payments_open` and `doorbuster_gateway_payment_oldest_seconds`.
    open: Seen,
    /// `doorbuster_gateway_refunds_due` and `doorbuster_gateway_refund_oldest_seconds`.
    due: Seen,
}

/// What the sweeper saw in its last whole round, of the whole cluster.
#[derive(Clone)]
struct Seen {
    count: Gauge,
    oldest: Gauge,
}

/// How much there is to settle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many.
    pub count: u64,
    /// How long ago the one that changed first did.
    pub oldest: Millis,
}

impl Load {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, oldest: self.oldest.max(other.oldest) }
    }
}

impl PaymentMetrics {
    /// Registered with `recorder`.
    #[must_use]
    pub fn new(recorder: &dyn Recorder) -> Self {
        let ended = |name: &'static str| {
            OUTCOMES.map(|outcome| {
                recorder.register_counter(&Key::from_parts(name, vec![Label::new("outcome", outcome)]), &META)
            })
        };
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_static_name(name), &META);
        Self {
            payments: ended("doorbuster_gateway_payments_total"),
            refunds: ended("doorbuster_gateway_refunds_total"),
            open: Seen {
                count: gauge("doorbuster_gateway_payments_open"),
                oldest: gauge("doorbuster_gateway_payment_oldest_seconds"),
            },
            due: Seen {
                count: gauge("doorbuster_gateway_refunds_due"),
                oldest: gauge("doorbuster_gateway_refund_oldest_seconds"),
            },
        }
    }

    /// A payment ended.
    pub fn payment_ended(&self, outcome: Outcome) {
        self.payments[index(outcome)].increment(1);
    }

    /// A refund ended.
    pub fn refund_ended(&self, outcome: Outcome) {
        self.refunds[index(outcome)].increment(1);
    }

    /// The sweeper has seen all shards.
    pub fn seen(&self, of: Unsettled, load: Load) {
        let seen = match of {
            Unsettled::Payments => &self.open,
            Unsettled::Refunds => &self.due,
        };
        // Far below 2^52, where a float counts exactly.
        #[allow(clippy::cast_precision_loss)]
        seen.count.set(load.count as f64);
        seen.oldest.set(std::time::Duration::from_millis(load.oldest.0).as_secs_f64());
    }
}

/// Shows an account: `doorbuster_gateway_account_queue` and `_queue_oldest_seconds`, `_breaker` (0 closed, 1 a probe may pass,
/// 2 open) and `_requests_total`.
pub fn account_now(recorder: &dyn Recorder, report: &AccountReport) {
    let key = |name: &'static str, label: Option<(&'static str, &'static str)>| {
        let account = Label::new("account", report.account.clone());
        let labels = [Some(account), label.map(|(name, value)| Label::new(name, value))];
        Key::from_parts(name, labels.into_iter().flatten().collect::<Vec<_>>())
    };
    for ((_, rank), queued) in RANKS.iter().zip(report.queued) {
        let gauge = recorder.register_gauge(&key("doorbuster_gateway_account_queue", Some(("rank", rank))), &META);
        // At most a few thousand.
        #[allow(clippy::cast_precision_loss)]
        gauge.set(queued as f64);
    }
    let gauge = |name| recorder.register_gauge(&key(name, None), &META);
    gauge("doorbuster_gateway_account_queue_oldest_seconds").set(report.oldest.as_secs_f64());
    gauge("doorbuster_gateway_account_breaker").set(match report.breaker {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    });
    for (result, count) in RESULTS.iter().zip(report.results) {
        let key = key("doorbuster_gateway_account_requests_total", Some(("result", result)));
        recorder.register_counter(&key, &META).absolute(count);
    }
}

const fn index(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Confirmed => 0,
        Outcome::Declined(_) => 1,
        Outcome::RefundDue => 2,
        Outcome::Refunded => 3,
        Outcome::Unsettled => 4,
        Outcome::Unresolved => 5,
    }
}
