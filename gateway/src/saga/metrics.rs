//! What is counted of payments and refunds.

use ::metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use doorbuster_protocol::query::Unsettled;
use doorbuster_protocol::types::Millis;

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
