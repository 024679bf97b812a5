//! What is on sale: a few products at a time, each with few units, a short sale and a bounded number of visits, so that
//! each product's history can be checked; one that is over is replaced by another.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use doorbuster_cli::clock;
use doorbuster_protocol::command::{Command, LatePaymentPolicy, ProductSpec};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Currency, Millis, Money, ProductId, Quantity, Timestamp};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Products on sale at a time.
const AT_ONCE: usize = 8;
/// Visits that a product gets.
const VISITS: i64 = 20;

/// Which way its buyers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Through the client library.
    Tcp,
    /// Over HTTP, through a gateway.
    Http,
    /// Both.
    Any,
}

/// A product on sale.
#[derive(Debug)]
pub struct Product {
    /// Its settings.
    pub spec: ProductSpec,
    /// Its buyers' way.
    pub door: Door,
    visits: AtomicI64,
}

/// The products on sale.
#[derive(Debug)]
pub struct Shop {
    seed: u64,
    made: AtomicU64,
    shelf: Mutex<Vec<Arc<Product>>>,
}

impl Shop {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        Self { seed, made: AtomicU64::new(0), shelf: Mutex::default() }
    }

    /// A product for a visitor who comes by this door.
    pub fn visit(&self, door: Door, rng: &mut StdRng) -> Option<Arc<Product>> {
        let shelf = self.shelf.lock();
        let open: Vec<_> = shelf.iter().filter(|product| product.door == door || product.door == Door::Any).collect();
        if open.is_empty() {
            return None;
        }
        let product = Arc::clone(open[rng.random_range(0..open.len())]);
        product.visits.fetch_sub(1, Ordering::Relaxed);
        Some(product)
    }

    /// Takes what is over off the shelf, and says what to put on sale instead, if anything.
    pub fn next(&self) -> Option<Arc<Product>> {
        let mut shelf = self.shelf.lock();
        shelf.retain(|product| product.visits.load(Ordering::Relaxed) > 0);
        if shelf.len() >= AT_ONCE {
            return None;
        }
        drop(shelf);
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let mut rng = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let door = match number % 3 {
            0 => Door::Http,
            1 => Door::Tcp,
            _ => Door::Any,
        };
        Some(Arc::new(Product { spec: spec(ProductId(number), &mut rng), door, visits: AtomicI64::new(VISITS) }))
    }

    /// It may be bought now.
    pub fn shelve(&self, product: Arc<Product>) {
        self.shelf.lock().push(product);
    }

    /// How many were made.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}

impl Product {
    /// The command that puts it on sale.
    pub fn create(&self) -> RequestBody {
        RequestBody::Command(Command::CreateProduct(Box::new(self.spec.clone())))
    }
}

fn spec(product: ProductId, rng: &mut StdRng) -> ProductSpec {
    let ttl = Millis(rng.random_range(300..=1500));
    let now = clock::wall();
    let opens_at = if rng.random_bool(0.2) { now.plus(Millis(400)) } else { Timestamp(0) };
    let closes_at = if rng.random_bool(0.2) { now.plus(Millis(rng.random_range(1500..6000))) } else { Timestamp(0) };
    let late = if rng.random_bool(0.7) { LatePaymentPolicy::RetakeOrRefund } else { LatePaymentPolicy::AlwaysRefund };
    ProductSpec {
        product,
        name: format!("product {product}"),
        stock: Quantity(rng.random_range(1..=9)),
        price: Money { minor: 100 * product.0, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(if rng.random_bool(0.3) { 2 } else { 0 }),
        limit_per_reservation: Quantity(0),
        ttl,
        max_life: Millis(ttl.0 + rng.random_range(0..=2000)),
        // Short, so that what a killed gateway leaves falls back soon.
        payment_cap: Millis(rng.random_range(400..=1500)),
        opens_at,
        closes_at,
        late_payment: late,
    }
}
