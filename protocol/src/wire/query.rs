//! Queries.

use zerocopy::IntoBytes;

use super::control::{self, QueryMessage};
use super::layout::{TargetLayout, UnsettledLayout};
use super::opcode;
use crate::cursor::{Cursor, DecodeError};
use crate::limits::MAX_PAGE;
use crate::query::Query;
use crate::types::{FeedPosition, ProductId, ReservationId, ShardId};

/// Appends the opcode and what follows it.
pub fn put_query(query: &Query, out: &mut Vec<u8>) {
    let (opcode, message) = match *query {
        Query::Reservation(target) => {
            out.push(opcode::GET_RESERVATION);
            return out.extend_from_slice(TargetLayout::from(&target).as_bytes());
        }
        Query::FindReservation { shard, reservation } => {
            out.push(opcode::FIND_RESERVATION);
            out.extend_from_slice(&shard.0.to_le_bytes());
            return out.extend_from_slice(&reservation.0.to_le_bytes());
        }
        Query::Unsettled { shard, of, after, limit } => {
            out.push(opcode::LIST_UNSETTLED);
            return out.extend_from_slice(UnsettledLayout::of(shard, of, after, limit).as_bytes());
        }
        Query::Product(product) => (opcode::GET_PRODUCT, QueryMessage { product: product.0, ..Default::default() }),
        Query::Products { shard, after, limit } => {
            (opcode::LIST_PRODUCTS, QueryMessage { product: after.0, limit, ..about(shard) })
        }
        Query::Reservations { shard, after, limit } => {
            (opcode::LIST_RESERVATIONS, QueryMessage { reservation: control::put_id(after.0), limit, ..about(shard) })
        }
        Query::Feed { shard, after, limit } => {
            (opcode::READ_FEED, QueryMessage { position: after.0, limit, ..about(shard) })
        }
        Query::Audit { shard } => (opcode::AUDIT, about(shard)),
        Query::Status => (opcode::STATUS, QueryMessage::default()),
        Query::ShardMap => (opcode::SHARD_MAP, QueryMessage::default()),
    };
    out.push(opcode);
    control::put(&message, out);
}

/// Reads what follows the opcode.
pub fn get_query(opcode: u8, cursor: &mut Cursor<'_>) -> Result<Query, DecodeError> {
    match opcode {
        opcode::GET_RESERVATION => {
            return Ok(Query::Reservation(cursor.layout::<TargetLayout>("get reservation")?.into()));
        }
        opcode::FIND_RESERVATION => {
            let shard = ShardId(cursor.u16("shard")?);
            return Ok(Query::FindReservation { shard, reservation: ReservationId(cursor.u128("reservation id")?) });
        }
        opcode::LIST_UNSETTLED => {
            let query = cursor.layout::<UnsettledLayout>("list of what is unsettled")?.query()?;
            if let Query::Unsettled { limit, .. } = query {
                check_page(limit)?;
            }
            return Ok(query);
        }
        opcode::GET_PRODUCT..=opcode::SHARD_MAP => {}
        value => return Err(DecodeError::Invalid { what: "opcode", value: value.into() }),
    }
    let message: QueryMessage = control::get(cursor, "query")?;
    let shard = ShardId(control::narrow(message.shard, "shard")?);
    let limit = message.limit;
    check_page(limit)?;
    Ok(match opcode {
        opcode::GET_PRODUCT => Query::Product(ProductId(message.product)),
        opcode::LIST_PRODUCTS => Query::Products { shard, after: ProductId(message.product), limit },
        opcode::LIST_RESERVATIONS => {
            let after = ReservationId(control::get_id(&message.reservation, "reservation id")?);
            Query::Reservations { shard, after, limit }
        }
        opcode::READ_FEED => Query::Feed { shard, after: FeedPosition(message.position), limit },
        opcode::AUDIT => Query::Audit { shard },
        opcode::STATUS => Query::Status,
        _ => Query::ShardMap,
    })
}

fn check_page(limit: u32) -> Result<(), DecodeError> {
    if limit <= MAX_PAGE {
        return Ok(());
    }
    Err(DecodeError::TooLong { what: "page", length: limit.into(), limit: MAX_PAGE.into() })
}

fn about(shard: ShardId) -> QueryMessage {
    QueryMessage { shard: shard.0.into(), ..Default::default() }
}
