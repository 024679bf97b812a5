//! Writing a snapshot, in chunks, with the checksum counted on the way.

use std::io;

use doorbuster_protocol::reply::FeedEntry;

use super::{Frozen, FrozenProduct, MAGIC, VERSION};
use crate::feed::{cancellation, kind_code};
use crate::operations::Operation;
use crate::product::{policy_code, sale_code};
use crate::record::{Reservation, state_code};
use crate::users::UserCount;

/// Bytes gathered before they are handed on.
const CHUNK: usize = 64 * 1024;

pub(super) fn write(frozen: &Frozen, out: &mut dyn io::Write) -> io::Result<()> {
    let mut out = Output { out, chunk: Vec::with_capacity(CHUNK + 1024), checksum: crc32fast::Hasher::new() };
    header(&mut out, frozen);
    for product in &frozen.products {
        self::product(&mut out, product);
        out.flush_if_full()?;
    }
    for (bucket, reservation) in frozen.reservations.in_order() {
        self::reservation(&mut out, bucket, &reservation);
        out.flush_if_full()?;
    }
    for count in frozen.users.iter() {
        user_count(&mut out, count);
        out.flush_if_full()?;
    }
    for operation in frozen.operations.iter_from(0) {
        self::operation(&mut out, operation);
        out.flush_if_full()?;
    }
    for entry in frozen.feed.iter() {
        feed_entry(&mut out, entry);
        out.flush_if_full()?;
    }
    out.finish()
}

fn header(out: &mut Output<'_>, frozen: &Frozen) {
    out.bytes(&MAGIC);
    out.u16(VERSION);
    out.u16(frozen.shard.get());
    out.u64(frozen.applied.get());
    out.u64(frozen.time.get());
    out.u64(frozen.state_hash.get());
    out.u64(frozen.reservations.cursor());
    out.u64(frozen.feed.acknowledged().get());
    out.count32(frozen.products.len());
    out.count32(frozen.reservations.len());
    out.u64(frozen.users.len() as u64);
    out.count32(frozen.operations.len());
    out.u64(frozen.feed.last().get() - frozen.feed.acknowledged().get());
}

fn product(out: &mut Output<'_>, product: &FrozenProduct) {
    let FrozenProduct { spec, units, sale } = product;
    out.u64(spec.product.get());
    out.count32(spec.name.len());
    out.bytes(spec.name.as_bytes());
    out.u32(spec.stock.get());
    out.u64(spec.price.minor);
    out.bytes(&spec.price.currency.0);
    out.u32(spec.limit_per_user.get());
    out.u32(spec.limit_per_reservation.get());
    out.u64(spec.ttl.get());
    out.u64(spec.max_life.get());
    out.u64(spec.payment_cap.get());
    out.u64(spec.opens_at.get());
    out.u64(spec.closes_at.get());
    out.u8(policy_code(spec.late_payment));
    out.u8(sale_code(*sale));
    out.u32(units.stock);
    out.u32(units.available);
    out.u32(units.held);
    out.u32(units.sold);
    out.u32(units.sold_and_forgotten);
}

fn reservation(out: &mut Output<'_>, bucket: u16, reservation: &Reservation) {
    out.u16(bucket);
    out.u128(reservation.id.get());
    out.u128(reservation.user.get());
    out.u32(reservation.product);
    out.u32(reservation.quantity);
    out.u8(state_code(reservation.state));
    out.u8(u8::from(reservation.late) | u8::from(reservation.abandoned) << 1 | reservation.cancellation() << 2);
    out.u16(reservation.attempts);
    out.u64(reservation.created.get());
    out.u64(reservation.first_ttl.get());
    out.u64(reservation.hold_until.get());
    out.u64(reservation.expires.get());
    out.u64(reservation.changed.get());
}

fn user_count(out: &mut Output<'_>, count: &UserCount) {
    out.u128(count.user().get());
    out.u32(count.product());
    out.u32(count.units());
}

fn operation(out: &mut Output<'_>, operation: &Operation) {
    out.u128(operation.id.get());
    out.u64(operation.fingerprint);
    out.u64(operation.at.get());
}

fn feed_entry(out: &mut Output<'_>, entry: &FeedEntry) {
    out.u8(kind_code(entry.kind));
    out.u8(u8::from(entry.late));
    out.u8(cancellation(entry));
    out.u64(entry.product.get());
    out.u128(entry.reservation.get());
    out.u128(entry.user.get());
    out.u32(entry.quantity.get());
    out.u64(entry.price.minor);
    out.bytes(&entry.price.currency.0);
    out.u64(entry.at.get());
}

/// What a snapshot is written through.
struct Output<'a> {
    out: &'a mut dyn io::Write,
    chunk: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl Output<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.chunk.extend_from_slice(bytes);
    }

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn u128(&mut self, value: u128) {
        self.bytes(&value.to_le_bytes());
    }

    fn count32(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("what is counted in 32 bits is limited to fewer"));
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.chunk.len() < CHUNK { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.checksum.update(&self.chunk);
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.out.write_all(&self.checksum.finalize().to_le_bytes())
    }
}
