//! The books of everybody, one reservation after the other: what the shopper is shown, what the provider took and gave back, and
//! what the order database has.

use std::collections::BTreeMap;

use doorbuster_gateway::orders::{OrderStore, Payment};
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::reply::{FeedKind, ReservationState};
use doorbuster_protocol::types::{ReservationId, ShardId};
use doorbuster_tests::http::{WITHIN, until};

use crate::shop::{PRICE, Shop, id};
use crate::shopper::Shopper;

/// How many reservations came to which end.
pub type Ends = BTreeMap<&'static str, usize>;

impl Shop {
    /// Waits until nothing is left to settle, and all books say the same of it; then asks `doorbuster audit`, which
    /// looks at everything that there is.
    pub async fn agree(&self, bought: &[(Shopper, String)]) -> Ends {
        self.is_settled().await;
        let store = OrderStore::open(&self.database()).expect("it has a database");
        let mut ends = Ends::new();
        for (shopper, path) in bought {
            let shown = shopper.get(path).await.is(200);
            let view = self.view(path).await;
            assert_eq!(shown["state"], view.state.name(), "{path}");
            let mut charges = self.provider.charges(path).await;
            charges.retain(|state| state != "declined");
            match view.state {
                ReservationState::Confirmed => assert_eq!(charges, ["succeeded"], "{path} is sold"),
                ReservationState::Refunded => assert_eq!(charges, ["refunded"], "{path} is refunded"),
                _ => assert!(charges.is_empty(), "{path} is {}, and its charges are {charges:?}", view.state.name()),
            }
            self.is_ordered(&store, path, view.state).await;
            *ends.entry(view.state.name()).or_default() += 1;
        }
        let ordered = ends.get("confirmed").unwrap_or(&0) + ends.get("refunded").unwrap_or(&0);
        assert_eq!(store.count().await.expect("it is up"), ordered as u64, "orders that nobody made: {ends:?}");
        store.close().await;
        let found = self.audit("30s", 0);
        let kinds = ["charged_not_ordered", "ordered_not_charged", "double_charges", "double_refunds"];
        for kind in kinds.iter().chain(&["refunds_due_unpaid", "books_differ"]) {
            assert_eq!(found[*kind], 0, "{found:#}");
        }
        ends
    }

    /// Waits until the shards know of no payment whose end nobody has told, and of no refund that is due.
    async fn is_settled(&self) {
        until("everything is settled", WITHIN, async || {
            let mut left = 0;
            for shard in (0..self.client.shards()).map(ShardId) {
                for of in [Unsettled::Payments, Unsettled::Refunds] {
                    let page = self.client.unsettled(shard, of, Changed::default(), 1).await;
                    left += page.expect("the cluster answers").total;
                }
            }
            left == 0
        })
        .await;
    }

    /// Waits until the order, its payment and its refund are there as they must be, or nothing of them.
    async fn is_ordered(&self, store: &OrderStore, path: &str, state: ReservationState) {
        let (product, reservation) = id(path);
        let wanted = match state {
            ReservationState::Confirmed => Some(FeedKind::Confirmed),
            ReservationState::Refunded => Some(FeedKind::Refunded),
            _ => None,
        };
        until(&format!("the order of {path} is {wanted:?}"), WITHIN, async || {
            store.order(reservation).await.expect("it is up").map(|order| order.state) == wanted
        })
        .await;
        let payment = payment(store, reservation).await;
        assert_eq!(payment.is_some(), wanted.is_some(), "{path}: {payment:?}");
        let Some(payment) = payment else { return };
        let order = store.order(reservation).await.expect("it is up").expect("it was there just now");
        assert_eq!((order.product, payment.amount.minor, payment.late), (product, PRICE, order.late), "{payment:?}");
        let given_back = payment.refund.is_some_and(|refund| refund.refunded_at.is_some());
        assert_eq!(given_back, state == ReservationState::Refunded, "{path}: {payment:?}");
        assert_eq!(payment.refund.is_some(), given_back, "{path}: {payment:?}");
    }
}

/// The payment of a reservation.
pub async fn payment(store: &OrderStore, reservation: ReservationId) -> Option<Payment> {
    let page = store.payments(ReservationId(reservation.0 - 1), 1).await.expect("it is up");
    page.into_iter().find(|payment| payment.reservation == reservation)
}
