//! What the order writer counts.

use ::metrics::{Counter, Gauge, Key, Level, Metadata, Recorder};

const META: Metadata<'static> = Metadata::new("doorbuster_gateway", Level::INFO, None);

/// The writer's counters. `Clone` shares them.
#[derive(Clone)]
pub struct OrderMetrics {
    /// `doorbuster_gateway_orders_stored_total`: feed entries that this gateway stored.
    pub stored: Counter,
    /// `doorbuster_gateway_order_store_errors_total`: tries that the database did not answer or was not ready for.
    pub store_errors: Counter,
    /// `doorbuster_gateway_order_rows_refused_total`: tries in which feed and database did not belong together, or the
    /// database refused to park what it refuses. Anything but 0 wants a person: the shard's orders wait.
    pub refused: Counter,
    /// `doorbuster_gateway_order_feed_errors_total`: reads and acknowledgements of the feed that failed.
    pub feed_errors: Counter,
    /// `doorbuster_gateway_orders_pending`: entries on the feeds that are not stored yet, over all shards.
    pub pending: Gauge,
    /// `doorbuster_gateway_orders_parked`: entries that the database refused, as many as it has parked, whichever gateway did
    /// it. Anything but 0 wants a person.
    pub parked: Gauge,
}

impl OrderMetrics {
    /// Registered with `recorder`.
    #[must_use]
    pub fn new(recorder: &dyn Recorder) -> Self {
        let counter = |name: &'static str| recorder.register_counter(&Key::from_static_name(name), &META);
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_static_name(name), &META);
        Self {
            stored: counter("doorbuster_gateway_orders_stored_total"),
            store_errors: counter("doorbuster_gateway_order_store_errors_total"),
            refused: counter("doorbuster_gateway_order_rows_refused_total"),
            feed_errors: counter("doorbuster_gateway_order_feed_errors_total"),
            pending: gauge("doorbuster_gateway_orders_pending"),
            parked: gauge("doorbuster_gateway_orders_parked"),
        }
    }

    /// Counted nowhere.
    #[must_use]
    pub fn none() -> Self {
        Self {
            stored: Counter::noop(),
            store_errors: Counter::noop(),
            refused: Counter::noop(),
            feed_errors: Counter::noop(),
            pending: Gauge::noop(),
            parked: Gauge::noop(),
        }
    }
}
