//! Values as JSON, in the words of `PROTOCOL.md`, for readers in other languages. 128-bit ids are 32 hex
//! digits, the most significant first.

use doorbuster_protocol::command::*;
use doorbuster_protocol::failure::{Argument, Failure, Refusal};
use doorbuster_protocol::handshake::{Hello, WelcomeOrFailure};
use doorbuster_protocol::query::{Query, Unsettled};
use doorbuster_protocol::reply::*;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::*;
use serde_json::{Map, Value, json};

/// Puts the second object's fields behind the first's.
fn join(first: Value, second: Value) -> Value {
    let (Value::Object(mut all), Value::Object(more)) = (first, second) else { panic!("objects only") };
    all.extend(more);
    Value::Object(all)
}

fn hex(id: u128) -> Value {
    json!(format!("{id:032x}"))
}

pub fn request(id: RequestId, request: &Request) -> Value {
    let (op, fields) = match &request.body {
        RequestBody::Command(command) => self::command(command),
        RequestBody::Query(query) => self::query(query),
    };
    join(json!({ "id": id.0, "wait": request.wait.0, "op": op }), fields)
}

fn command(command: &Command) -> (&'static str, Value) {
    match command {
        Command::Reserve(reserve) => (
            "reserve",
            json!({
                "product": reserve.product.0, "reservation": hex(reserve.reservation.0), "user": hex(reserve.user.0),
                "quantity": reserve.quantity.0, "ttl": reserve.ttl.0,
            }),
        ),
        Command::BeginPayment(payment) => ("begin_payment", self::payment(payment)),
        Command::PaymentFailed(payment) => ("payment_failed", self::payment(payment)),
        Command::Confirm(target) => ("confirm", self::target(target)),
        Command::Release(target) => ("release", self::target(target)),
        Command::RefundDone(target) => ("refund_done", self::target(target)),
        Command::Cancel(cancel) => {
            ("cancel", join(target(&cancel.target), json!({ "how": cancellation(Some(cancel.how)) })))
        }
        Command::Extend(extend) => {
            ("extend", join(target(&extend.target), json!({ "operation": hex(extend.operation.0), "by": extend.by.0 })))
        }
        Command::LatePayment(late) => {
            ("late_payment", join(target(&late.target), json!({ "quantity": late.quantity.0 })))
        }
        Command::CreateProduct(spec) => ("create_product", self::spec(spec)),
        Command::AdjustStock(adjust) => (
            "adjust_stock",
            json!({ "operation": hex(adjust.operation.0), "product": adjust.product.0, "delta": adjust.delta }),
        ),
        Command::SetStock(set) => (
            "set_stock",
            json!({
                "operation": hex(set.operation.0), "product": set.product.0,
                "expected": set.expected.0, "stock": set.stock.0,
            }),
        ),
        Command::ChangeSale(change) => (
            "change_sale",
            json!({
                "operation": hex(change.operation.0), "product": change.product.0,
                "action": match change.action {
                    SaleAction::Pause => "pause",
                    SaleAction::Resume => "resume",
                    SaleAction::Close => "close",
                },
            }),
        ),
        Command::AcknowledgeFeed { shard, through } => {
            ("acknowledge_feed", json!({ "shard": shard.0, "position": through.0 }))
        }
        Command::Expire => ("expire", json!({})),
    }
}

fn query(query: &Query) -> (&'static str, Value) {
    match query {
        Query::Reservation(target) => ("get_reservation", self::target(target)),
        Query::FindReservation { shard, reservation } => {
            ("find_reservation", json!({ "shard": shard.0, "reservation": hex(reservation.0) }))
        }
        Query::Product(product) => ("get_product", json!({ "product": product.0 })),
        Query::Products { shard, after, limit } => {
            ("list_products", json!({ "shard": shard.0, "product": after.0, "limit": limit }))
        }
        Query::Reservations { shard, after, limit } => {
            ("list_reservations", json!({ "shard": shard.0, "reservation": hex(after.0), "limit": limit }))
        }
        Query::Unsettled { shard, of, after, limit } => (
            "list_unsettled",
            json!({
                "shard": shard.0,
                "of": match of {
                    Unsettled::Payments => "payments",
                    Unsettled::Refunds => "refunds",
                },
                "changed_at": after.at.0, "reservation": hex(after.reservation.0), "limit": limit,
            }),
        ),
        Query::Feed { shard, after, limit } => {
            ("read_feed", json!({ "shard": shard.0, "position": after.0, "limit": limit }))
        }
        Query::Audit { shard } => ("audit", json!({ "shard": shard.0 })),
        Query::Status => ("status", json!({})),
        Query::ShardMap => ("shard_map", json!({})),
    }
}

fn target(target: &Target) -> Value {
    json!({
        "product": target.product.0, "reservation": hex(target.reservation.0), "user": hex(target.user.0),
    })
}

fn payment(payment: &Payment) -> Value {
    join(target(&payment.target), json!({ "attempt": payment.attempt }))
}

fn spec(spec: &ProductSpec) -> Value {
    json!({
        "product": spec.product.0,
        "name": spec.name,
        "stock": spec.stock.0,
        "price_minor": spec.price.minor,
        "currency": spec.price.currency.to_string(),
        "limit_per_user": spec.limit_per_user.0,
        "limit_per_reservation": spec.limit_per_reservation.0,
        "ttl": spec.ttl.0,
        "max_life": spec.max_life.0,
        "payment_cap": spec.payment_cap.0,
        "opens_at": spec.opens_at.0,
        "closes_at": spec.closes_at.0,
        "late_payment": match spec.late_payment {
            LatePaymentPolicy::RetakeOrRefund => "retake_or_refund",
            LatePaymentPolicy::AlwaysRefund => "always_refund",
        },
    })
}

pub fn answer(id: RequestId, answer: &Answer) -> Value {
    let fields = match answer {
        Ok(reply) => self::reply(reply),
        Err(failure) => self::failure(failure),
    };
    join(json!({ "id": id.0 }), fields)
}

fn reply(reply: &Reply) -> Value {
    match reply {
        Reply::Reservation(reply) => json!({
            "reply": "reservation", "replayed": reply.replayed, "time": reply.time.0,
            "reservation": view(&reply.reservation),
        }),
        Reply::Product(reply) => json!({
            "reply": "product", "replayed": reply.replayed, "time": reply.time.0,
            "product": product(&reply.product),
        }),
        Reply::Products(page) => {
            json!({ "reply": "products", "products": page.iter().map(product).collect::<Vec<_>>() })
        }
        Reply::Reservations(page) => {
            json!({ "reply": "reservations", "reservations": page.iter().map(view).collect::<Vec<_>>() })
        }
        Reply::Unsettled(page) => json!({
            "reply": "unsettled", "time": page.time.0, "total": page.total,
            "reservations": page.reservations.iter().map(view).collect::<Vec<_>>(),
        }),
        Reply::Feed(page) => json!({
            "reply": "feed", "acknowledged": page.acknowledged.0, "last": page.last.0,
            "entries": page.entries.iter().map(feed_entry).collect::<Vec<_>>(),
        }),
        Reply::FeedAcknowledged(through) => json!({ "reply": "feed_acknowledged", "position": through.0 }),
        Reply::Audit(report) => audit(report),
        Reply::Status(status) => self::status(status),
        Reply::ShardMap(map) => join(json!({ "reply": "shard_map" }), shard_map(map)),
        Reply::Expired(count) => json!({ "reply": "expired", "count": count }),
    }
}

fn view(view: &ReservationView) -> Value {
    json!({
        "product": view.product.0,
        "reservation": hex(view.reservation.0),
        "user": hex(view.user.0),
        "quantity": view.quantity.0,
        "state": view.state.name(),
        "late": view.late,
        "cancelled": cancellation(view.cancelled),
        "payment_attempts": view.payment_attempts,
        "created_at": view.created_at.0,
        "first_expires_at": view.first_expires_at.0,
        "expires_at": view.expires_at.0,
        "changed_at": view.changed_at.0,
    })
}

/// None where nothing was cancelled.
fn cancellation(cancelled: Option<Cancellation>) -> Value {
    cancelled.map_or(Value::Null, |how| json!({ "reason": how.reason.name(), "return_stock": how.return_stock }))
}

fn product(view: &ProductView) -> Value {
    json!({
        "spec": spec(&view.spec),
        "sale": match view.sale {
            SaleState::Active => "active",
            SaleState::Paused => "paused",
            SaleState::Closed => "closed",
        },
        "available": view.available.0,
        "held": view.held.0,
        "sold": view.sold.0,
        "next_expiry": view.next_expiry.0,
    })
}

fn feed_entry(entry: &FeedEntry) -> Value {
    json!({
        "position": entry.position.0,
        "kind": match entry.kind {
            FeedKind::Confirmed => "confirmed",
            FeedKind::RefundDue => "refund_due",
            FeedKind::Refunded => "refunded",
            FeedKind::Cancelled => "cancelled",
        },
        "late": entry.late,
        "cancelled": cancellation(entry.cancelled),
        "product": entry.product.0,
        "reservation": hex(entry.reservation.0),
        "user": hex(entry.user.0),
        "quantity": entry.quantity.0,
        "price_minor": entry.price.minor,
        "currency": entry.price.currency.to_string(),
        "at": entry.at.0,
    })
}

fn audit(report: &AuditReport) -> Value {
    let count = |count: &ProductCount| {
        json!({
            "product": count.product.0, "stock": count.stock.0, "available": count.available.0,
            "held": count.held.0, "sold": count.sold.0,
        })
    };
    json!({
        "reply": "audit",
        "shard": report.shard.0,
        "index": report.index.0,
        "state_hash": report.state_hash.0,
        "recounted_hash": report.recounted_hash.0,
        "confirmed": report.confirmed,
        "products": report.products.iter().map(count).collect::<Vec<_>>(),
        "problems": report.problems,
    })
}

fn status(status: &NodeStatus) -> Value {
    let peer = |peer: &PeerStatus| json!({ "node": peer.node.0, "connected": peer.connected, "clock_offset": peer.clock_offset });
    let shard = |shard: &ShardStatus| {
        json!({
            "shard": shard.shard.0, "term": shard.term, "leader": node(shard.leader), "leading": shard.leading,
            "commit": shard.commit.0, "applied": shard.applied.0, "first": shard.first.0,
            "state_hash": shard.state_hash.0, "time": shard.time.0, "diverged": shard.diverged,
        })
    };
    json!({
        "reply": "status",
        "node": status.node.0,
        "version": status.version,
        "uptime": status.uptime.0,
        "durable": status.durable,
        "wall_clock": status.wall_clock.0,
        "log_bytes": status.log_bytes,
        "peers": status.peers.iter().map(peer).collect::<Vec<_>>(),
        "shards": status.shards.iter().map(shard).collect::<Vec<_>>(),
    })
}

/// 0 for none, as on the wire.
fn node(node: Option<NodeId>) -> u16 {
    node.map_or(0, |node| node.0)
}

fn shard_map(map: &ShardMap) -> Value {
    let address = |at: &NodeAddress| json!({ "node": at.node.0, "address": at.address });
    json!({
        "leaders": map.leaders.iter().map(|leader| node(*leader)).collect::<Vec<_>>(),
        "nodes": map.nodes.iter().map(address).collect::<Vec<_>>(),
    })
}

pub fn failure(failure: &Failure) -> Value {
    let fields = match failure {
        Failure::Refused(refusal) => self::refusal(refusal),
        Failure::NotLeader { leader } => json!({ "leader": node(*leader) }),
        Failure::Busy { retry_after } => json!({ "retry_after": retry_after.0 }),
        Failure::Malformed(detail) => json!({ "detail": detail }),
        _ => json!({}),
    };
    join(json!({ "failure": failure.code().name() }), fields)
}

fn refusal(refusal: &Refusal) -> Value {
    match *refusal {
        Refusal::AllHeld { next_expiry } => json!({ "next_expiry": next_expiry.0 }),
        Refusal::InsufficientStock { available } => json!({ "available": available.0 }),
        Refusal::LimitReached { limit, used } => json!({ "limit": limit.0, "used": used.0 }),
        Refusal::QuantityTooLarge { limit } | Refusal::StockTooLarge { limit } => json!({ "limit": limit.0 }),
        Refusal::NotOpen { opens_at } => json!({ "opens_at": opens_at.0 }),
        Refusal::ReservationExpired { expired_at } => json!({ "expired_at": expired_at.0 }),
        Refusal::PaymentNotInProgress { attempts } => json!({ "attempts": attempts }),
        Refusal::LifeLimitReached { latest } => json!({ "latest": latest.0 }),
        Refusal::StockBelowCommitted { held, sold } => json!({ "held": held.0, "sold": sold.0 }),
        Refusal::StockMismatch { stock } => json!({ "stock": stock.0 }),
        Refusal::CapacityReached { limit } => json!({ "limit": limit }),
        Refusal::InvalidArgument(argument) => json!({ "argument": self::argument(argument) }),
        _ => Value::Object(Map::new()),
    }
}

const fn argument(argument: Argument) -> &'static str {
    match argument {
        Argument::Id => "id",
        Argument::Quantity => "quantity",
        Argument::Name => "name",
        Argument::Price => "price",
        Argument::Duration => "duration",
        Argument::Schedule => "schedule",
        Argument::Delta => "delta",
    }
}

pub fn hello(hello: &Hello) -> Value {
    json!({
        "versions": [hello.versions.start(), hello.versions.end()],
        "cluster": hello.cluster,
        "credential": String::from_utf8_lossy(&hello.credential),
        "client": hello.client,
    })
}

pub fn welcome(welcome: &WelcomeOrFailure) -> Value {
    match welcome {
        WelcomeOrFailure::Refused(failure) => self::failure(failure),
        WelcomeOrFailure::Welcome(welcome) => join(
            json!({
                "version": welcome.version,
                "cluster": welcome.cluster,
                "node": welcome.node.0,
                "max_frame_bytes": welcome.limits.max_frame_bytes,
                "max_batch_requests": welcome.limits.max_batch_requests,
                "max_in_flight": welcome.limits.max_in_flight,
            }),
            shard_map(&welcome.shards),
        ),
    }
}
