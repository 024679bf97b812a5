//! Where a request goes, and whether it may be repeated blindly.

use doorbuster_protocol::command::Command;
use doorbuster_protocol::limits::{MAX_PAGE, MAX_PRODUCT_NAME_BYTES};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{NodeId, ShardId, shard_of};

/// Who answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The shard's leader.
    Leader(ShardId),
    /// This node.
    Node(NodeId),
    /// Whichever node can be reached.
    AnyNode,
}

/// Where `request` goes in a cluster of so many shards; what is wrong with it if it goes nowhere.
pub(crate) fn route(request: &Request, shards: u16) -> Result<Route, String> {
    let shard = match &request.body {
        RequestBody::Command(Command::Expire) => return Err("a time entry comes from leaders only".to_owned()),
        RequestBody::Command(Command::CreateProduct(spec)) if spec.name.len() > MAX_PRODUCT_NAME_BYTES => {
            let length = spec.name.len();
            return Err(format!("product name has length {length}, at most {MAX_PRODUCT_NAME_BYTES} is allowed"));
        }
        RequestBody::Command(Command::AcknowledgeFeed { shard, .. }) => *shard,
        RequestBody::Command(command) => match command.product() {
            Some(product) => shard_of(product, shards),
            None => return Err("the command concerns no product".to_owned()),
        },
        RequestBody::Query(query) => match query {
            Query::Reservation(target) => shard_of(target.product, shards),
            Query::Product(product) => shard_of(*product, shards),
            Query::Products { limit, .. }
            | Query::Reservations { limit, .. }
            | Query::Unsettled { limit, .. }
            | Query::Feed { limit, .. }
                if *limit > MAX_PAGE =>
            {
                return Err(format!("page has length {limit}, at most {MAX_PAGE} is allowed"));
            }
            Query::FindReservation { shard, .. }
            | Query::Products { shard, .. }
            | Query::Reservations { shard, .. }
            | Query::Unsettled { shard, .. }
            | Query::Feed { shard, .. }
            | Query::Audit { shard } => *shard,
            Query::Status | Query::ShardMap => return Ok(Route::AnyNode),
        },
    };
    if shard.0 >= shards {
        return Err(format!("there is no shard {shard}, the cluster has {shards}"));
    }
    Ok(Route::Leader(shard))
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::command::Target;
    use doorbuster_protocol::types::{FeedPosition, Millis, ProductId, ReservationId, UserId};

    use super::*;

    fn query(query: Query) -> Request {
        Request { body: RequestBody::Query(query), wait: Millis(0) }
    }

    #[test]
    fn a_request_goes_to_its_products_shard() {
        let target = Target { product: ProductId(7), reservation: ReservationId(1), user: UserId(1) };
        let confirm = Request { body: RequestBody::Command(Command::Confirm(target)), wait: Millis(0) };
        let leader = Ok(Route::Leader(shard_of(ProductId(7), 8)));
        assert_eq!(route(&confirm, 8), leader);
        assert_eq!(route(&query(Query::Reservation(target)), 8), leader);
        assert_eq!(route(&query(Query::Audit { shard: ShardId(3) }), 8), Ok(Route::Leader(ShardId(3))));
        assert_eq!(route(&query(Query::Status), 8), Ok(Route::AnyNode));
    }

    #[test]
    fn what_no_server_takes_is_not_sent() {
        assert!(route(&query(Query::Audit { shard: ShardId(8) }), 8).is_err());
        let page = Query::Feed { shard: ShardId(0), after: FeedPosition(0), limit: MAX_PAGE + 1 };
        assert!(route(&query(page), 8).is_err());
        assert!(route(&Request { body: RequestBody::Command(Command::Expire), wait: Millis(0) }, 8).is_err());
    }
}
