//! A product: what is on sale, and the three counters that are the point of it all.

use std::sync::Arc;

use doorbuster_protocol::command::{LatePaymentPolicy, ProductSpec};
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::{
    MAX_PRICE_MINOR, MAX_PRODUCT_NAME_BYTES, MAX_RESERVATION_QUANTITY, MAX_STOCK, MAX_TTL, MIN_TTL,
};
use doorbuster_protocol::reply::{ProductView, SaleState};
use doorbuster_protocol::types::{Millis, Quantity, Timestamp};

use crate::deadlines::Deadlines;
use crate::digest::{Digest, Kind};
use crate::record::Claim;
use crate::view::GateView;

/// Longest time that a hold is given after a failed payment, for another try.
const GRACE: Millis = Millis(60_000);

/// See the module.
pub(crate) struct Product {
    /// As it was created; the stock of today is in `units`.
    pub(crate) spec: Arc<ProductSpec>,
    spec_digest: u64,
    pub(crate) units: Units,
    pub(crate) sale: SaleState,
    pub(crate) deadlines: Deadlines,
    /// Whether it is in the inventory's list of products that changed.
    pub(crate) touched: bool,
}

/// A product's counters. `stock = available + held + sold`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Units {
    pub(crate) stock: u32,
    pub(crate) available: u32,
    pub(crate) held: u32,
    pub(crate) sold: u32,
    /// Those of `sold` whose reservations have left their retention.
    pub(crate) sold_and_forgotten: u32,
}

impl Units {
    pub(crate) fn unclaimed(stock: u32) -> Self {
        Self { stock, available: stock, ..Self::default() }
    }

    pub(crate) fn add_up(&self) -> bool {
        u64::from(self.stock) == u64::from(self.available) + u64::from(self.held) + u64::from(self.sold)
            && self.sold_and_forgotten <= self.sold
    }

    /// `quantity` units stop counting as `from` and count as `to`.
    pub(crate) fn shift(&mut self, from: Claim, to: Claim, quantity: u32) {
        let before = *self;
        let source = self.counter(from);
        assert!(*source >= quantity, "{quantity} units cannot go from {from:?} to {to:?}: {before:?}");
        *source -= quantity;
        // All counters together are within the stock, which is far below 2^32.
        *self.counter(to) += quantity;
        self.check();
    }

    /// The stock becomes another; the units that come or go are available ones.
    pub(crate) fn restock(&mut self, stock: u32) {
        let claimed = self.held + self.sold;
        assert!(stock >= claimed, "a stock of {stock} is below what is claimed: {self:?}");
        self.available = stock - claimed;
        self.stock = stock;
        self.check();
    }

    /// So many available units are there no more.
    pub(crate) fn write_off(&mut self, quantity: u32) {
        assert!(self.available >= quantity, "{quantity} units cannot be written off: {self:?}");
        self.restock(self.stock - quantity);
    }

    fn counter(&mut self, claim: Claim) -> &mut u32 {
        match claim {
            Claim::Nothing => &mut self.available,
            Claim::Held => &mut self.held,
            Claim::Sold => &mut self.sold,
        }
    }

    fn check(&self) {
        assert!(self.add_up(), "units do not add up: {self:?}");
    }
}

impl Product {
    pub(crate) fn new(spec: ProductSpec) -> Self {
        let units = Units::unclaimed(spec.stock.get());
        Self::restored(spec, units, SaleState::Active)
    }

    pub(crate) fn restored(spec: ProductSpec, units: Units, sale: SaleState) -> Self {
        let spec_digest = digest_of(&spec);
        Self { spec: Arc::new(spec), spec_digest, units, sale, deadlines: Deadlines::default(), touched: false }
    }

    /// Its part of the state hash.
    pub(crate) fn digest(&self) -> u64 {
        let Units { stock, available, held, sold, sold_and_forgotten } = self.units;
        Digest::of(Kind::Product)
            .word(self.spec_digest)
            .word(u64::from(stock) << 32 | u64::from(available))
            .word(u64::from(held) << 32 | u64::from(sold))
            .word(u64::from(sold_and_forgotten) << 8 | u64::from(sale_code(self.sale)))
            .finish()
    }

    /// Whether, and why, nobody may reserve at `time`.
    pub(crate) fn check_open(&self, time: Timestamp) -> Result<(), Refusal> {
        let Timestamp(closes_at) = self.spec.closes_at;
        if self.sale == SaleState::Closed || (closes_at != 0 && time.get() >= closes_at) {
            Err(Refusal::Closed)
        } else if self.sale == SaleState::Paused {
            Err(Refusal::Paused)
        } else if time < self.spec.opens_at {
            Err(Refusal::NotOpen { opens_at: self.spec.opens_at })
        } else {
            Ok(())
        }
    }

    /// Whether, and why, `quantity` units cannot be held now.
    pub(crate) fn check_stock(&self, quantity: u32) -> Result<(), Refusal> {
        let Units { available, held, .. } = self.units;
        if available >= quantity {
            Ok(())
        } else if available > 0 {
            Err(Refusal::InsufficientStock { available: Quantity(available) })
        } else if held > 0 {
            Err(Refusal::AllHeld { next_expiry: self.next_expiry() })
        } else {
            Err(Refusal::SoldOut)
        }
    }

    /// The TTL that a reserve asks for; 0 asks for the product's, which is also the longest.
    pub(crate) fn ttl(&self, asked: Millis) -> Result<Millis, Refusal> {
        match asked {
            Millis(0) => Ok(self.spec.ttl),
            ttl if ttl >= MIN_TTL && ttl <= self.spec.ttl => Ok(ttl),
            _ => Err(Refusal::InvalidArgument(Argument::Duration)),
        }
    }

    pub(crate) fn limit_per_reservation(&self) -> u32 {
        match self.spec.limit_per_reservation.get() {
            0 => MAX_RESERVATION_QUANTITY,
            limit => limit,
        }
    }

    /// Whether users' units are counted.
    pub(crate) fn limits_users(&self) -> bool {
        self.spec.limit_per_user.get() > 0
    }

    /// Latest deadline that a hold made at `created` can be extended to.
    pub(crate) fn latest_deadline(&self, created: Timestamp) -> Timestamp {
        created.plus(self.spec.max_life)
    }

    /// How long a hold lasts on after a failed payment.
    pub(crate) fn grace(&self) -> Millis {
        self.spec.ttl.min(GRACE)
    }

    pub(crate) fn next_expiry(&self) -> Timestamp {
        self.deadlines.first().unwrap_or_default()
    }

    pub(crate) fn view(&self) -> ProductView {
        ProductView {
            spec: ProductSpec { stock: Quantity(self.units.stock), ..(*self.spec).clone() },
            sale: self.sale,
            available: Quantity(self.units.available),
            held: Quantity(self.units.held),
            sold: Quantity(self.units.sold),
            next_expiry: self.next_expiry(),
        }
    }

    pub(crate) fn gate_view(&self) -> GateView {
        GateView {
            available: Quantity(self.units.available),
            held: Quantity(self.units.held),
            sold: Quantity(self.units.sold),
            sale: self.sale,
            opens_at: self.spec.opens_at,
            closes_at: self.spec.closes_at,
            limit_per_user: self.spec.limit_per_user,
            limit_per_reservation: Quantity(self.limit_per_reservation()),
            ttl: self.spec.ttl,
            next_expiry: self.next_expiry(),
        }
    }
}

/// Whether, and why, something cannot be put on sale like that.
pub(crate) fn check_spec(spec: &ProductSpec) -> Result<(), Refusal> {
    let durations = MIN_TTL..=MAX_TTL;
    let problem = if spec.product.get() == 0 {
        Argument::Id
    } else if spec.name.is_empty() || spec.name.len() > MAX_PRODUCT_NAME_BYTES {
        Argument::Name
    } else if spec.price.minor > MAX_PRICE_MINOR || !spec.price.currency.0.iter().all(u8::is_ascii_uppercase) {
        Argument::Price
    } else if spec.limit_per_reservation.get() > MAX_RESERVATION_QUANTITY {
        Argument::Quantity
    } else if !durations.contains(&spec.ttl)
        || !durations.contains(&spec.max_life)
        || !durations.contains(&spec.payment_cap)
        || spec.max_life < spec.ttl
    {
        Argument::Duration
    } else if spec.closes_at.get() != 0 && spec.closes_at <= spec.opens_at {
        Argument::Schedule
    } else if spec.stock.get() > MAX_STOCK {
        return Err(Refusal::StockTooLarge { limit: Quantity(MAX_STOCK) });
    } else {
        return Ok(());
    };
    Err(Refusal::InvalidArgument(problem))
}

/// A sale state's number in the digest and in snapshots.
pub(crate) const fn sale_code(sale: SaleState) -> u8 {
    match sale {
        SaleState::Active => 0,
        SaleState::Paused => 1,
        SaleState::Closed => 2,
    }
}

/// A policy's number in the digest and in snapshots.
pub(crate) const fn policy_code(policy: LatePaymentPolicy) -> u8 {
    match policy {
        LatePaymentPolicy::RetakeOrRefund => 0,
        LatePaymentPolicy::AlwaysRefund => 1,
    }
}

fn digest_of(spec: &ProductSpec) -> u64 {
    let limits = u64::from(spec.limit_per_user.get()) << 32 | u64::from(spec.limit_per_reservation.get());
    let [a, b, c] = spec.price.currency.0;
    Digest::of(Kind::Product)
        .word(spec.product.get())
        .bytes(spec.name.as_bytes())
        .word(u64::from(spec.stock.get()) << 8 | u64::from(policy_code(spec.late_payment)))
        .word(spec.price.minor)
        .word(u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]))
        .word(limits)
        .word(spec.ttl.get())
        .word(spec.max_life.get())
        .word(spec.payment_cap.get())
        .word(spec.opens_at.get())
        .word(spec.closes_at.get())
        .finish()
}
