//! What is counted of webhooks.

use ::metrics::{Counter, Key, Label, Level, Metadata, Recorder};

const META: Metadata<'static> = Metadata::new("doorbuster_gateway", Level::INFO, None);

/// What became of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The payment was handed to whoever carries it on.
    Processed,
    /// It is about a payment that had come to its end.
    Settled,
    /// It had come before.
    Duplicate,
    /// It is of a type that does not matter here.
    UnknownType,
    /// It is about no payment of a reservation that is known here.
    UnknownReservation,
    /// It was not signed with the secret, or too long ago; or it is no event.
    Refused,
    /// The database, or the cluster, could not be asked; its sender is told to send it again.
    Failed,
}

/// Their names, in the order of the variants.
const FATES: [&str; 7] =
    ["processed", "settled", "duplicate", "unknown_type", "unknown_reservation", "refused", "failed"];

/// The counters. `Clone` shares them.
#[derive(Clone)]
pub struct WebhookMetrics {
    /// `doorbuster_gateway_webhooks_total`: webhooks by what became of them.
    fates: [Counter; 7],
}

impl WebhookMetrics {
    /// Registered with `recorder`.
    #[must_use]
    pub fn new(recorder: &dyn Recorder) -> Self {
        let counter = |fate| {
            let labels = vec![Label::new("outcome", fate)];
            recorder.register_counter(&Key::from_parts("doorbuster_gateway_webhooks_total", labels), &META)
        };
        Self { fates: FATES.map(counter) }
    }

    /// A webhook was answered.
    pub fn answered(&self, fate: Fate) {
        self.fates[fate as usize].increment(1);
    }
}
