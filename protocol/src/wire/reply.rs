//! Answers: a `u16` code, 0 for success; then a reply (opcode and body), or the failure's values.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{FeedEntryLayout, ProductCountLayout, ReservationLayout, ReservationReplyLayout};
use super::{control, get_failure, get_shard_map, opcode, put_count, put_failure, put_shard_map, put_text};
use crate::cursor::{Cursor, DecodeError};
use crate::limits::{MAX_AUDIT_PROBLEMS, MAX_DETAIL_BYTES, MAX_NODES, MAX_PAGE, MAX_PRODUCTS_PER_SHARD, MAX_SHARDS};
use crate::reply::{Answer, AuditReport, FeedPage, NodeStatus, ProductCount, ProductView, Reply, UnsettledPage};
use crate::types::{FeedPosition, LogIndex, Millis, NodeId, ShardId, StateHash, Timestamp};

/// Appends the answer's bytes.
pub fn put_answer(answer: &Answer, out: &mut Vec<u8>) {
    match answer {
        Ok(reply) => {
            out.extend_from_slice(&0_u16.to_le_bytes());
            put_reply(reply, out);
        }
        Err(failure) => put_failure(failure, out),
    }
}

/// Reads a whole answer.
pub fn get_answer(bytes: &[u8]) -> Result<Answer, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let answer = match cursor.u16("answer code")? {
        0 => Ok(get_reply(&mut cursor)?),
        code => Err(get_failure(code, &mut cursor)?),
    };
    cursor.finish("answer")?;
    Ok(answer)
}

fn put_reply(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Reservation(reply) => {
            out.push(opcode::RESERVATION);
            out.extend_from_slice(ReservationReplyLayout::from(reply).as_bytes());
        }
        Reply::Product(reply) => {
            out.push(opcode::PRODUCT);
            control::put(&control::ProductReplyMessage::from(&**reply), out);
        }
        Reply::Products(products) => {
            out.push(opcode::PRODUCTS);
            put_messages::<control::ProductViewMessage, _>(products, out);
        }
        Reply::Reservations(reservations) => {
            out.push(opcode::RESERVATIONS);
            put_layouts::<ReservationLayout, _>(reservations, out);
        }
        Reply::Unsettled(page) => {
            out.push(opcode::UNSETTLED);
            out.extend_from_slice(&page.time.0.to_le_bytes());
            out.extend_from_slice(&page.total.to_le_bytes());
            put_layouts::<ReservationLayout, _>(&page.reservations, out);
        }
        Reply::Feed(page) => {
            out.push(opcode::FEED);
            out.extend_from_slice(&page.acknowledged.0.to_le_bytes());
            out.extend_from_slice(&page.last.0.to_le_bytes());
            put_layouts::<FeedEntryLayout, _>(&page.entries, out);
        }
        Reply::FeedAcknowledged(through) => {
            out.push(opcode::FEED_ACKNOWLEDGED);
            out.extend_from_slice(&through.0.to_le_bytes());
        }
        Reply::Audit(report) => {
            out.push(opcode::AUDIT_REPORT);
            put_audit(report, out);
        }
        Reply::Status(status) => {
            out.push(opcode::NODE_STATUS);
            put_status(status, out);
        }
        Reply::ShardMap(map) => {
            out.push(opcode::SHARDS);
            put_shard_map(map, out);
        }
        Reply::Expired(count) => {
            out.push(opcode::EXPIRED);
            out.extend_from_slice(&count.to_le_bytes());
        }
    }
}

fn get_reply(cursor: &mut Cursor<'_>) -> Result<Reply, DecodeError> {
    Ok(match cursor.u8("opcode")? {
        opcode::RESERVATION => Reply::Reservation(cursor.layout::<ReservationReplyLayout>("reservation")?.try_into()?),
        opcode::PRODUCT => {
            let message: control::ProductReplyMessage = control::get(cursor, "product")?;
            Reply::Product(Box::new(message.try_into()?))
        }
        opcode::PRODUCTS => Reply::Products(get_messages::<control::ProductViewMessage, ProductView>(
            MAX_PAGE as usize,
            "page of products",
            cursor,
        )?),
        opcode::RESERVATIONS => {
            Reply::Reservations(get_layouts::<ReservationLayout, _>(MAX_PAGE as usize, "page of reservations", cursor)?)
        }
        opcode::UNSETTLED => Reply::Unsettled(UnsettledPage {
            time: Timestamp(cursor.u64("time")?),
            total: cursor.u64("number of unsettled reservations")?,
            reservations: get_layouts::<ReservationLayout, _>(MAX_PAGE as usize, "page of what is unsettled", cursor)?,
        }),
        opcode::FEED => Reply::Feed(FeedPage {
            acknowledged: FeedPosition(cursor.u64("acknowledged position")?),
            last: FeedPosition(cursor.u64("last position")?),
            entries: get_layouts::<FeedEntryLayout, _>(MAX_PAGE as usize, "page of the order feed", cursor)?,
        }),
        opcode::FEED_ACKNOWLEDGED => Reply::FeedAcknowledged(FeedPosition(cursor.u64("acknowledged position")?)),
        opcode::AUDIT_REPORT => Reply::Audit(Box::new(get_audit(cursor)?)),
        opcode::NODE_STATUS => Reply::Status(Box::new(get_status(cursor)?)),
        opcode::SHARDS => Reply::ShardMap(get_shard_map(cursor)?),
        opcode::EXPIRED => Reply::Expired(cursor.u32("number of reservations")?),
        value => return Err(DecodeError::Invalid { what: "opcode", value: value.into() }),
    })
}

fn put_audit(report: &AuditReport, out: &mut Vec<u8>) {
    let head = control::AuditMessage {
        shard: report.shard.0.into(),
        index: report.index.0,
        state_hash: report.state_hash.0,
        recounted_hash: report.recounted_hash.0,
        confirmed: report.confirmed,
    };
    control::put(&head, out);
    put_layouts::<ProductCountLayout, _>(&report.products, out);
    let problems = &report.problems[..report.problems.len().min(MAX_AUDIT_PROBLEMS)];
    put_count(problems.len(), out);
    problems.iter().for_each(|problem| put_text(problem, MAX_DETAIL_BYTES, out));
}

fn get_audit(cursor: &mut Cursor<'_>) -> Result<AuditReport, DecodeError> {
    let head: control::AuditMessage = control::get(cursor, "audit")?;
    let products =
        get_layouts::<ProductCountLayout, ProductCount>(MAX_PRODUCTS_PER_SHARD, "list of counted products", cursor)?;
    let problems = cursor.count(MAX_AUDIT_PROBLEMS, "list of problems")?;
    let problem = |_| cursor.text(MAX_DETAIL_BYTES, "problem").map(str::to_owned);
    Ok(AuditReport {
        shard: ShardId(control::narrow(head.shard, "shard")?),
        index: LogIndex(head.index),
        state_hash: StateHash(head.state_hash),
        recounted_hash: StateHash(head.recounted_hash),
        products,
        confirmed: head.confirmed,
        problems: (0..problems).map(problem).collect::<Result<_, _>>()?,
    })
}

fn put_status(status: &NodeStatus, out: &mut Vec<u8>) {
    let head = control::NodeMessage {
        node: status.node.0.into(),
        version: status.version.clone(),
        uptime: status.uptime.0,
        durable: status.durable,
        wall_clock: status.wall_clock.0,
        log_bytes: status.log_bytes,
    };
    control::put(&head, out);
    put_messages::<control::PeerMessage, _>(&status.peers, out);
    put_messages::<control::ShardMessage, _>(&status.shards, out);
}

fn get_status(cursor: &mut Cursor<'_>) -> Result<NodeStatus, DecodeError> {
    let head: control::NodeMessage = control::get(cursor, "node's status")?;
    Ok(NodeStatus {
        node: NodeId(control::narrow(head.node, "node id")?),
        version: head.version,
        uptime: Millis(head.uptime),
        durable: head.durable,
        wall_clock: Timestamp(head.wall_clock),
        log_bytes: head.log_bytes,
        peers: get_messages::<control::PeerMessage, _>(MAX_NODES, "list of peers", cursor)?,
        shards: get_messages::<control::ShardMessage, _>(MAX_SHARDS.into(), "list of shards", cursor)?,
    })
}

/// Appends a count and the items in their fixed layout.
fn put_layouts<'a, L, T>(items: &'a [T], out: &mut Vec<u8>)
where
    L: From<&'a T> + IntoBytes + Immutable,
{
    put_count(items.len(), out);
    items.iter().for_each(|item| out.extend_from_slice(L::from(item).as_bytes()));
}

/// Reads a count and items of a fixed layout. Memory is asked for only once the bytes are known to be there.
fn get_layouts<'a, L, T>(limit: usize, what: &'static str, cursor: &mut Cursor<'a>) -> Result<Vec<T>, DecodeError>
where
    L: FromBytes + KnownLayout + Immutable + Unaligned + 'a,
    T: TryFrom<&'a L>,
    DecodeError: From<T::Error>, // infallible conversions included
{
    let count = cursor.count(limit, what)?;
    let bytes = cursor.bytes(count.saturating_mul(size_of::<L>()), what)?;
    let items = <[L]>::ref_from_bytes(bytes).map_err(|_| DecodeError::Truncated { what })?;
    items.iter().map(|item| T::try_from(item).map_err(DecodeError::from)).collect()
}

/// Appends a count and the items, each as a `u32` length and protobuf.
fn put_messages<'a, M, T>(items: &'a [T], out: &mut Vec<u8>)
where
    M: From<&'a T> + prost::Message,
{
    put_count(items.len(), out);
    items.iter().for_each(|item| control::put(&M::from(item), out));
}

/// Reads a count and so many messages.
fn get_messages<M, T>(limit: usize, what: &'static str, cursor: &mut Cursor<'_>) -> Result<Vec<T>, DecodeError>
where
    M: prost::Message + Default,
    T: TryFrom<M, Error = DecodeError>,
{
    let count = cursor.count(limit, what)?;
    let mut items = Vec::with_capacity(count.min(cursor.rest().len()));
    for _ in 0..count {
        items.push(control::get::<M>(cursor, what)?.try_into()?);
    }
    Ok(items)
}
