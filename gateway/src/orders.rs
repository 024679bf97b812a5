//! From the order feed into the database: every confirmed reservation becomes one order, once.
//!
//! [`OrderWriter`] reads each shard's feed and stores it through an [`OrderStore`], which keeps the orders and the
//! feed position in one transaction; only then is the feed acknowledged. [`plan`] decides, purely. Fault model: the writer, the database, the
//! servers and the network between them fail at any moment and for any time, and any number of writers run at once.
//! What is not acknowledged stays in the feed; what is stored twice is recognised by its position; what does not fit
//! together (a gap, another cluster's orders) is refused loudly and never skipped.

mod feed;
mod metrics;
pub mod plan;
mod postgres;
mod reader;
mod row;
mod sqlite;
mod store;
mod writer;

pub use feed::Feed;
pub use metrics::OrderMetrics;
pub use store::{Order, OrderStore, StoreError, Stored};
pub use writer::OrderWriter;
