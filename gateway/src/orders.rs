//! From the order feed into the database: every confirmed reservation becomes one order, once.
//!
//! Each order has its [`Payment`], and that its refund, if there is one, stored with it.
//!
//! [`OrderWriter`] reads each shard's feed and stores it through an [`OrderStore`], which keeps the orders and the
//! feed position in one transaction; only then is the feed acknowledged. [`plan`] decides, purely. Fault model: the writer, the database, the
//! servers and the network between them fail at any moment and for any time, and any number of writers run at once.
//! What is not acknowledged stays in the feed; what is stored twice is recognised by its position; what does not fit
//! together (a gap, another cluster's database) is refused loudly and never skipped. An entry whose contents the database
//! refuses is [`Parked`] beside the orders, in the transaction that moves the position past it, and stops nobody.

mod feed;
mod metrics;
mod money;
mod parked;
pub mod plan;
mod postgres;
mod reader;
mod refusal;
mod row;
mod sieve;
mod sqlite;
mod store;
mod writer;
pub(crate) mod written;

pub use feed::Feed;
pub use metrics::OrderMetrics;
pub use money::{Payment, Refund};
pub use parked::{Parked, Retried};
pub use store::{Cancelled, Order, OrderStore, StoreError, Stored};
pub(crate) use store::{Connections, position};
pub use writer::OrderWriter;
