//! Reading a snapshot. The bytes are believed only as far as they are checked: a count is held against
//! the bytes that are left before anything is allocated, every value against what it may be.

use std::collections::BTreeSet;

use doorbuster_protocol::command::{Cancellation, LatePaymentPolicy, ProductSpec};
use doorbuster_protocol::limits::{MAX_PRODUCT_NAME_BYTES, MAX_RESERVATION_QUANTITY, MAX_STOCK, MAX_TTL};
use doorbuster_protocol::reply::{FeedEntry, FeedKind, ReservationState, SaleState};
use doorbuster_protocol::types::{
    Currency, FeedPosition, LogIndex, Millis, Money, OperationId, ProductId, Quantity, ReservationId, ShardId,
    StateHash, Timestamp, UserId,
};

use super::{MAGIC, OLDEST, SnapshotError, VERSION};
use crate::feed::Feed;
use crate::inventory::State;
use crate::limits::Limits;
use crate::operations::{Operation, Operations};
use crate::product::{Product, Units, check_spec};
use crate::record::{Reservation, state_from};
use crate::reservations::{Rebuild, Reservations};
use crate::users::{UserCount, Users};
use crate::wheel::END_OF_TIME;

/// Feed positions are below this, so that counting on from them cannot overflow.
const MAX_FEED_POSITION: u64 = 1 << 62;

type Result<T, E = SnapshotError> = std::result::Result<T, E>;

struct Header {
    version: u16,
    applied: LogIndex,
    time: Timestamp,
    state_hash: StateHash,
    cursor: u64,
    acknowledged: FeedPosition,
    products: u64,
    reservations: u64,
    users: u64,
    operations: u64,
    feed: u64,
}

/// Reads a state, and the state hash it should have.
pub(crate) fn read(shard: ShardId, limits: Limits, bytes: &[u8]) -> Result<(State, StateHash)> {
    let mut input = Input { bytes: verified(bytes)?, offset: 0 };
    let header = header(&mut input, shard)?;
    check_counts(&header, &limits)?;
    let products = products(&mut input, header.products)?;
    let reservations = reservations(&mut input, &header, &limits, &products)?;
    let users = users(&mut input, header.users, &products)?;
    let operations = operations(&mut input, &header)?;
    let feed = feed(&mut input, &header)?;
    input.require(input.bytes.is_empty(), "end")?;
    let Header { applied, time, state_hash, .. } = header;
    let state = State { shard, limits, applied, time, products, reservations, users, operations, feed };
    Ok((state, state_hash))
}

/// The bytes without their checksum, if it is theirs.
fn verified(bytes: &[u8]) -> Result<&[u8]> {
    if !bytes.starts_with(&MAGIC) {
        return Err(SnapshotError::Unrecognised);
    }
    let Some((body, checksum)) = bytes.split_last_chunk() else {
        return Err(SnapshotError::Unrecognised);
    };
    let (found, counted) = (u32::from_le_bytes(*checksum), crc32fast::hash(body));
    if found == counted { Ok(body) } else { Err(SnapshotError::Damaged { found, counted }) }
}

fn header(input: &mut Input<'_>, expected: ShardId) -> Result<Header> {
    input.array::<8>("magic")?;
    let version = input.u16("version")?;
    if !(OLDEST..=VERSION).contains(&version) {
        return Err(SnapshotError::UnsupportedVersion { found: version });
    }
    let found = ShardId(input.u16("shard")?);
    if found != expected {
        return Err(SnapshotError::WrongShard { found, expected });
    }
    let header = Header {
        version,
        applied: LogIndex(input.u64("index")?),
        time: Timestamp(input.u64("time")?),
        state_hash: StateHash(input.u64("state hash")?),
        cursor: input.u64("wheel cursor")?,
        acknowledged: FeedPosition(input.u64("feed position")?),
        products: u64::from(input.u32("count")?),
        reservations: u64::from(input.u32("count")?),
        users: input.u64("count")?,
        operations: u64::from(input.u32("count")?),
        feed: input.u64("count")?,
    };
    input.require(header.time.get() < END_OF_TIME / 2 && header.cursor <= header.time.get(), "time")?;
    input.require(header.acknowledged.get() < MAX_FEED_POSITION && header.feed < MAX_FEED_POSITION, "feed position")?;
    Ok(header)
}

fn check_counts(header: &Header, limits: &Limits) -> Result<()> {
    let counts = [
        ("products", header.products, limits.products),
        ("reservations", header.reservations, limits.reservations),
        ("operations", header.operations, limits.operations),
    ];
    for (what, count, limit) in counts {
        let limit = limit as u64;
        if count > limit {
            return Err(SnapshotError::TooLarge { what, count, limit });
        }
    }
    Ok(())
}

fn products(input: &mut Input<'_>, count: u64) -> Result<Vec<Product>> {
    let mut products: Vec<Product> = Vec::new();
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        let product = product(input)?;
        input.require(ids.insert(product.spec.product), "product")?;
        products.push(product);
    }
    Ok(products)
}

fn product(input: &mut Input<'_>) -> Result<Product> {
    let spec = spec(input)?;
    let sale = match input.u8("sale state")? {
        0 => SaleState::Active,
        1 => SaleState::Paused,
        2 => SaleState::Closed,
        _ => return Err(input.invalid("sale state")),
    };
    let units = Units {
        stock: input.u32("stock")?,
        available: input.u32("stock")?,
        held: input.u32("stock")?,
        sold: input.u32("stock")?,
        sold_and_forgotten: input.u32("stock")?,
    };
    input.require(units.stock <= MAX_STOCK && units.add_up(), "stock")?;
    Ok(Product::restored(spec, units, sale))
}

fn spec(input: &mut Input<'_>) -> Result<ProductSpec> {
    let spec = ProductSpec {
        product: ProductId(input.u64("product")?),
        name: name(input)?,
        stock: Quantity(input.u32("stock")?),
        price: money(input)?,
        limit_per_user: Quantity(input.u32("limit")?),
        limit_per_reservation: Quantity(input.u32("limit")?),
        ttl: Millis(input.u64("duration")?),
        max_life: Millis(input.u64("duration")?),
        payment_cap: Millis(input.u64("duration")?),
        opens_at: Timestamp(input.u64("time")?),
        closes_at: Timestamp(input.u64("time")?),
        late_payment: match input.u8("policy")? {
            0 => LatePaymentPolicy::RetakeOrRefund,
            1 => LatePaymentPolicy::AlwaysRefund,
            _ => return Err(input.invalid("policy")),
        },
    };
    input.require(check_spec(&spec).is_ok(), "product")?;
    Ok(spec)
}

fn name(input: &mut Input<'_>) -> Result<String> {
    let length = input.u32("name")? as usize;
    input.require(length <= MAX_PRODUCT_NAME_BYTES, "name")?;
    let bytes = input.take(length, "name")?;
    String::from_utf8(bytes.to_vec()).map_err(|_| input.invalid("name"))
}

fn money(input: &mut Input<'_>) -> Result<Money> {
    Ok(Money { minor: input.u64("price")?, currency: Currency(input.array("currency")?) })
}

fn reservations(input: &mut Input<'_>, header: &Header, limits: &Limits, products: &[Product]) -> Result<Reservations> {
    let mut rebuild = Rebuild::new(limits.retention, header.cursor);
    for _ in 0..header.reservations {
        let bucket = input.u16("bucket")?;
        let reservation = reservation(input)?;
        let product = products.get(reservation.product as usize);
        let product = product.ok_or_else(|| input.invalid("reservation's product"))?.spec.product;
        input.require(is_plausible(&reservation, header.time), "reservation")?;
        let due = reservation.timer(limits.retention).unwrap_or_default();
        input.require(due.get() < END_OF_TIME, "deadline")?;
        input.require(rebuild.append(bucket, &reservation, product.get()), "reservation's timer or id")?;
    }
    Ok(rebuild.finish())
}

fn reservation(input: &mut Input<'_>) -> Result<Reservation> {
    let (id, user) = (ReservationId(input.u128("reservation")?), UserId(input.u128("user")?));
    let (product, quantity) = (input.u32("reservation's product")?, input.u32("quantity")?);
    let state = state_from(input.u8("state")?).ok_or_else(|| input.invalid("state"))?;
    let flags = input.u8("late")?;
    let cancelled = cancellation(input, flags >> 2)?;
    let abandoned = flags & 2 != 0;
    input.require(!abandoned || state == ReservationState::Expired, "payment left behind")?;
    let ends_one =
        matches!(state, ReservationState::RefundDue | ReservationState::Refunded | ReservationState::Cancelled);
    let is_one = state == ReservationState::Cancelled;
    input.require(cancelled.map_or(!is_one, |_| ends_one), "cancellation")?;
    Ok(Reservation {
        id,
        user,
        product,
        quantity,
        state,
        late: flags & 1 != 0,
        abandoned,
        cancelled,
        attempts: input.u16("payment attempts")?,
        created: Timestamp(input.u64("time")?),
        first_ttl: Millis(input.u64("duration")?),
        hold_until: Timestamp(input.u64("time")?),
        expires: Timestamp(input.u64("time")?),
        changed: Timestamp(input.u64("time")?),
    })
}

/// How a sale was cancelled, by its number; 0 for none.
fn cancellation(input: &Input<'_>, number: u8) -> Result<Option<Cancellation>> {
    let cancelled = Cancellation::from_number(number);
    input.require(number == 0 || cancelled.is_some(), "cancellation")?;
    Ok(cancelled)
}

/// Whether a reservation can have been made by this program, and fits its record.
fn is_plausible(reservation: &Reservation, now: Timestamp) -> bool {
    let Reservation { id, user, quantity, created, changed, hold_until, expires, first_ttl, .. } = *reservation;
    let within_reach =
        |deadline: Timestamp| deadline >= created && u32::try_from(deadline.get().abs_diff(created.get())).is_ok();
    id.get() != 0
        && user.get() != 0
        && (1..=MAX_RESERVATION_QUANTITY).contains(&quantity)
        && created <= changed
        && changed <= now
        && first_ttl <= MAX_TTL
        && within_reach(hold_until)
        && within_reach(expires)
}

fn users(input: &mut Input<'_>, count: u64, products: &[Product]) -> Result<Users> {
    let mut users = Users::new();
    for _ in 0..count {
        let (user, place) = (UserId(input.u128("user")?), input.u32("user's product")?);
        let units = input.u32("user's units")?;
        let is_counted = products.get(place as usize).is_some_and(Product::limits_users);
        input.require(is_counted && user.get() != 0 && units > 0 && users.units(user, place) == 0, "user count")?;
        users.insert(UserCount::new(user, place, units));
    }
    Ok(users)
}

fn operations(input: &mut Input<'_>, header: &Header) -> Result<Operations> {
    let mut operations = Operations::new();
    let mut last = Timestamp(0);
    for _ in 0..header.operations {
        let operation = Operation {
            id: OperationId(input.u128("operation")?),
            fingerprint: input.u64("operation")?,
            at: Timestamp(input.u64("time")?),
        };
        let in_order = operation.at >= last && operation.at <= header.time;
        let is_new = operation.id.get() != 0 && operations.find(operation.id).is_none();
        input.require(in_order && is_new, "operation")?;
        last = operation.at;
        operations.remember(operation);
    }
    Ok(operations)
}

fn feed(input: &mut Input<'_>, header: &Header) -> Result<Feed> {
    let mut feed = Feed::acknowledged_up_to(header.acknowledged);
    for offset in 0..header.feed {
        let kind = match input.u8("feed entry")? {
            0 => FeedKind::Confirmed,
            1 => FeedKind::RefundDue,
            2 => FeedKind::Refunded,
            3 => FeedKind::Cancelled,
            _ => return Err(input.invalid("feed entry")),
        };
        let late = input.flag("late")?;
        let cancelled = if header.version > OLDEST { input.u8("cancellation")? } else { 0 };
        feed.push(FeedEntry {
            position: FeedPosition(header.acknowledged.get() + 1 + offset),
            kind,
            late,
            cancelled: cancellation(input, cancelled)?,
            product: ProductId(input.u64("feed entry")?),
            reservation: ReservationId(input.u128("feed entry")?),
            user: UserId(input.u128("feed entry")?),
            quantity: Quantity(input.u32("feed entry")?),
            price: money(input)?,
            at: Timestamp(input.u64("feed entry")?),
        });
    }
    Ok(feed)
}

/// What is left of the bytes.
struct Input<'a> {
    bytes: &'a [u8],
    /// Bytes read so far.
    offset: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| self.invalid(what))?;
        self.bytes = rest;
        self.offset += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or_else(|| self.invalid(what))?;
        self.bytes = rest;
        self.offset += N;
        Ok(*taken)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8> {
        self.array(what).map(u8::from_le_bytes)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn u128(&mut self, what: &'static str) -> Result<u128> {
        self.array(what).map(u128::from_le_bytes)
    }

    fn flag(&mut self, what: &'static str) -> Result<bool> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.invalid(what)),
        }
    }

    fn require(&self, holds: bool, what: &'static str) -> Result<()> {
        if holds { Ok(()) } else { Err(self.invalid(what)) }
    }

    fn invalid(&self, what: &'static str) -> SnapshotError {
        SnapshotError::Invalid { what, offset: self.offset }
    }
}
