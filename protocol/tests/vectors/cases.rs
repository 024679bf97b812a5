//! What the golden vectors are of: every message once, with values that tell the fields apart.

use doorbuster_protocol::code::Code;
use doorbuster_protocol::command::*;
use doorbuster_protocol::failure::{Argument, Failure, Refusal};
use doorbuster_protocol::handshake::*;
use doorbuster_protocol::query::{Changed, Query, Unsettled};
use doorbuster_protocol::reply::*;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::*;

const PRODUCT: ProductId = ProductId(0x0102_0304_0506_0708);
const RESERVATION: ReservationId = ReservationId(0x1011_1213_1415_1617_1819_1a1b_1c1d_1e1f);
const USER: UserId = UserId(0x2021_2223_2425_2627_2829_2a2b_2c2d_2e2f);
const OPERATION: OperationId = OperationId(0x3031_3233_3435_3637_3839_3a3b_3c3d_3e3f);
const TARGET: Target = Target { product: PRODUCT, reservation: RESERVATION, user: USER };
const RETURNED: Cancellation = Cancellation { reason: CancelReason::Customer, return_stock: true };
const WRITTEN_OFF: Cancellation = Cancellation { reason: CancelReason::Fraud, return_stock: false };
const NOON: Timestamp = Timestamp(1_795_348_800_000);

fn command(command: Command) -> Request {
    Request { body: RequestBody::Command(command), wait: Millis(5000) }
}

fn query(query: Query) -> Request {
    Request { body: RequestBody::Query(query), wait: Millis(0) }
}

/// Name, description, value.
type Case = (&'static str, &'static str, Request);

pub fn requests() -> Vec<Case> {
    [reservation_commands(), product_commands(), queries()].concat()
}

fn reservation_commands() -> Vec<Case> {
    let payment = Payment { target: TARGET, attempt: 2 };
    let reserve =
        Reserve { product: PRODUCT, reservation: RESERVATION, user: USER, quantity: Quantity(3), ttl: Millis(120_000) };
    vec![
        ("reserve", "3 units for 120 s", command(Command::Reserve(reserve))),
        ("begin_payment", "second try", command(Command::BeginPayment(payment))),
        ("payment_failed", "second try", command(Command::PaymentFailed(payment))),
        ("confirm", "by its owner", command(Command::Confirm(TARGET))),
        ("release", "whoever the owner is: user 0", command(Command::Release(Target { user: UserId(0), ..TARGET }))),
        (
            "extend",
            "60 s more",
            command(Command::Extend(Extend { target: TARGET, operation: OPERATION, by: Millis(60_000) })),
        ),
        (
            "late_payment",
            "3 units were paid",
            command(Command::LatePayment(LatePayment { target: TARGET, quantity: Quantity(3) })),
        ),
        ("refund_done", "by its owner", command(Command::RefundDone(TARGET))),
        (
            "cancel",
            "its customer wants it; the units go back on sale",
            command(Command::Cancel(Cancel { target: TARGET, how: RETURNED })),
        ),
    ]
}

fn product_commands() -> Vec<Case> {
    vec![
        ("create_product", "every field set", command(Command::CreateProduct(Box::new(spec())))),
        (
            "create_product_defaults",
            "fields that are 0 are left out",
            command(Command::CreateProduct(Box::new(ProductSpec {
                limit_per_user: Quantity(0),
                limit_per_reservation: Quantity(0),
                opens_at: Timestamp(0),
                closes_at: Timestamp(0),
                late_payment: LatePaymentPolicy::RetakeOrRefund,
                ..spec()
            }))),
        ),
        (
            "adjust_stock",
            "5 units fewer: delta -5, in zigzag",
            command(Command::AdjustStock(AdjustStock { operation: OPERATION, product: PRODUCT, delta: -5 })),
        ),
        (
            "set_stock",
            "from 100 to 150",
            command(Command::SetStock(SetStock {
                operation: OPERATION,
                product: PRODUCT,
                expected: Quantity(100),
                stock: Quantity(150),
            })),
        ),
        (
            "change_sale",
            "pause",
            command(Command::ChangeSale(ChangeSale {
                operation: OPERATION,
                product: PRODUCT,
                action: SaleAction::Pause,
            })),
        ),
        (
            "acknowledge_feed",
            "shard 3 up to position 300",
            command(Command::AcknowledgeFeed { shard: ShardId(3), through: FeedPosition(300) }),
        ),
    ]
}

fn queries() -> Vec<Case> {
    vec![
        ("get_reservation", "by its owner", query(Query::Reservation(TARGET))),
        (
            "find_reservation",
            "on shard 3",
            query(Query::FindReservation { shard: ShardId(3), reservation: RESERVATION }),
        ),
        ("get_product", "by id", query(Query::Product(PRODUCT))),
        (
            "list_products",
            "100 behind product 7",
            query(Query::Products { shard: ShardId(3), after: ProductId(7), limit: 100 }),
        ),
        (
            "list_reservations",
            "the first 100: the id to begin behind is 0 and left out",
            query(Query::Reservations { shard: ShardId(3), after: ReservationId(0), limit: 100 }),
        ),
        (
            "list_unsettled",
            "100 refunds that are due, behind a reservation that changed at noon",
            query(Query::Unsettled {
                shard: ShardId(3),
                of: Unsettled::Refunds,
                after: Changed { at: NOON, reservation: RESERVATION },
                limit: 100,
            }),
        ),
        (
            "read_feed",
            "1000 entries behind position 300",
            query(Query::Feed { shard: ShardId(3), after: FeedPosition(300), limit: 1000 }),
        ),
        ("audit", "of shard 0: an empty message", query(Query::Audit { shard: ShardId(0) })),
        ("status", "of the node that is asked", query(Query::Status)),
        ("shard_map", "as the node that is asked knows it", query(Query::ShardMap)),
    ]
}

fn spec() -> ProductSpec {
    ProductSpec {
        product: PRODUCT,
        name: "Téléphone".to_owned(),
        stock: Quantity(100),
        price: Money { minor: 99_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(2),
        limit_per_reservation: Quantity(1),
        ttl: Millis(120_000),
        max_life: Millis(600_000),
        payment_cap: Millis(300_000),
        opens_at: NOON,
        closes_at: NOON.plus(Millis(3_600_000)),
        late_payment: LatePaymentPolicy::AlwaysRefund,
    }
}

fn view() -> ReservationView {
    ReservationView {
        product: PRODUCT,
        reservation: RESERVATION,
        user: USER,
        quantity: Quantity(3),
        state: ReservationState::Paying,
        payment_attempts: 2,
        late: false,
        cancelled: None,
        created_at: NOON,
        first_expires_at: NOON.plus(Millis(120_000)),
        expires_at: NOON.plus(Millis(180_000)),
        changed_at: NOON.plus(Millis(1)),
    }
}

fn product() -> ProductView {
    ProductView {
        spec: spec(),
        sale: SaleState::Active,
        available: Quantity(57),
        held: Quantity(3),
        sold: Quantity(40),
        next_expiry: NOON.plus(Millis(180_000)),
    }
}

fn shards() -> ShardMap {
    ShardMap {
        leaders: vec![Some(NodeId(1)), Some(NodeId(2)), None, Some(NodeId(1))],
        nodes: vec![
            NodeAddress { node: NodeId(1), address: "10.0.0.1:7100".to_owned() },
            NodeAddress { node: NodeId(2), address: "node-2.shop.example:7100".to_owned() },
        ],
    }
}

pub fn replies() -> Vec<(&'static str, &'static str, Reply)> {
    let entry = FeedEntry {
        position: FeedPosition(301),
        kind: FeedKind::Confirmed,
        product: PRODUCT,
        reservation: RESERVATION,
        user: USER,
        quantity: Quantity(3),
        price: Money { minor: 99_900, currency: Currency(*b"EUR") },
        at: NOON,
        late: true,
        cancelled: None,
    };
    let refunded = FeedEntry { position: FeedPosition(302), kind: FeedKind::Refunded, late: false, ..entry };
    let cancelled =
        FeedEntry { position: FeedPosition(303), kind: FeedKind::Cancelled, cancelled: Some(WRITTEN_OFF), ..refunded };
    let refund_due = ReservationView { state: ReservationState::RefundDue, cancelled: Some(RETURNED), ..view() };
    let undone = ReservationView { state: ReservationState::Cancelled, cancelled: Some(WRITTEN_OFF), ..view() };
    let held = ReservationView { state: ReservationState::Held, late: true, ..view() };
    vec![
        (
            "reservation",
            "a repeated command: replayed",
            Reply::Reservation(ReservationReply { replayed: true, time: NOON, reservation: view() }),
        ),
        (
            "product",
            "57 available, 3 held, 40 sold",
            Reply::Product(Box::new(ProductReply { replayed: false, time: NOON, product: product() })),
        ),
        ("products", "a page of one", Reply::Products(vec![product()])),
        (
            "reservations",
            "a page of four, two of them cancelled",
            Reply::Reservations(vec![view(), held, refund_due, undone]),
        ),
        (
            "unsettled",
            "a page of one, of two altogether",
            Reply::Unsettled(UnsettledPage { time: NOON, total: 2, reservations: vec![view()] }),
        ),
        (
            "feed",
            "three entries",
            Reply::Feed(FeedPage {
                entries: vec![entry, refunded, cancelled],
                acknowledged: FeedPosition(300),
                last: FeedPosition(310),
            }),
        ),
        ("feed_acknowledged", "up to position 300", Reply::FeedAcknowledged(FeedPosition(300))),
        ("audit_report", "of one product, with a problem", Reply::Audit(Box::new(audit()))),
        ("node_status", "of a leader of one shard", Reply::Status(Box::new(status()))),
        ("shard_map_reply", "four shards, one without leader", Reply::ShardMap(shards())),
    ]
}

fn audit() -> AuditReport {
    AuditReport {
        shard: ShardId(3),
        index: LogIndex(1234),
        state_hash: StateHash(0xfeed_beef_dead_cafe),
        recounted_hash: StateHash(0xfeed_beef_dead_caff),
        products: vec![ProductCount {
            product: PRODUCT,
            stock: Quantity(100),
            available: Quantity(57),
            held: Quantity(3),
            sold: Quantity(40),
        }],
        confirmed: 40,
        problems: vec!["the kept digest differs".to_owned()],
    }
}

fn status() -> NodeStatus {
    NodeStatus {
        node: NodeId(1),
        version: "0.1.0".to_owned(),
        uptime: Millis(86_400_000),
        durable: true,
        wall_clock: NOON,
        log_bytes: 67_108_864,
        peers: vec![
            PeerStatus { node: NodeId(2), connected: true, clock_offset: -3 },
            PeerStatus { node: NodeId(3), connected: false, clock_offset: 0 },
        ],
        shards: vec![ShardStatus {
            shard: ShardId(3),
            term: 7,
            leader: Some(NodeId(1)),
            leading: true,
            commit: LogIndex(1234),
            applied: LogIndex(1234),
            first: LogIndex(1000),
            state_hash: StateHash(0xfeed_beef_dead_cafe),
            time: NOON,
            diverged: false,
        }],
    }
}

/// One failure for every code, some with other values besides.
pub fn failures() -> Vec<(String, Failure)> {
    let refusals = [
        Refusal::SoldOut,
        Refusal::AllHeld { next_expiry: NOON },
        Refusal::InsufficientStock { available: Quantity(2) },
        Refusal::LimitReached { limit: Quantity(4), used: Quantity(3) },
        Refusal::QuantityTooLarge { limit: Quantity(5) },
        Refusal::NotOpen { opens_at: NOON },
        Refusal::Closed,
        Refusal::Paused,
        Refusal::UnknownProduct,
        Refusal::UnknownReservation,
        Refusal::ConflictingRetry,
        Refusal::ReservationExpired { expired_at: NOON },
        Refusal::ReservationReleased,
        Refusal::AlreadyConfirmed,
        Refusal::PaymentInProgress,
        Refusal::PaymentNotInProgress { attempts: 6 },
        Refusal::Refunding,
        Refusal::NoRefundDue,
        Refusal::LifeLimitReached { latest: NOON },
        Refusal::StockBelowCommitted { held: Quantity(7), sold: Quantity(8) },
        Refusal::StockMismatch { stock: Quantity(9) },
        Refusal::StockTooLarge { limit: Quantity(1_000_000_000) },
        Refusal::ProductExists,
        Refusal::CapacityReached { limit: 100_000 },
        Refusal::InvalidArgument(Argument::Schedule),
        Refusal::FeedPositionUnknown,
        Refusal::NotConfirmed,
        Refusal::ReservationCancelled,
    ];
    let failures = [
        Failure::NotLeader { leader: Some(NodeId(2)) },
        Failure::Busy { retry_after: Millis(50) },
        Failure::OutcomeUnknown,
        Failure::WaitedTooLong,
        Failure::ShuttingDown,
        Failure::Diverged,
        Failure::Malformed("opcode cannot be 200".to_owned()),
        Failure::Unauthorized,
        Failure::WrongCluster,
        Failure::UnsupportedVersion,
    ];
    let named = |failure: Failure| (failure.code().name().to_owned(), failure);
    let mut all: Vec<_> = refusals.map(Failure::Refused).into_iter().chain(failures).map(named).collect();
    assert!(Code::all().all(|code| all.iter().any(|(_, failure)| failure.code() == code)), "a code has no vector");
    all.push(("not_leader_unknown".to_owned(), Failure::NotLeader { leader: None }));
    all
}

pub fn hello() -> Hello {
    Hello {
        versions: 2..=2,
        cluster: "shop".to_owned(),
        credential: b"open sesame".to_vec(),
        client: "python".to_owned(),
    }
}

pub fn welcomes() -> Vec<(&'static str, &'static str, WelcomeOrFailure)> {
    let welcome = Welcome {
        version: 2,
        cluster: "shop".to_owned(),
        node: NodeId(1),
        limits: ServerLimits::default(),
        shards: shards(),
    };
    vec![
        ("welcome", "the client is taken", WelcomeOrFailure::Welcome(welcome)),
        ("welcome_refused", "wrong credential", WelcomeOrFailure::Refused(Failure::Unauthorized)),
    ]
}

/// Requests' contents that must be refused, each alone, and why.
pub fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", vec![]),
        ("unknown_opcode", vec![0, 0, 0, 0, 200]),
        ("time_entry", vec![0, 0, 0, 0, 15]),
        ("reserve_cut_short", [&[0, 0, 0, 0, 1][..], &[7; 51]].concat()),
        ("reserve_left_over", [&[0, 0, 0, 0, 1][..], &[7; 53]].concat()),
        ("cancel_for_no_reason", [&[0, 0, 0, 0, 9][..], &[7; 40], &[0]].concat()),
        ("cancel_for_an_unknown_reason", [&[0, 0, 0, 0, 9][..], &[7; 40], &[13]].concat()),
        ("wait_too_long", [&[0x61, 0xea, 0, 0, 4][..], &[7; 40]].concat()),
        ("page_too_long", vec![0, 0, 0, 0, 81, 3, 0, 0, 0, 0x28, 0x81, 0x20]),
        ("unsettled_page_too_long", [&[0, 0, 0, 0, 66, 3, 0, 1][..], &[0; 24], &[0x01, 0x10, 0, 0]].concat()),
        ("unsettled_of_no_kind", [&[0, 0, 0, 0, 66, 3, 0, 3][..], &[0; 24], &[1, 0, 0, 0]].concat()),
        ("no_protobuf", vec![0, 0, 0, 0, 80, 2, 0, 0, 0, 0x10, 0xff]),
        ("id_of_15_bytes", [&[0, 0, 0, 0, 82, 17, 0, 0, 0, 0x1a, 15][..], &[7; 15]].concat()),
        ("name_too_long", {
            let mut bytes = vec![0, 0, 0, 0, 16, 204, 0, 0, 0, 0x12, 0xc9, 0x01];
            bytes.extend([b'n'; 201]);
            bytes
        }),
    ]
}

/// Frames that end the connection and have no effect, whole ones of requests included.
pub fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let request = || [&[0, 0, 0, 0, 4][..], &[7; 40]].concat();
    let batch = |second: &[u8]| frame(5, &[&item(45, 1, &request()), second].concat());
    let with = |at: usize, byte: u8| {
        let mut bytes = frame(4, &request());
        bytes[at] = byte;
        bytes
    };
    vec![
        ("batch_item_beyond_the_frame", batch(&item(46, 2, &request()))),
        ("batch_item_cut_short", batch(&item(45, 2, &request()[..44]))),
        ("batch_item_without_id", batch(&item(45, 2, &[])[..11])),
        ("length_below_the_header", with(0, 15)),
        ("length_beyond_the_limit", with(3, 1)),
        ("version", with(4, 0)),
        ("kind", with(5, 6)),
        ("flags", with(6, 1)),
    ]
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(16 + content.len()).expect("short");
    [&[length, 0, 0, 0, 1, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], content].concat()
}

fn item(length: u8, id: u8, content: &[u8]) -> Vec<u8> {
    [&[length, 0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0], content].concat()
}
