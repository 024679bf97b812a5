//! Replies: what a command did, or what a query found.

use crate::command::{Cancellation, ProductSpec};
use crate::failure::Failure;
use crate::types::{
    FeedPosition, LogIndex, Millis, Money, NodeId, ProductId, Quantity, ReservationId, ShardId, StateHash, Timestamp,
    UserId,
};

/// What comes back for a request.
pub type Answer = Result<Reply, Failure>;

/// What a request did or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of every command and query on one reservation.
    Reservation(ReservationReply),
    /// Of every command and query on one product.
    Product(Box<ProductReply>),
    /// A page of products.
    Products(Vec<ProductView>),
    /// A page of reservations.
    Reservations(Vec<ReservationView>),
    /// A page of what is not settled.
    Unsettled(UnsettledPage),
    /// A page of the order feed.
    Feed(FeedPage),
    /// The feed is acknowledged up to here.
    FeedAcknowledged(FeedPosition),
    /// A recount.
    Audit(Box<AuditReport>),
    /// A node's condition.
    Status(Box<NodeStatus>),
    /// Where the shards are led.
    ShardMap(ShardMap),
    /// A time entry expired so many reservations (never sent to a client).
    Expired(u32),
}

/// Where a reservation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReservationState {
    /// The user's, until its deadline.
    Held,
    /// Pinned by a payment, until its cap.
    Paying,
    /// Sold.
    Confirmed,
    /// Given back by request.
    Released,
    /// Given back by time.
    Expired,
    /// Paid, but there was nothing left to sell, or the sale was cancelled: the money goes back.
    RefundDue,
    /// The money went back.
    Refunded,
    /// Sold without a payment that is known of, and cancelled: nothing is owed.
    Cancelled,
}

impl ReservationState {
    /// The state's name on the wire's edges: HTTP, tables, metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Paying => "paying",
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::RefundDue => "refund_due",
            Self::Refunded => "refunded",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it claims units that are not sold.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Held | Self::Paying)
    }
}

/// A reservation as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationView {
    /// Its product.
    pub product: ProductId,
    /// Its id.
    pub reservation: ReservationId,
    /// Its owner.
    pub user: UserId,
    /// Its units.
    pub quantity: Quantity,
    /// Its state.
    pub state: ReservationState,
    /// Payments begun so far; at least 1 of what was known when money for it was told of.
    pub payment_attempts: u16,
    /// Whether a late payment was reported, after it was gone.
    pub late: bool,
    /// How its sale was cancelled, if it was.
    pub cancelled: Option<Cancellation>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The deadline it was given when it was made.
    pub first_expires_at: Timestamp,
    /// Its deadline now: of the hold, or of the payment's pin. Of a terminal one, the last it had.
    pub expires_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
}

/// Answer to a command or query on a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservationReply {
    /// The command had been applied before; this is its outcome again, beside the state now.
    pub replayed: bool,
    /// Cluster time of the answer.
    pub time: Timestamp,
    /// The reservation now.
    pub reservation: ReservationView,
}

/// Answer to a command or query on a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductReply {
    /// The command had been applied before; this is its outcome again, beside the state now.
    pub replayed: bool,
    /// Cluster time of the answer.
    pub time: Timestamp,
    /// The product now.
    pub product: ProductView,
}

/// Where a product's sale is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleState {
    /// Sells, within its opening and closing time.
    Active,
    /// An operator paused it.
    Paused,
    /// An operator closed it.
    Closed,
}

/// A product as it is now. `stock = available + held + sold`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductView {
    /// What is on sale, and how; its `stock` is today's, adjustments included.
    pub spec: ProductSpec,
    /// Whether it sells.
    pub sale: SaleState,
    /// Units nobody claims.
    pub available: Quantity,
    /// Units in held and paying reservations.
    pub held: Quantity,
    /// Units in confirmed reservations.
    pub sold: Quantity,
    /// Earliest deadline of its live reservations; 0 if it has none.
    pub next_expiry: Timestamp,
}

/// A page of what is not settled on a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsettledPage {
    /// Cluster time of the answer.
    pub time: Timestamp,
    /// How many of that kind the shard has altogether.
    pub total: u64,
    /// Those of the page; what changed first stands first.
    pub reservations: Vec<ReservationView>,
}

/// A page of a shard's order feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPage {
    /// Entries in order.
    pub entries: Vec<FeedEntry>,
    /// Everything up to here has been acknowledged, and is gone.
    pub acknowledged: FeedPosition,
    /// The feed's last position so far.
    pub last: FeedPosition,
}

/// A confirmed or refunded reservation on its way to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Where in the shard's feed.
    pub position: FeedPosition,
    /// What happened.
    pub kind: FeedKind,
    /// Which product.
    pub product: ProductId,
    /// Which reservation.
    pub reservation: ReservationId,
    /// Whose.
    pub user: UserId,
    /// Units.
    pub quantity: Quantity,
    /// Price of a unit when it was confirmed.
    pub price: Money,
    /// When.
    pub at: Timestamp,
    /// Whether a late payment was reported, after it was gone.
    pub late: bool,
    /// How its sale was cancelled, if it was.
    pub cancelled: Option<Cancellation>,
}

/// What a feed entry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedKind {
    /// Sold.
    Confirmed,
    /// Paid too late for a unit, or sold, paid and cancelled; a refund is due.
    RefundDue,
    /// Refunded.
    Refunded,
    /// Sold without a payment that is known of, and cancelled; nothing is owed.
    Cancelled,
}

/// A full recount of one replica against its kept counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Which shard.
    pub shard: ShardId,
    /// Counted at this index.
    pub index: LogIndex,
    /// The kept digest there.
    pub state_hash: StateHash,
    /// The digest recomputed from the records.
    pub recounted_hash: StateHash,
    /// Each product's counters, recounted.
    pub products: Vec<ProductCount>,
    /// Confirmed reservations that are known.
    pub confirmed: u64,
    /// Whatever does not agree, in words; empty when all is well.
    pub problems: Vec<String>,
}

/// One product's units in an [`AuditReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductCount {
    /// Which product.
    pub product: ProductId,
    /// Units put on sale.
    pub stock: Quantity,
    /// Units nobody claims.
    pub available: Quantity,
    /// Units in live reservations.
    pub held: Quantity,
    /// Units sold.
    pub sold: Quantity,
}

/// A node's condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which node.
    pub node: NodeId,
    /// Its build.
    pub version: String,
    /// Since it started.
    pub uptime: Millis,
    /// Whether a reply means that a quorum has it on disk.
    pub durable: bool,
    /// Its own wall clock.
    pub wall_clock: Timestamp,
    /// Bytes of its replicated log on disk.
    pub log_bytes: u64,
    /// Its peers as it sees them.
    pub peers: Vec<PeerStatus>,
    /// Its replicas.
    pub shards: Vec<ShardStatus>,
}

/// A peer as a node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Which node.
    pub node: NodeId,
    /// Whether messages get through to it.
    pub connected: bool,
    /// Its wall clock minus ours, in milliseconds.
    pub clock_offset: i64,
}

/// One replica of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// Which shard.
    pub shard: ShardId,
    /// Raft term.
    pub term: u64,
    /// Its leader as this node knows it.
    pub leader: Option<NodeId>,
    /// Whether this node is the leader and its lease holds.
    pub leading: bool,
    /// Last log index that is committed, as this node knows.
    pub commit: LogIndex,
    /// Last log index applied.
    pub applied: LogIndex,
    /// First index still in the log.
    pub first: LogIndex,
    /// Digest of the state at `applied`.
    pub state_hash: StateHash,
    /// Cluster time of the last entry applied.
    pub time: Timestamp,
    /// Whether it stopped serving because its state differs from the others'.
    pub diverged: bool,
}

/// Which node leads which shard, and where the nodes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    /// Leader of each shard, by shard id; `None` while unknown.
    pub leaders: Vec<Option<NodeId>>,
    /// Where clients reach each node.
    pub nodes: Vec<NodeAddress>,
}

/// Where clients reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Which node.
    pub node: NodeId,
    /// `host:port`.
    pub address: String,
}
