//! The crowd: every buyer is a task that arrives when the plan says, tries to reserve, and lives with the answer.
//!
//! What a buyer hears goes into the ledger before anything else is done with it. A buyer who hears nothing
//! certain asks again with the same id; one who hears `all_held` comes again later with a new one, until
//! everything is sold.

pub mod browser;
mod crowd;
pub mod http;
pub mod tcp;
pub mod till;

pub use crowd::Crowd;

use super::ledger::{Event, Ledger};
use super::plan::{Buyer, Channel, Mood, Next, PRODUCT, Plan};
use super::stats::{Answered, Stats};
use crate::clock;
use doorbuster_protocol::types::{Quantity, ReservationId, UserId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Attempts through the client library that may await their answer at once.
const IN_FLIGHT_TCP: usize = 16_384;
/// Attempts over HTTP that may await their answer, or a free connection, at once.
const IN_FLIGHT_HTTP: usize = 1024;
/// How long a buyer asks for a certain answer.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Refusals after which the same buyer may still get a unit later.
const MAY_COME_BACK: [&str; 2] = ["all_held", "insufficient_stock"];
/// Refusals that a sale like this one has; others are complained of.
const EXPECTED: [&str; 4] = ["sold_out", "all_held", "insufficient_stock", "limit_reached"];

/// A reservation as the buyer heard of it.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The reservation.
    pub reservation: ReservationId,
    /// Its owner.
    pub user: UserId,
    /// Whether the answer said that this was done before.
    pub replayed: bool,
    /// When it is over surely, unless it is paid for: it may be over sooner.
    pub held_until: Instant,
}

/// Why a buyer did not get what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A certain no, with its code.
    Refused(String),
    /// Nothing certain, however long the buyer asked.
    Unanswered(String),
}

/// What came of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paid {
    /// The units are the buyer's.
    Confirmed,
    /// The card was declined; the reservation may still be held.
    Declined,
    /// The reservation is gone, and nothing was charged.
    Gone,
    /// Charged, but the reservation was gone and nothing left: the money goes back.
    Refunded,
}

/// A way to reach the shop. Each call comes back only with a certain answer, or after [`PATIENCE`].
pub trait Shop: Send + Sync + 'static {
    /// Claims one unit.
    fn reserve(&self, buyer: Buyer) -> impl Future<Output = Result<Grant, Denied>> + Send;
    /// Pays; `attempt` counts the buyer's payments of this reservation from 1.
    fn pay(&self, buyer: Buyer, grant: Grant, attempt: u16) -> impl Future<Output = Result<Paid, Denied>> + Send;
    /// Gives the unit back.
    fn release(&self, buyer: Buyer, grant: Grant) -> impl Future<Output = Result<(), Denied>> + Send;
}

/// The sale as all its buyers share it.
pub struct Sale {
    /// What they will do.
    pub plan: Plan,
    /// What they heard.
    pub ledger: Ledger,
    /// What they counted.
    pub stats: Stats,
    /// Those who will come again.
    pub crowd: Crowd,
    /// Everything is sold: nobody comes again.
    pub over: CancellationToken,
    /// Every buyer has arrived once.
    pub everybody_came: CancellationToken,
    /// Every visit that has begun and not ended.
    pub visits: TaskTracker,
    /// The opening.
    pub opened: Instant,
}

/// Both ways to reach the shop, and how many may be on each at once.
pub struct Doors {
    tcp: Door<tcp::TcpShop>,
    http: Door<http::HttpShop>,
}

struct Door<S> {
    shop: Arc<S>,
    slots: Arc<Semaphore>,
}

impl<S> Clone for Door<S> {
    fn clone(&self) -> Self {
        Self { shop: Arc::clone(&self.shop), slots: Arc::clone(&self.slots) }
    }
}

impl Doors {
    /// Opens both.
    #[must_use]
    pub fn new(tcp: tcp::TcpShop, http: http::HttpShop) -> Self {
        Self {
            tcp: Door { shop: Arc::new(tcp), slots: Arc::new(Semaphore::new(IN_FLIGHT_TCP)) },
            http: Door { shop: Arc::new(http), slots: Arc::new(Semaphore::new(IN_FLIGHT_HTTP)) },
        }
    }

    /// Lets every buyer arrive once, each at their time; returns when the last one has.
    pub async fn arrivals(&self, sale: &Arc<Sale>) {
        tokio::join!(arrivals(sale, &self.tcp, Channel::Tcp), arrivals(sale, &self.http, Channel::Http));
    }

    /// Lets those who were turned away come again, at this rate, until the sale is over.
    pub async fn come_again(&self, sale: &Arc<Sale>, per_second: u64) {
        const STEP: Duration = Duration::from_millis(20);
        let mut due = 0.0;
        #[allow(clippy::cast_precision_loss)] // a rate, not an amount
        let per_step = per_second as f64 * STEP.as_secs_f64();
        while !sale.over.is_cancelled() {
            due = (due + per_step).min(per_step * 2.0 + 1.0);
            while due >= 1.0
                && let Some(buyer) = sale.crowd.next()
            {
                due -= 1.0;
                let now = clock::now();
                match sale.plan.channel(buyer.index) {
                    Channel::Tcp => self.tcp.enter(sale, buyer, now).await,
                    Channel::Http => self.http.enter(sale, buyer, now).await,
                }
            }
            tokio::time::sleep(STEP).await;
        }
    }
}

impl<S: Shop> Door<S> {
    async fn enter(&self, sale: &Arc<Sale>, buyer: Buyer, meant: Instant) {
        // The semaphore is never closed; if it were, nobody else could enter.
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
        let (sale, shop) = (Arc::clone(sale), Arc::clone(&self.shop));
        let visits = sale.visits.clone();
        visits.spawn(async move { visit(&sale, &*shop, buyer, meant, slot).await });
    }
}

async fn arrivals<S: Shop>(sale: &Arc<Sale>, door: &Door<S>, channel: Channel) {
    let mut now = clock::now();
    for index in (0..sale.plan.buyers).filter(|index| sale.plan.channel(*index) == channel) {
        let meant = sale.opened + sale.plan.arrival(index);
        if meant > now {
            tokio::time::sleep_until(meant.into()).await;
            now = clock::now();
        }
        door.enter(sale, Buyer { index, visit: 0 }, meant).await;
    }
}

async fn visit<S: Shop>(sale: &Sale, shop: &S, buyer: Buyer, meant: Instant, slot: OwnedSemaphorePermit) {
    let answer = shop.reserve(buyer).await;
    drop(slot);
    match answer {
        Ok(grant) => {
            sale.ledger.reserved(grant.reservation, PRODUCT, grant.user, Quantity(1));
            sale.stats.answered(meant, &Answered::Granted);
            if sale.plan.clicks_twice(buyer) {
                click_twice(sale, shop, buyer, grant).await;
            }
            if !live_with(sale, shop, buyer, grant).await {
                sale.crowd.come_again(buyer);
            }
        }
        Err(Denied::Refused(code)) => {
            if MAY_COME_BACK.contains(&code.as_str()) {
                sale.crowd.come_again(buyer);
            } else if !EXPECTED.contains(&code.as_str()) {
                sale.stats.complain(format!("buyer {} was refused with {code}", buyer.index));
            }
            sale.stats.answered(meant, &Answered::Refused(code));
        }
        Err(Denied::Unanswered(why)) => {
            sale.stats.complain(format!(
                "buyer {} heard nothing certain in {}s: {why}",
                buyer.index,
                PATIENCE.as_secs()
            ));
        }
    }
}

/// The same request again must name the same reservation and say that it is a replay.
async fn click_twice<S: Shop>(sale: &Sale, shop: &S, buyer: Buyer, first: Grant) {
    sale.stats.count("clicked_twice");
    match shop.reserve(buyer).await {
        Ok(second) if second.reservation == first.reservation && second.replayed => {}
        Ok(second) => sale.stats.complain(format!(
            "buyer {} clicked twice: first {:032x}, then {:032x}, replayed: {}",
            buyer.index, first.reservation.0, second.reservation.0, second.replayed
        )),
        Err(denied) => sale.stats.complain(format!("buyer {} clicked twice and heard {denied:?}", buyer.index)),
    }
}

/// What a buyer does with a reservation; false if it came to nothing, so that they may come again.
async fn live_with<S: Shop>(sale: &Sale, shop: &S, buyer: Buyer, grant: Grant) -> bool {
    match sale.plan.mood(buyer) {
        Mood::Pays(after) => {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            buy(sale, shop, buyer, grant).await
        }
        Mood::WalksAway => {
            sale.stats.count("walked_away");
            false
        }
    }
}

/// Pays, with one card after the other; false if it came to nothing.
async fn buy<S: Shop>(sale: &Sale, shop: &S, buyer: Buyer, mut grant: Grant) -> bool {
    sale.ledger.note(grant.reservation, Event::AskedToBuy);
    for attempt in 1.. {
        match shop.pay(buyer, grant, attempt).await {
            Ok(Paid::Confirmed) => {
                sale.ledger.note(grant.reservation, Event::Confirmed);
                sale.stats.confirmed();
                if sale.plan.is_greedy(buyer) {
                    want_more(sale, shop, buyer).await;
                }
                return true;
            }
            Ok(Paid::Refunded) => {
                sale.ledger.note(grant.reservation, Event::Refunded);
                sale.stats.count("refunded");
                break;
            }
            Ok(Paid::Gone) => {
                sale.stats.count("expired_before_payment");
                break;
            }
            Ok(Paid::Declined) => {
                sale.stats.count("declined_payments");
                // It may be held for longer, for another card.
                grant.held_until = clock::now() + sale.plan.hold();
                if !goes_on(sale, shop, buyer, grant, attempt).await {
                    break;
                }
            }
            Err(denied) => {
                sale.stats.complain(format!("buyer {} paid and heard {denied:?}", buyer.index));
                // Perhaps sold: not to be tried for again.
                return true;
            }
        }
    }
    false
}

/// What a buyer does whose card was declined; whether there is another card.
async fn goes_on<S: Shop>(sale: &Sale, shop: &S, buyer: Buyer, grant: Grant, attempt: u16) -> bool {
    match sale.plan.next(buyer, attempt) {
        Next::AnotherCard => return true,
        Next::GivesBack => release(sale, shop, buyer, grant).await,
        Next::WalksAway => sale.stats.count("walked_away"),
    }
    false
}

async fn release<S: Shop>(sale: &Sale, shop: &S, buyer: Buyer, grant: Grant) {
    match shop.release(buyer, grant).await {
        Ok(()) => {
            sale.ledger.note(grant.reservation, Event::Released);
            sale.stats.count("released");
        }
        Err(Denied::Refused(code)) if code == "reservation_expired" => sale.stats.count("expired_before_release"),
        Err(denied) => sale.stats.complain(format!("buyer {} released and heard {denied:?}", buyer.index)),
    }
}

/// One unit each: whoever has theirs must be refused another.
async fn want_more<S: Shop>(sale: &Sale, shop: &S, buyer: Buyer) {
    let Some(again) = buyer.again() else { return };
    let meant = clock::now();
    match shop.reserve(again).await {
        Ok(grant) => {
            sale.ledger.reserved(grant.reservation, PRODUCT, grant.user, Quantity(1));
            sale.stats.answered(meant, &Answered::Granted);
            sale.stats.complain(format!("buyer {} was granted a second unit, the limit is one", buyer.index));
        }
        Err(Denied::Refused(code)) => sale.stats.answered(meant, &Answered::Refused(code)),
        Err(Denied::Unanswered(why)) => {
            sale.stats.complain(format!("buyer {} wanted more and heard: {why}", buyer.index));
        }
    }
}
