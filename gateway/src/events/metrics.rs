//! What the publisher counts.

use ::metrics::{Counter, Key, Label, Level, Metadata, Recorder};

const META: Metadata<'static> = Metadata::new("doorbuster_gateway", Level::INFO, None);

/// The publisher's counters. `Clone` shares them.
#[derive(Clone)]
pub struct EventMetrics {
    /// `doorbuster_gateway_events_published_total`: events that this gateway published, those that were published before
    /// included.
    pub published: Counter,
    /// `doorbuster_gateway_event_errors_total{source="kafka"}`: what the Kafka client complained of (a broker that cannot
    /// be reached, each time), and deliveries that failed.
    pub kafka_errors: Counter,
    /// `doorbuster_gateway_event_errors_total{source="database"}`: tries that the database did not answer.
    pub store_errors: Counter,
    /// `doorbuster_gateway_events_missing_total`: entries that nobody wrote down for publishing: a gateway of an older
    /// version stored them. Anything but 0 wants a person.
    pub missing: Counter,
}

impl EventMetrics {
    /// Registered with `recorder`.
    #[must_use]
    pub fn new(recorder: &dyn Recorder) -> Self {
        let counter = |name: &'static str| recorder.register_counter(&Key::from_static_name(name), &META);
        let errors = |source: &'static str| {
            let key = Key::from_parts("doorbuster_gateway_event_errors_total", vec![Label::new("source", source)]);
            recorder.register_counter(&key, &META)
        };
        Self {
            published: counter("doorbuster_gateway_events_published_total"),
            kafka_errors: errors("kafka"),
            store_errors: errors("database"),
            missing: counter("doorbuster_gateway_events_missing_total"),
        }
    }
}
