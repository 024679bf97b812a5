//! The bound of the order feed: while nobody stores orders, a shard sells so many and no more.
//!
//! The feed is kept until it is stored, so a database that is down for long would fill the memory of every replica. When
//! the feed has as many entries as it may, reserves, payments and cancellations that would begin are told to come back later,
//! before anything has happened. What began before always goes through: confirms, releases, refunds, payments in flight, and
//! above all acknowledgements. The feed can therefore be longer than its bound by what was reserved already.

use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::reply::ReservationState;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::Millis;

use super::Shard;
use super::call::Call;

/// A database that is down is not back in a moment.
pub(super) const FULL: Failure = Failure::Busy { retry_after: Millis(1000) };

impl Shard {
    /// Whether the feed has as many entries as it may.
    pub(super) fn feed_is_full(&self) -> bool {
        self.node.machine().inventory().feed_len() >= self.max_feed
    }

    /// Whether this begins what may end on the feed. The retry of what has begun does not.
    pub(super) fn would_add_to_feed(&self, call: &Call) -> bool {
        let inventory = self.node.machine().inventory();
        match &call.body {
            RequestBody::Command(Command::Reserve(reserve)) => !inventory.knows(reserve.reservation),
            RequestBody::Command(Command::BeginPayment(payment)) => {
                inventory.reservation(&payment.target).is_ok_and(|found| found.state == ReservationState::Held)
            }
            RequestBody::Command(Command::Cancel(cancel)) => {
                inventory.reservation(&cancel.target).is_ok_and(|found| found.state == ReservationState::Confirmed)
            }
            RequestBody::Command(_) | RequestBody::Query(_) => false,
        }
    }
}
