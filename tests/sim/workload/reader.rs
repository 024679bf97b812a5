//! Who only looks: products and reservations, one and by the page.

use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::ReservationState as State;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{ProductId, ReservationId, ShardId, shard_of};

use super::board::Board;
use super::caller::Finished;
use super::client::Wishes;
use crate::sim::{Port, Rng};

/// See the module.
#[derive(Debug)]
pub struct Reader {
    /// Shards of the cluster.
    pub shards: u16,
}

impl Wishes for Reader {
    fn name(&self) -> &'static str {
        "reader"
    }

    fn wish(&mut self, board: &mut Board, rng: &mut Rng) -> Option<RequestBody> {
        let shard = ShardId(u16::try_from(rng.below(u64::from(self.shards))).unwrap_or(0));
        let known = board.reservation(&[State::Held, State::Confirmed, State::Expired], rng);
        let limit = u32::try_from(rng.between(1, 50)).unwrap_or(1);
        Some(RequestBody::Query(match (rng.below(12), known) {
            (0, _) => Query::Products { shard, after: ProductId(0), limit },
            (1, _) => Query::Reservations { shard, after: ReservationId(0), limit },
            (2, Some(known)) => Query::FindReservation {
                shard: shard_of(known.reserve.product, self.shards),
                reservation: known.reserve.reservation,
            },
            (3, _) => Query::Status,
            (4, _) => Query::ShardMap,
            (5, _) => Query::Audit { shard },
            (6..9, Some(known)) => Query::Reservation(known.target()),
            _ => Query::Product(board.product(rng)),
        }))
    }

    fn heard(&mut self, _finished: &Finished, _board: &mut Board, _port: &mut Port<'_>) {}
}
