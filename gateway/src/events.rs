//! Events to other systems: what is written down for whoever publishes the order feed elsewhere.
//!
//! Events are to be published from what the order writer stores, not from the feed itself. The feed has one acknowledged position,
//! and what is acknowledged is forgotten: were another system asked before the acknowledgement, one that is down would fill the
//! feed and stop the sale; were it asked afterwards, a crash in between would lose events. So the transaction that moves the
//! feed's position in the order database writes its entries down there too, once anybody publishes them.

mod outbox;

pub use outbox::{Outbox, Page, Waiting};
