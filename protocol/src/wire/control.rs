//! Control messages in protobuf, written by hand: no build step, and no list inside (see the module above).
//!
//! 128-bit ids are `bytes` of length 16, little-endian. A field that is left out is 0, empty or false.

use prost::Message;

use crate::command::{AdjustStock, ChangeSale, LatePaymentPolicy, ProductSpec, SaleAction, SetStock};
use crate::cursor::{Cursor, DecodeError};
use crate::limits::{MAX_FRAME_BYTES, MAX_PRODUCT_NAME_BYTES};
use crate::reply::{PeerStatus, ProductReply, ProductView, SaleState, ShardStatus};
use crate::types::{
    Currency, LogIndex, Millis, Money, NodeId, OperationId, ProductId, Quantity, ShardId, StateHash, Timestamp,
};

/// Appends a `u32` length and the message.
pub fn put<M: Message>(message: &M, out: &mut Vec<u8>) {
    super::put_count(message.encoded_len(), out);
    // Writing into a Vec cannot run out of room, which is the only way to fail.
    let written = message.encode(out);
    debug_assert!(written.is_ok());
}

/// Reads a `u32` length and a message of that length.
pub fn get<M: Message + Default>(cursor: &mut Cursor<'_>, what: &'static str) -> Result<M, DecodeError> {
    let bytes = cursor.counted_bytes(MAX_FRAME_BYTES, what)?;
    M::decode(bytes).map_err(|_| DecodeError::Protobuf { what })
}

#[derive(Clone, PartialEq, Message)]
pub struct ProductSpecMessage {
    #[prost(uint64, tag = "1")]
    product: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(uint32, tag = "3")]
    stock: u32,
    #[prost(uint64, tag = "4")]
    price_minor: u64,
    #[prost(bytes = "vec", tag = "5")]
    currency: Vec<u8>,
    #[prost(uint32, tag = "6")]
    limit_per_user: u32,
    #[prost(uint32, tag = "7")]
    limit_per_reservation: u32,
    #[prost(uint64, tag = "8")]
    ttl: u64,
    #[prost(uint64, tag = "9")]
    max_life: u64,
    #[prost(uint64, tag = "10")]
    payment_cap: u64,
    #[prost(uint64, tag = "11")]
    opens_at: u64,
    #[prost(uint64, tag = "12")]
    closes_at: u64,
    #[prost(uint32, tag = "13")]
    late_payment: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct AdjustStockMessage {
    #[prost(bytes = "vec", tag = "1")]
    operation: Vec<u8>,
    #[prost(uint64, tag = "2")]
    product: u64,
    #[prost(sint64, tag = "3")]
    delta: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct SetStockMessage {
    #[prost(bytes = "vec", tag = "1")]
    operation: Vec<u8>,
    #[prost(uint64, tag = "2")]
    product: u64,
    #[prost(uint32, tag = "3")]
    expected: u32,
    #[prost(uint32, tag = "4")]
    stock: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ChangeSaleMessage {
    #[prost(bytes = "vec", tag = "1")]
    operation: Vec<u8>,
    #[prost(uint64, tag = "2")]
    product: u64,
    #[prost(uint32, tag = "3")]
    action: u32,
}

/// Of every query: what it is about. Fields that a query has no use for are left out.
#[derive(Clone, PartialEq, Message)]
pub struct QueryMessage {
    #[prost(uint32, tag = "1")]
    pub shard: u32,
    #[prost(uint64, tag = "2")]
    pub product: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub reservation: Vec<u8>,
    #[prost(uint64, tag = "4")]
    pub position: u64,
    #[prost(uint32, tag = "5")]
    pub limit: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ProductViewMessage {
    #[prost(message, optional, tag = "1")]
    spec: Option<ProductSpecMessage>,
    #[prost(uint32, tag = "2")]
    sale: u32,
    #[prost(uint32, tag = "3")]
    available: u32,
    #[prost(uint32, tag = "4")]
    held: u32,
    #[prost(uint32, tag = "5")]
    sold: u32,
    #[prost(uint64, tag = "6")]
    next_expiry: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ProductReplyMessage {
    #[prost(bool, tag = "1")]
    replayed: bool,
    #[prost(uint64, tag = "2")]
    time: u64,
    #[prost(message, optional, tag = "3")]
    product: Option<ProductViewMessage>,
}

/// Head of an audit; its lists follow it.
#[derive(Clone, PartialEq, Message)]
pub struct AuditMessage {
    #[prost(uint32, tag = "1")]
    pub shard: u32,
    #[prost(uint64, tag = "2")]
    pub index: u64,
    #[prost(fixed64, tag = "3")]
    pub state_hash: u64,
    #[prost(fixed64, tag = "4")]
    pub recounted_hash: u64,
    #[prost(uint64, tag = "5")]
    pub confirmed: u64,
}

/// Head of a node's status; its lists follow it.
#[derive(Clone, PartialEq, Message)]
pub struct NodeMessage {
    #[prost(uint32, tag = "1")]
    pub node: u32,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(uint64, tag = "3")]
    pub uptime: u64,
    #[prost(bool, tag = "4")]
    pub durable: bool,
    #[prost(uint64, tag = "5")]
    pub wall_clock: u64,
    #[prost(uint64, tag = "6")]
    pub log_bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct PeerMessage {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(bool, tag = "2")]
    connected: bool,
    #[prost(sint64, tag = "3")]
    clock_offset: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ShardMessage {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(uint64, tag = "2")]
    term: u64,
    #[prost(uint32, tag = "3")]
    leader: u32,
    #[prost(bool, tag = "4")]
    leading: bool,
    #[prost(uint64, tag = "5")]
    commit: u64,
    #[prost(uint64, tag = "6")]
    applied: u64,
    #[prost(uint64, tag = "7")]
    first: u64,
    #[prost(fixed64, tag = "8")]
    state_hash: u64,
    #[prost(uint64, tag = "9")]
    time: u64,
    #[prost(bool, tag = "10")]
    diverged: bool,
}

impl From<&ProductSpec> for ProductSpecMessage {
    fn from(spec: &ProductSpec) -> Self {
        Self {
            product: spec.product.0,
            name: spec.name.clone(),
            stock: spec.stock.0,
            price_minor: spec.price.minor,
            currency: spec.price.currency.0.to_vec(),
            limit_per_user: spec.limit_per_user.0,
            limit_per_reservation: spec.limit_per_reservation.0,
            ttl: spec.ttl.0,
            max_life: spec.max_life.0,
            payment_cap: spec.payment_cap.0,
            opens_at: spec.opens_at.0,
            closes_at: spec.closes_at.0,
            late_payment: match spec.late_payment {
                LatePaymentPolicy::RetakeOrRefund => 0,
                LatePaymentPolicy::AlwaysRefund => 1,
            },
        }
    }
}

impl TryFrom<ProductSpecMessage> for ProductSpec {
    type Error = DecodeError;

    fn try_from(message: ProductSpecMessage) -> Result<Self, DecodeError> {
        let (what, length) = ("product name", message.name.len());
        if length > MAX_PRODUCT_NAME_BYTES {
            return Err(DecodeError::TooLong { what, length: length as u64, limit: MAX_PRODUCT_NAME_BYTES as u64 });
        }
        Ok(Self {
            product: ProductId(message.product),
            name: message.name,
            stock: Quantity(message.stock),
            price: Money { minor: message.price_minor, currency: currency(&message.currency)? },
            limit_per_user: Quantity(message.limit_per_user),
            limit_per_reservation: Quantity(message.limit_per_reservation),
            ttl: Millis(message.ttl),
            max_life: Millis(message.max_life),
            payment_cap: Millis(message.payment_cap),
            opens_at: Timestamp(message.opens_at),
            closes_at: Timestamp(message.closes_at),
            late_payment: match message.late_payment {
                0 => LatePaymentPolicy::RetakeOrRefund,
                1 => LatePaymentPolicy::AlwaysRefund,
                value => return Err(DecodeError::Invalid { what: "late payment policy", value: value.into() }),
            },
        })
    }
}

impl From<&AdjustStock> for AdjustStockMessage {
    fn from(adjust: &AdjustStock) -> Self {
        Self { operation: put_id(adjust.operation.0), product: adjust.product.0, delta: adjust.delta }
    }
}

impl TryFrom<AdjustStockMessage> for AdjustStock {
    type Error = DecodeError;

    fn try_from(message: AdjustStockMessage) -> Result<Self, DecodeError> {
        Ok(Self {
            operation: OperationId(get_id(&message.operation, "operation id")?),
            product: ProductId(message.product),
            delta: message.delta,
        })
    }
}

impl From<&SetStock> for SetStockMessage {
    fn from(set: &SetStock) -> Self {
        Self {
            operation: put_id(set.operation.0),
            product: set.product.0,
            expected: set.expected.0,
            stock: set.stock.0,
        }
    }
}

impl TryFrom<SetStockMessage> for SetStock {
    type Error = DecodeError;

    fn try_from(message: SetStockMessage) -> Result<Self, DecodeError> {
        Ok(Self {
            operation: OperationId(get_id(&message.operation, "operation id")?),
            product: ProductId(message.product),
            expected: Quantity(message.expected),
            stock: Quantity(message.stock),
        })
    }
}

impl From<&ChangeSale> for ChangeSaleMessage {
    fn from(change: &ChangeSale) -> Self {
        let action = match change.action {
            SaleAction::Pause => 1,
            SaleAction::Resume => 2,
            SaleAction::Close => 3,
        };
        Self { operation: put_id(change.operation.0), product: change.product.0, action }
    }
}

impl TryFrom<ChangeSaleMessage> for ChangeSale {
    type Error = DecodeError;

    fn try_from(message: ChangeSaleMessage) -> Result<Self, DecodeError> {
        Ok(Self {
            operation: OperationId(get_id(&message.operation, "operation id")?),
            product: ProductId(message.product),
            action: match message.action {
                1 => SaleAction::Pause,
                2 => SaleAction::Resume,
                3 => SaleAction::Close,
                value => return Err(DecodeError::Invalid { what: "sale action", value: value.into() }),
            },
        })
    }
}

impl From<&ProductView> for ProductViewMessage {
    fn from(view: &ProductView) -> Self {
        Self {
            spec: Some((&view.spec).into()),
            sale: match view.sale {
                SaleState::Active => 1,
                SaleState::Paused => 2,
                SaleState::Closed => 3,
            },
            available: view.available.0,
            held: view.held.0,
            sold: view.sold.0,
            next_expiry: view.next_expiry.0,
        }
    }
}

impl TryFrom<ProductViewMessage> for ProductView {
    type Error = DecodeError;

    fn try_from(message: ProductViewMessage) -> Result<Self, DecodeError> {
        Ok(Self {
            spec: message.spec.ok_or(DecodeError::Truncated { what: "product" })?.try_into()?,
            sale: match message.sale {
                1 => SaleState::Active,
                2 => SaleState::Paused,
                3 => SaleState::Closed,
                value => return Err(DecodeError::Invalid { what: "sale state", value: value.into() }),
            },
            available: Quantity(message.available),
            held: Quantity(message.held),
            sold: Quantity(message.sold),
            next_expiry: Timestamp(message.next_expiry),
        })
    }
}

impl From<&ProductReply> for ProductReplyMessage {
    fn from(reply: &ProductReply) -> Self {
        Self { replayed: reply.replayed, time: reply.time.0, product: Some((&reply.product).into()) }
    }
}

impl TryFrom<ProductReplyMessage> for ProductReply {
    type Error = DecodeError;

    fn try_from(message: ProductReplyMessage) -> Result<Self, DecodeError> {
        Ok(Self {
            replayed: message.replayed,
            time: Timestamp(message.time),
            product: message.product.ok_or(DecodeError::Truncated { what: "product reply" })?.try_into()?,
        })
    }
}

impl From<&PeerStatus> for PeerMessage {
    fn from(peer: &PeerStatus) -> Self {
        Self { node: peer.node.0.into(), connected: peer.connected, clock_offset: peer.clock_offset }
    }
}

impl TryFrom<PeerMessage> for PeerStatus {
    type Error = DecodeError;

    fn try_from(message: PeerMessage) -> Result<Self, DecodeError> {
        Ok(Self {
            node: NodeId(narrow(message.node, "peer's node id")?),
            connected: message.connected,
            clock_offset: message.clock_offset,
        })
    }
}

impl From<&ShardStatus> for ShardMessage {
    fn from(shard: &ShardStatus) -> Self {
        Self {
            shard: shard.shard.0.into(),
            term: shard.term,
            leader: shard.leader.map_or(0, |node| node.0.into()),
            leading: shard.leading,
            commit: shard.commit.0,
            applied: shard.applied.0,
            first: shard.first.0,
            state_hash: shard.state_hash.0,
            time: shard.time.0,
            diverged: shard.diverged,
        }
    }
}

impl TryFrom<ShardMessage> for ShardStatus {
    type Error = DecodeError;

    fn try_from(message: ShardMessage) -> Result<Self, DecodeError> {
        let leader: u16 = narrow(message.leader, "leader's node id")?;
        Ok(Self {
            shard: ShardId(narrow(message.shard, "shard")?),
            term: message.term,
            leader: (leader != 0).then_some(NodeId(leader)),
            leading: message.leading,
            commit: LogIndex(message.commit),
            applied: LogIndex(message.applied),
            first: LogIndex(message.first),
            state_hash: StateHash(message.state_hash),
            time: Timestamp(message.time),
            diverged: message.diverged,
        })
    }
}

/// Protobuf knows no 16-bit numbers.
pub fn narrow(number: u32, what: &'static str) -> Result<u16, DecodeError> {
    u16::try_from(number).map_err(|_| DecodeError::Invalid { what, value: number.into() })
}

pub fn put_id(id: u128) -> Vec<u8> {
    if id == 0 { Vec::new() } else { id.to_le_bytes().to_vec() }
}

pub fn get_id(bytes: &[u8], what: &'static str) -> Result<u128, DecodeError> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let bytes = bytes.try_into().map_err(|_| DecodeError::Truncated { what })?;
    Ok(u128::from_le_bytes(bytes))
}

fn currency(bytes: &[u8]) -> Result<Currency, DecodeError> {
    let code = bytes.try_into().map_err(|_| DecodeError::Truncated { what: "currency code" })?;
    Ok(Currency(code))
}
