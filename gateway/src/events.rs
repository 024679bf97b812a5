//! Events to other systems: what the order feed tells, published to Kafka, in JSON as `EVENTS.md` and `event.schema.json` have it.
//!
//! Events are published from what the order writer stores, not from the feed itself. The feed has one acknowledged position,
//! and what is acknowledged is forgotten: were Kafka asked before the acknowledgement, a Kafka that is down would fill the feed
//! and stop the sale; were it asked afterwards, a crash in between would lose events. So the transaction that moves the
//! feed's position in the order database writes its entries down there too ([`Outbox`]), once anybody publishes them, and
//! the publisher takes them from there, with a position of its own.
//!
//! Contract: every entry that was stored after publishing began is published at least once, in the order of its shard's
//! feed: an entry's first appearance comes after that of those before it with the same key. Whoever publishes entry n + 1
//! has handed entry n to the same idempotent producer before, or read in the database that it was delivered. Fault model:
//! gateway, database and brokers fail at any moment and for any time, and any number of gateways publish. A claim in the
//! database lets one of them work on a shard at a time; it saves work and duplicates, and nothing rests on it.

mod backlog;
mod event;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod metrics;
mod outbox;
#[cfg(feature = "kafka")]
mod publisher;
#[cfg(not(feature = "kafka"))]
#[path = "events/absent.rs"]
mod publisher;

pub use backlog::{BacklogMetrics, watch};
pub use event::Event;
#[cfg(feature = "kafka")]
pub use metrics::EventMetrics;
pub use outbox::{Outbox, Page, Waiting};
pub use publisher::Publisher;
