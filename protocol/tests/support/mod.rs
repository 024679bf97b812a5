//! Strategies for every type that travels. Values are any that the codec can represent, sensible or not.

use doorbuster_protocol::command::*;
use doorbuster_protocol::failure::{Argument, Failure, Refusal};
use doorbuster_protocol::limits::{MAX_DETAIL_BYTES, MAX_PAGE, MAX_PRODUCT_NAME_BYTES, MAX_WAIT};
use doorbuster_protocol::query::{Changed, Query, Unsettled};
use doorbuster_protocol::reply::*;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

macro_rules! units {
    ($($name:ident: $unit:ident($inner:ty)),* $(,)?) => {$(
        fn $name() -> impl Strategy<Value = $unit> { any::<$inner>().prop_map($unit) }
    )*};
}

units!(
    product_id: ProductId(u64),
    user_id: UserId(u128),
    reservation_id: ReservationId(u128),
    operation_id: OperationId(u128),
    quantity: Quantity(u32),
    millis: Millis(u64),
    timestamp: Timestamp(u64),
    shard_id: ShardId(u16),
    index: LogIndex(u64),
    position: FeedPosition(u64),
    state_hash: StateHash(u64),
);

/// Node ids begin at 1.
fn node_id() -> impl Strategy<Value = NodeId> {
    (1..=u16::MAX).prop_map(NodeId)
}

/// UTF-8 of at most so many bytes.
fn text(limit: usize) -> impl Strategy<Value = String> {
    vec(prop_oneof![Just('a'), Just('é'), Just('票'), any::<char>()], 0..=limit / 4)
        .prop_map(|characters| characters.into_iter().collect())
}

fn money() -> impl Strategy<Value = Money> {
    (any::<u64>(), any::<[u8; 3]>()).prop_map(|(minor, currency)| Money { minor, currency: Currency(currency) })
}

fn target() -> impl Strategy<Value = Target> {
    (product_id(), reservation_id(), user_id()).prop_map(|(product, reservation, user)| Target {
        product,
        reservation,
        user,
    })
}

fn payment() -> impl Strategy<Value = Payment> {
    (target(), any::<u16>()).prop_map(|(target, attempt)| Payment { target, attempt })
}

fn reserve() -> impl Strategy<Value = Reserve> {
    (product_id(), reservation_id(), user_id(), quantity(), millis())
        .prop_map(|(product, reservation, user, quantity, ttl)| Reserve { product, reservation, user, quantity, ttl })
}

fn spec() -> impl Strategy<Value = ProductSpec> {
    let policy = prop_oneof![Just(LatePaymentPolicy::RetakeOrRefund), Just(LatePaymentPolicy::AlwaysRefund)];
    (
        (product_id(), text(MAX_PRODUCT_NAME_BYTES), quantity(), money(), quantity(), quantity()),
        (millis(), millis(), millis(), timestamp(), timestamp(), policy),
    )
        .prop_map(|((product, name, stock, price, limit_per_user, limit_per_reservation), rest)| {
            let (ttl, max_life, payment_cap, opens_at, closes_at, late_payment) = rest;
            ProductSpec {
                product,
                name,
                stock,
                price,
                limit_per_user,
                limit_per_reservation,
                ttl,
                max_life,
                payment_cap,
                opens_at,
                closes_at,
                late_payment,
            }
        })
}

/// Every command, the time entry included.
pub fn command() -> impl Strategy<Value = Command> {
    prop_oneof![9 => client_command(), 1 => Just(Command::Expire)]
}

fn cancellation() -> impl Strategy<Value = Cancellation> {
    (proptest::sample::select(CancelReason::ALL.to_vec()), any::<bool>())
        .prop_map(|(reason, return_stock)| Cancellation { reason, return_stock })
}

/// Every command that a client may send.
fn client_command() -> impl Strategy<Value = Command> {
    let action = prop_oneof![Just(SaleAction::Pause), Just(SaleAction::Resume), Just(SaleAction::Close)];
    prop_oneof![
        spec().prop_map(|spec| Command::CreateProduct(Box::new(spec))),
        (operation_id(), product_id(), any::<i64>())
            .prop_map(|(operation, product, delta)| Command::AdjustStock(AdjustStock { operation, product, delta })),
        (operation_id(), product_id(), quantity(), quantity()).prop_map(|(operation, product, expected, stock)| {
            Command::SetStock(SetStock { operation, product, expected, stock })
        }),
        (operation_id(), product_id(), action)
            .prop_map(|(operation, product, action)| Command::ChangeSale(ChangeSale { operation, product, action })),
        reserve().prop_map(Command::Reserve),
        payment().prop_map(Command::BeginPayment),
        payment().prop_map(Command::PaymentFailed),
        target().prop_map(Command::Confirm),
        target().prop_map(Command::Release),
        (target(), operation_id(), millis()).prop_map(|(target, operation, by)| Command::Extend(Extend {
            target,
            operation,
            by
        })),
        (target(), quantity()).prop_map(|(target, quantity)| Command::LatePayment(LatePayment { target, quantity })),
        target().prop_map(Command::RefundDone),
        (target(), cancellation()).prop_map(|(target, how)| Command::Cancel(Cancel { target, how })),
        (shard_id(), position()).prop_map(|(shard, through)| Command::AcknowledgeFeed { shard, through }),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    let limit = || 0..=MAX_PAGE;
    prop_oneof![
        target().prop_map(Query::Reservation),
        (shard_id(), reservation_id()).prop_map(|(shard, reservation)| Query::FindReservation { shard, reservation }),
        product_id().prop_map(Query::Product),
        (shard_id(), product_id(), limit()).prop_map(|(shard, after, limit)| Query::Products { shard, after, limit }),
        (shard_id(), reservation_id(), limit()).prop_map(|(shard, after, limit)| Query::Reservations {
            shard,
            after,
            limit
        }),
        (shard_id(), any::<bool>(), timestamp(), reservation_id(), limit()).prop_map(
            |(shard, refunds, at, reservation, limit)| Query::Unsettled {
                shard,
                of: if refunds { Unsettled::Refunds } else { Unsettled::Payments },
                after: Changed { at, reservation },
                limit
            }
        ),
        (shard_id(), position(), limit()).prop_map(|(shard, after, limit)| Query::Feed { shard, after, limit }),
        shard_id().prop_map(|shard| Query::Audit { shard }),
        Just(Query::Status),
        Just(Query::ShardMap),
    ]
}

/// Every request.
pub fn request() -> impl Strategy<Value = Request> {
    let body = prop_oneof![client_command().prop_map(RequestBody::Command), query().prop_map(RequestBody::Query)];
    (body, 0..=MAX_WAIT.0).prop_map(|(body, wait)| Request { body, wait: Millis(wait) })
}

fn argument() -> impl Strategy<Value = Argument> {
    proptest::sample::select(vec![
        Argument::Id,
        Argument::Quantity,
        Argument::Name,
        Argument::Price,
        Argument::Duration,
        Argument::Schedule,
        Argument::Delta,
    ])
}

/// Every refusal.
pub fn refusal() -> impl Strategy<Value = Refusal> {
    let bare = proptest::sample::select(vec![
        Refusal::SoldOut,
        Refusal::Closed,
        Refusal::Paused,
        Refusal::UnknownProduct,
        Refusal::UnknownReservation,
        Refusal::ConflictingRetry,
        Refusal::ReservationReleased,
        Refusal::AlreadyConfirmed,
        Refusal::PaymentInProgress,
        Refusal::Refunding,
        Refusal::NoRefundDue,
        Refusal::ProductExists,
        Refusal::FeedPositionUnknown,
        Refusal::NotConfirmed,
        Refusal::ReservationCancelled,
    ]);
    prop_oneof![
        bare,
        timestamp().prop_map(|next_expiry| Refusal::AllHeld { next_expiry }),
        quantity().prop_map(|available| Refusal::InsufficientStock { available }),
        (quantity(), quantity()).prop_map(|(limit, used)| Refusal::LimitReached { limit, used }),
        quantity().prop_map(|limit| Refusal::QuantityTooLarge { limit }),
        timestamp().prop_map(|opens_at| Refusal::NotOpen { opens_at }),
        timestamp().prop_map(|expired_at| Refusal::ReservationExpired { expired_at }),
        any::<u16>().prop_map(|attempts| Refusal::PaymentNotInProgress { attempts }),
        timestamp().prop_map(|latest| Refusal::LifeLimitReached { latest }),
        (quantity(), quantity()).prop_map(|(held, sold)| Refusal::StockBelowCommitted { held, sold }),
        quantity().prop_map(|stock| Refusal::StockMismatch { stock }),
        quantity().prop_map(|limit| Refusal::StockTooLarge { limit }),
        any::<u64>().prop_map(|limit| Refusal::CapacityReached { limit }),
        argument().prop_map(Refusal::InvalidArgument),
    ]
}

/// Every failure.
pub fn failure() -> impl Strategy<Value = Failure> {
    let bare = proptest::sample::select(vec![
        Failure::OutcomeUnknown,
        Failure::WaitedTooLong,
        Failure::ShuttingDown,
        Failure::Diverged,
        Failure::Unauthorized,
        Failure::WrongCluster,
        Failure::UnsupportedVersion,
    ]);
    prop_oneof![
        4 => refusal().prop_map(Failure::Refused),
        2 => bare,
        1 => option::of(node_id()).prop_map(|leader| Failure::NotLeader { leader }),
        1 => millis().prop_map(|retry_after| Failure::Busy { retry_after }),
        1 => text(MAX_DETAIL_BYTES).prop_map(Failure::Malformed),
    ]
}

fn view() -> impl Strategy<Value = ReservationView> {
    let state = proptest::sample::select(vec![
        ReservationState::Held,
        ReservationState::Paying,
        ReservationState::Confirmed,
        ReservationState::Released,
        ReservationState::Expired,
        ReservationState::RefundDue,
        ReservationState::Refunded,
        ReservationState::Cancelled,
    ]);
    let flags = (any::<bool>(), option::of(cancellation()));
    (target(), quantity(), state, any::<u16>(), flags, any::<[u64; 4]>()).prop_map(
        |(target, quantity, state, payment_attempts, (late, cancelled), times)| ReservationView {
            product: target.product,
            reservation: target.reservation,
            user: target.user,
            quantity,
            state,
            payment_attempts,
            late,
            cancelled,
            created_at: Timestamp(times[0]),
            first_expires_at: Timestamp(times[1]),
            expires_at: Timestamp(times[2]),
            changed_at: Timestamp(times[3]),
        },
    )
}

fn product() -> impl Strategy<Value = ProductView> {
    let sale = prop_oneof![Just(SaleState::Active), Just(SaleState::Paused), Just(SaleState::Closed)];
    (spec(), sale, quantity(), quantity(), quantity(), timestamp()).prop_map(
        |(spec, sale, available, held, sold, next_expiry)| ProductView {
            spec,
            sale,
            available,
            held,
            sold,
            next_expiry,
        },
    )
}

fn feed_entry() -> impl Strategy<Value = FeedEntry> {
    let kind = proptest::sample::select(vec![
        FeedKind::Confirmed,
        FeedKind::RefundDue,
        FeedKind::Refunded,
        FeedKind::Cancelled,
    ]);
    let flags = (any::<bool>(), option::of(cancellation()));
    (position(), kind, target(), quantity(), money(), timestamp(), flags).prop_map(
        |(position, kind, target, quantity, price, at, (late, cancelled))| FeedEntry {
            position,
            kind,
            product: target.product,
            reservation: target.reservation,
            user: target.user,
            quantity,
            price,
            at,
            late,
            cancelled,
        },
    )
}

fn feed() -> impl Strategy<Value = FeedPage> {
    (vec(feed_entry(), 0..9), position(), position()).prop_map(|(entries, acknowledged, last)| FeedPage {
        entries,
        acknowledged,
        last,
    })
}

fn audit() -> impl Strategy<Value = AuditReport> {
    let count = (product_id(), any::<[u32; 4]>()).prop_map(|(product, units)| ProductCount {
        product,
        stock: Quantity(units[0]),
        available: Quantity(units[1]),
        held: Quantity(units[2]),
        sold: Quantity(units[3]),
    });
    let head = (shard_id(), index(), state_hash(), state_hash(), any::<u64>());
    (head, vec(count, 0..9), vec(text(MAX_DETAIL_BYTES), 0..3)).prop_map(|(head, products, problems)| AuditReport {
        shard: head.0,
        index: head.1,
        state_hash: head.2,
        recounted_hash: head.3,
        products,
        confirmed: head.4,
        problems,
    })
}

fn status() -> impl Strategy<Value = NodeStatus> {
    let peer = (node_id(), any::<bool>(), any::<i64>()).prop_map(|(node, connected, clock_offset)| PeerStatus {
        node,
        connected,
        clock_offset,
    });
    let shard = (shard_id(), any::<[u64; 6]>(), option::of(node_id()), any::<[bool; 2]>()).prop_map(
        |(shard, numbers, leader, flags)| ShardStatus {
            shard,
            term: numbers[0],
            leader,
            leading: flags[0],
            commit: LogIndex(numbers[1]),
            applied: LogIndex(numbers[2]),
            first: LogIndex(numbers[3]),
            state_hash: StateHash(numbers[4]),
            time: Timestamp(numbers[5]),
            diverged: flags[1],
        },
    );
    let head = (node_id(), text(40), millis(), any::<bool>(), timestamp(), any::<u64>());
    (head, vec(peer, 0..=4), vec(shard, 0..9)).prop_map(|(head, peers, shards)| NodeStatus {
        node: head.0,
        version: head.1,
        uptime: head.2,
        durable: head.3,
        wall_clock: head.4,
        log_bytes: head.5,
        peers,
        shards,
    })
}

/// Every map of shards.
pub fn shard_map() -> impl Strategy<Value = ShardMap> {
    let node = (node_id(), text(255)).prop_map(|(node, address)| NodeAddress { node, address });
    (vec(option::of(node_id()), 0..=256), vec(node, 0..=5)).prop_map(|(leaders, nodes)| ShardMap { leaders, nodes })
}

fn reply() -> impl Strategy<Value = Reply> {
    let reservation = (any::<bool>(), timestamp(), view()).prop_map(|(replayed, time, reservation)| ReservationReply {
        replayed,
        time,
        reservation,
    });
    let product_reply = (any::<bool>(), timestamp(), product()).prop_map(|(replayed, time, product)| ProductReply {
        replayed,
        time,
        product,
    });
    prop_oneof![
        reservation.prop_map(Reply::Reservation),
        product_reply.prop_map(|reply| Reply::Product(Box::new(reply))),
        vec(product(), 0..5).prop_map(Reply::Products),
        vec(view(), 0..9).prop_map(Reply::Reservations),
        (timestamp(), any::<u64>(), vec(view(), 0..9))
            .prop_map(|(time, total, reservations)| { Reply::Unsettled(UnsettledPage { time, total, reservations }) }),
        feed().prop_map(Reply::Feed),
        position().prop_map(Reply::FeedAcknowledged),
        audit().prop_map(|report| Reply::Audit(Box::new(report))),
        status().prop_map(|status| Reply::Status(Box::new(status))),
        shard_map().prop_map(Reply::ShardMap),
        any::<u32>().prop_map(Reply::Expired),
    ]
}

/// Every answer.
pub fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![reply().prop_map(Ok), failure().prop_map(Err)]
}
