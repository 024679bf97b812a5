//! The database's orders against the confirmed reservations, one by one, both ways.

use super::listing;
use crate::clock;
use crate::error::CliError;
use crate::names::reservation_text;
use crate::orders;
use doorbuster_client::Client;
use doorbuster_gateway::orders::{Order, OrderStore, Parked};
use doorbuster_protocol::command::Cancellation;
use doorbuster_protocol::limits::{MAX_PAGE, RETENTION};
use doorbuster_protocol::reply::{FeedKind, ReservationState, ReservationView};
use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, Timestamp, UserId};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Between two looks at the database.
const ROUND: Duration = Duration::from_millis(500);
/// Differences beyond these are counted only.
const MOST_NAMED: usize = 20;

/// What this machine's clock and the cluster's time may be apart.
const CLOCKS: Millis = Millis(60_000);

/// An order as the database has it, in the words of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    /// What was sold.
    pub product: ProductId,
    /// The reservation it came from.
    pub reservation: ReservationId,
    /// Who bought it.
    pub user: UserId,
    /// Units.
    pub quantity: Quantity,
    /// What it is: sold, to be refunded, refunded, cancelled.
    pub state: ReservationState,
    /// How it was cancelled, if it was.
    pub cancelled: Option<Cancellation>,
}

/// What the comparison gave.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// Confirmed reservations that the shards know.
    pub confirmed: u64,
    /// Orders of confirmed reservations in the database.
    pub orders: u64,
    /// Confirmed reservations without an order, those whose order is parked among them.
    pub missing: u64,
    /// Entries of the order feeds that the database refused and parked.
    pub parked: u64,
    /// Orders beyond the first of a reservation.
    pub duplicates: u64,
    /// Whatever does not agree, in words.
    pub problems: Vec<String>,
}

impl Orders {
    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "confirmed": self.confirmed, "orders": self.orders, "missing": self.missing, "duplicates": self.duplicates,
            "parked": self.parked,
        })
    }

    /// For people.
    #[must_use]
    pub fn sentence(&self) -> String {
        format!(
            "{} orders in the database for {} confirmed reservations: {} missing, {} duplicates, {} parked.",
            self.orders, self.confirmed, self.missing, self.duplicates, self.parked
        )
    }

    fn problem(&mut self, what: String) {
        match self.problems.len() {
            0..MOST_NAMED => self.problems.push(what),
            MOST_NAMED => self.problems.push("and more orders that differ".to_owned()),
            _ => {}
        }
    }
}

/// Compares, again and again until it agrees or patience ends: orders may still be on their way. What changed less than
/// `grace` ago is left out, on both sides.
pub async fn compare(client: &Client, url: &str, patience: Duration, grace: Millis) -> Result<Orders, CliError> {
    let store = orders::open(url)?;
    let orders = compare_with(client, &store, patience, grace).await;
    store.close().await;
    orders
}

async fn compare_with(
    client: &Client,
    store: &OrderStore,
    patience: Duration,
    grace: Millis,
) -> Result<Orders, CliError> {
    let deadline = clock::now() + patience;
    loop {
        let reservations = listing::reservations(client).await?;
        let orders = match stored(store).await {
            Ok((orders, parked)) => {
                let (reservations, orders) = settled(reservations, orders, grace, clock::wall());
                let orders: Vec<StoredOrder> = orders.iter().map(StoredOrder::from).collect();
                differences(&reservations, &orders, &parked)
            }
            Err(error) if clock::now() > deadline => return Err(error),
            Err(_) => {
                tokio::time::sleep(ROUND).await;
                continue;
            }
        };
        if orders.problems.is_empty() || clock::now() > deadline {
            return Ok(orders);
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// What has not changed on either side for as long as the grace, without orders of reservations that the shards have forgotten.
fn settled(
    mut reservations: Vec<ReservationView>,
    mut orders: Vec<Order>,
    grace: Millis,
    now: Timestamp,
) -> (Vec<ReservationView>, Vec<Order>) {
    let is_young = |changed_at: Timestamp| now.0.abs_diff(changed_at.0) < grace.0;
    let young_views = reservations.iter().filter(|view| is_young(view.changed_at)).map(|view| view.reservation);
    let young_orders = orders.iter().filter(|order| is_young(order.changed_at)).map(|order| order.reservation);
    let young: HashSet<ReservationId> = young_views.chain(young_orders).collect();
    reservations.retain(|view| !young.contains(&view.reservation));
    let known: HashSet<ReservationId> = reservations.iter().map(|view| view.reservation).collect();
    let is_forgotten = |order: &Order| order.changed_at.plus(RETENTION) <= now.plus(CLOCKS);
    orders.retain(|order| {
        !young.contains(&order.reservation) && (known.contains(&order.reservation) || !is_forgotten(order))
    });
    (reservations, orders)
}

/// What differs between the reservations of the shards and the orders of the database. What is parked is no order.
#[must_use]
pub fn differences(reservations: &[ReservationView], orders: &[StoredOrder], parked: &[Parked]) -> Orders {
    let mut out = Orders { parked: parked.len() as u64, ..Orders::default() };
    for Parked { entry, error, .. } in parked {
        let (name, state) = (reservation_text(entry.product, entry.reservation), state(entry.kind).name());
        out.problem(format!("reservation {name} is {state}, and its order is parked, because {error}"));
    }
    let is_parked: HashSet<_> = parked.iter().map(|Parked { entry, .. }| (entry.product, entry.reservation)).collect();
    let mut by_id: HashMap<(ProductId, ReservationId), &StoredOrder> = HashMap::new();
    for order in orders {
        out.orders += u64::from(order.state == ReservationState::Confirmed);
        if by_id.insert((order.product, order.reservation), order).is_some() {
            out.duplicates += 1;
            out.problem(format!("reservation {} has more than one order", name(order)));
        }
    }
    for view in reservations {
        out.confirmed += u64::from(view.state == ReservationState::Confirmed);
        let wanted = match view.state {
            ReservationState::Confirmed
            | ReservationState::RefundDue
            | ReservationState::Refunded
            | ReservationState::Cancelled => {
                let ReservationView { product, reservation, user, quantity, state, cancelled, .. } = *view;
                StoredOrder { product, reservation, user, quantity, state, cancelled }
            }
            _ => continue,
        };
        match by_id.remove(&(view.product, view.reservation)) {
            None => {
                out.missing += 1;
                if is_parked.contains(&(view.product, view.reservation)) {
                    continue;
                }
                out.problem(format!("reservation {} is {} but has no order", name(&wanted), view.state.name()));
            }
            Some(order) if *order == wanted => {}
            Some(order) => {
                out.problem(format!("reservation {}: wanted {wanted:?}, the order says {order:?}", name(&wanted)));
            }
        }
    }
    for order in by_id.into_values() {
        out.problem(format!("the order of reservation {} has no confirmed reservation", name(order)));
    }
    out
}

fn name(order: &StoredOrder) -> String {
    reservation_text(order.product, order.reservation)
}

/// Every order in the database, and what is parked. The latter is read last: what a retry puts back meanwhile is in neither,
/// and there at the next look.
async fn stored(store: &OrderStore) -> Result<(Vec<Order>, Vec<Parked>), CliError> {
    let mut all = Vec::new();
    let mut after = ReservationId(0);
    loop {
        let page = store.orders(after, MAX_PAGE).await?;
        let Some(last) = page.last() else { return Ok((all, orders::all_parked(store).await?)) };
        after = last.reservation;
        all.extend(page);
    }
}

impl From<&Order> for StoredOrder {
    fn from(order: &Order) -> Self {
        let (product, reservation, user, quantity) = (order.product, order.reservation, order.user, order.quantity);
        let cancelled = order.cancelled.map(|cancelled| cancelled.how);
        Self { product, reservation, user, quantity, state: state(order.state), cancelled }
    }
}

/// The state of the reservation that an entry of the feed tells of.
#[must_use]
pub const fn state(kind: FeedKind) -> ReservationState {
    match kind {
        FeedKind::Confirmed => ReservationState::Confirmed,
        FeedKind::RefundDue => ReservationState::RefundDue,
        FeedKind::Refunded => ReservationState::Refunded,
        FeedKind::Cancelled => ReservationState::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_protocol::command::CancelReason;
    use doorbuster_protocol::reply::FeedEntry;
    use doorbuster_protocol::types::{Currency, FeedPosition, Money, ShardId};

    fn view(id: u128, state: ReservationState) -> ReservationView {
        ReservationView {
            product: ProductId(1),
            reservation: ReservationId(id),
            user: UserId(id + 100),
            quantity: Quantity(1),
            state,
            payment_attempts: 1,
            late: false,
            cancelled: None,
            created_at: Timestamp(1),
            first_expires_at: Timestamp(2),
            expires_at: Timestamp(2),
            changed_at: Timestamp(2),
        }
    }

    fn order(id: u128) -> StoredOrder {
        StoredOrder {
            product: ProductId(1),
            reservation: ReservationId(id),
            user: UserId(id + 100),
            quantity: Quantity(1),
            state: ReservationState::Confirmed,
            cancelled: None,
        }
    }

    #[test]
    fn equal_sides_agree() {
        let views = [
            view(1, ReservationState::Confirmed),
            view(2, ReservationState::Expired),
            view(3, ReservationState::Confirmed),
        ];
        let orders = differences(&views, &[order(3), order(1)], &[]);
        assert_eq!((orders.confirmed, orders.orders, orders.missing, orders.duplicates), (2, 2, 0, 0));
        assert_eq!(orders.problems, Vec::<String>::new());
    }

    /// An order of one that is cancelled is an order, and is cancelled likewise; but neither is confirmed.
    #[test]
    fn cancelled_orders_are_those_of_cancelled_reservations() {
        let how = |return_stock| Some(Cancellation { reason: CancelReason::Shop, return_stock });
        let cancelled = |id, state| ReservationView { cancelled: how(true), ..view(id, state) };
        let undone = |id, state| StoredOrder { state, cancelled: how(true), ..order(id) };
        let (gone, due) = (ReservationState::Cancelled, ReservationState::RefundDue);
        let views = [cancelled(1, gone), cancelled(2, due), view(3, ReservationState::Confirmed)];
        let found = differences(&views, &[undone(1, gone), undone(2, due), order(3)], &[]);
        assert_eq!((found.confirmed, found.orders, found.problems), (1, 1, vec![]));
        for wrong in [
            order(1),
            undone(1, due),
            StoredOrder { cancelled: None, ..undone(1, gone) },
            StoredOrder { cancelled: how(false), ..undone(1, gone) },
        ] {
            let found = differences(&views, &[wrong, undone(2, due), order(3)], &[]);
            assert_eq!(found.problems.len(), 1, "{wrong:?}");
        }
        assert_eq!(differences(&views, &[undone(2, due), order(3)], &[]).missing, 1);
    }

    #[test]
    fn each_difference_is_named() {
        let views = [view(1, ReservationState::Confirmed)];
        for (orders, word) in [
            (vec![], "has no order"),
            (vec![order(1), order(1)], "more than one order"),
            (vec![order(1), order(2)], "has no confirmed reservation"),
            (vec![StoredOrder { user: UserId(5), ..order(1) }], "the order says"),
            (vec![StoredOrder { quantity: Quantity(2), ..order(1) }], "the order says"),
            (vec![StoredOrder { state: ReservationState::Refunded, ..order(1) }], "the order says"),
        ] {
            let found = differences(&views, &orders, &[]);
            assert!(found.problems.iter().any(|problem| problem.contains(word)), "{word}: {:?}", found.problems);
        }
        assert_eq!(differences(&views, &[order(1), order(1)], &[]).duplicates, 1);
    }

    #[test]
    fn what_is_parked_is_missing_and_named_once() {
        let entry = FeedEntry {
            position: FeedPosition(9),
            kind: FeedKind::Confirmed,
            product: ProductId(1),
            reservation: ReservationId(1),
            user: UserId(101),
            quantity: Quantity(1),
            price: Money { minor: 1, currency: Currency(*b"EUR") },
            at: Timestamp(2),
            late: false,
            cancelled: None,
        };
        let parked = Parked { shard: ShardId(0), entry, error: "CHECK".into(), tries: 1, parked_at: Timestamp(3) };
        let found = differences(&[view(1, ReservationState::Confirmed)], &[], &[parked]);
        assert_eq!((found.confirmed, found.missing, found.parked, found.problems.len()), (1, 1, 1, 1));
        assert!(found.problems[0].contains("parked, because CHECK"), "{:?}", found.problems);
    }

    #[test]
    fn what_is_young_or_forgotten_is_not_compared() {
        let now = Timestamp(1_800_000_000_000);
        let order = |id: u128, age: u64| Order {
            shard: ShardId(0),
            position: FeedPosition(1),
            product: ProductId(1),
            reservation: ReservationId(id),
            user: UserId(1),
            quantity: Quantity(1),
            price: Money { minor: 1, currency: Currency(*b"EUR") },
            state: FeedKind::Confirmed,
            late: false,
            created_at: Timestamp(now.0 - age),
            changed_at: Timestamp(now.0 - age),
            cancelled: None,
        };
        let shown = |id: u128, age: u64| ReservationView {
            changed_at: Timestamp(now.0 - age),
            ..view(id, ReservationState::Confirmed)
        };
        let (day, grace) = (RETENTION.0, Millis(30_000));
        let views = vec![shown(1, 1000), shown(2, 40_000), shown(3, 40_000), shown(4, 2 * day)];
        let orders = vec![order(2, 40_000), order(3, 1000), order(4, 2 * day), order(5, 2 * day), order(6, day / 2)];
        let (views, orders) = settled(views, orders, grace, now);
        assert_eq!(views.iter().map(|view| view.reservation.0).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(orders.iter().map(|order| order.reservation.0).collect::<Vec<_>>(), [2, 4, 6]);
    }
}
