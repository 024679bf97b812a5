//! The recount: every counter, index and digest against the records they were kept for.

use doorbuster_protocol::reply::{AuditReport, ProductCount};
use doorbuster_protocol::types::{Quantity, StateHash, UserId};

use super::Inventory;
use crate::deadlines::Deadlines;
use crate::product::Product;
use crate::record::{Claim, Reservation};
use crate::unsettled::Unsettled;

/// One product's units, counted from reservations and user counts.
#[derive(Default)]
struct Tally {
    held: u64,
    sold: u64,
    counted_for_users: u64,
    deadlines: Deadlines,
}

/// A recount under way.
struct Recount {
    tallies: Vec<Tally>,
    /// Units that a known reservation claims, with their product's place and their user.
    claims: Vec<(u32, UserId, u32)>,
    confirmed: u64,
    digest: u64,
    problems: Vec<String>,
}

/// Problems listed at most; a thousand say no more than the first.
const MAX_PROBLEMS: usize = 100;

impl Inventory {
    /// Recounts everything against the kept counters and the digest. Looks at every record.
    #[must_use]
    pub fn audit(&self) -> AuditReport {
        let mut recount = Recount {
            tallies: self.products.iter().map(|_| Tally::default()).collect(),
            claims: Vec::new(),
            confirmed: 0,
            digest: 0,
            problems: Vec::new(),
        };
        self.recount_reservations(&mut recount);
        self.recount_users(&mut recount);
        let products = self.recount_products(&mut recount);
        self.recount_operations(&mut recount);
        recount.add(self.feed.recounted_digest());
        let state_hash = self.state_hash();
        let recounted_hash = StateHash(recount.digest);
        if state_hash != recounted_hash {
            recount.report(format!("the state hash is kept as {state_hash} and counted as {recounted_hash}"));
        }
        AuditReport {
            shard: self.shard,
            index: self.applied,
            state_hash,
            recounted_hash,
            products,
            confirmed: recount.confirmed,
            problems: recount.problems,
        }
    }

    fn recount_reservations(&self, recount: &mut Recount) {
        let (mut known, mut waiting) = (0, 0);
        let mut unsettled = Unsettled::default();
        for (slot, reservation) in self.reservations.iter() {
            let Reservation { id, product, .. } = reservation;
            known += 1;
            waiting += usize::from(self.reservations.waits(slot));
            recount.add(reservation.digest(self.product_at(product).spec.product.get()));
            recount.count(&reservation);
            if self.reservations.find(id) != Some(slot) {
                recount.report(format!("reservation {id} is not found by its id"));
            }
            unsettled.add(&reservation);
            if self.reservations.waits(slot) != reservation.timer(self.limits.retention).is_some() {
                recount.report(format!("reservation {id} is {} and its timer is wrong", reservation.state.name()));
            }
            if self.product_at(product).limits_users() && reservation.claim() != Claim::Nothing {
                recount.claims.push((product, reservation.user, reservation.quantity));
            }
        }
        if unsettled != self.unsettled {
            recount
                .report("the payments and refunds that are not settled are not those of the reservations".to_owned());
        }
        if (known, waiting) != (self.reservations.len(), self.reservations.waiting()) {
            recount.report(format!(
                "{known} reservations, {waiting} of them with a timer, are kept as {} and {}",
                self.reservations.len(),
                self.reservations.waiting()
            ));
        }
    }

    /// A user's count may exceed the reservations that are known, for those sold leave it behind; but all counts of a
    /// product together are what is held and sold of it.
    fn recount_users(&self, recount: &mut Recount) {
        for count in self.users.iter() {
            recount.add(count.digest());
            recount.tallies[count.product() as usize].counted_for_users += u64::from(count.units());
        }
        let mut claims = std::mem::take(&mut recount.claims);
        claims.sort_unstable();
        for claim in claims.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            let (place, user, _) = claim[0];
            let known: u64 = claim.iter().map(|(.., units)| u64::from(*units)).sum();
            let kept = self.users.units(user, place);
            if u64::from(kept) < known {
                let product = self.product_at(place).spec.product;
                recount.report(format!("user {user} has {known} units of product {product} and is counted for {kept}"));
            }
        }
        if self.users.iter().count() != self.users.len() {
            recount.report(format!("there are not {} user counts, as is kept", self.users.len()));
        }
    }

    fn recount_products(&self, recount: &mut Recount) -> Vec<ProductCount> {
        let mut counts = Vec::with_capacity(self.products.len());
        for place in self.places.values() {
            let product = self.product_at(*place);
            recount.add(product.digest());
            let tally = std::mem::take(&mut recount.tallies[*place as usize]);
            if let Some(problem) = compare(product, &tally) {
                recount.report(format!("product {}: {problem}", product.spec.product));
            }
            counts.push(counted(product, &tally));
        }
        counts
    }

    fn recount_operations(&self, recount: &mut Recount) {
        for operation in self.operations.journal().iter_from(0) {
            recount.add(operation.digest());
            if self.operations.find(operation.id) != Some(operation) {
                recount.report(format!("operation {} is not found by its id", operation.id));
            }
        }
    }
}

impl Recount {
    fn add(&mut self, digest: u64) {
        self.digest = self.digest.wrapping_add(digest);
    }

    fn count(&mut self, reservation: &Reservation) {
        let tally = &mut self.tallies[reservation.product as usize];
        match reservation.claim() {
            Claim::Held => {
                tally.held += u64::from(reservation.quantity);
                tally.deadlines.add(reservation.expires);
            }
            Claim::Sold => {
                tally.sold += u64::from(reservation.quantity);
                self.confirmed += 1;
            }
            Claim::Nothing => {}
        }
    }

    fn report(&mut self, problem: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

fn compare(product: &Product, tally: &Tally) -> Option<String> {
    let units = product.units;
    let claimed = u64::from(units.held) + u64::from(units.sold);
    if !units.add_up() {
        Some(format!("units do not add up: {units:?}"))
    } else if tally.held != u64::from(units.held) {
        Some(format!("{} units are held and kept as {}", tally.held, units.held))
    } else if tally.sold + u64::from(units.sold_and_forgotten) != u64::from(units.sold) {
        Some(format!(
            "{} units are sold, {} before the retention, and kept as {}",
            tally.sold, units.sold_and_forgotten, units.sold
        ))
    } else if product.limits_users() && tally.counted_for_users != claimed {
        Some(format!("{claimed} units are held and sold, and its users are counted for {}", tally.counted_for_users))
    } else if tally.deadlines != product.deadlines {
        Some("its deadlines are not those of its live reservations".to_owned())
    } else {
        None
    }
}

fn counted(product: &Product, tally: &Tally) -> ProductCount {
    let narrow = |units: u64| Quantity(u32::try_from(units).unwrap_or(u32::MAX));
    let sold = tally.sold + u64::from(product.units.sold_and_forgotten);
    let stock = u64::from(product.units.stock);
    ProductCount {
        product: product.spec.product,
        stock: Quantity(product.units.stock),
        available: narrow(stock.saturating_sub(tally.held + sold)),
        held: narrow(tally.held),
        sold: narrow(sold),
    }
}
