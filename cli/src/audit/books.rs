//! The three books of the money, read one after the other into memory: what the provider has, what the shards know, and what the
//! order database says.

use super::judgement::{Evidence, Look};
use super::ledger::{Book, Provider};
use super::listing;
use crate::clock;
use crate::error::CliError;
use crate::orders;
use doorbuster_client::Client;
use doorbuster_gateway::orders::{Order, OrderStore, Payment};
use doorbuster_protocol::limits::{MAX_PAGE, RETENTION};
use doorbuster_protocol::reply::ReservationView;
use doorbuster_protocol::types::{Millis, ReservationId, Timestamp};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A payment may have begun so long before its order came to be, or before the first reservation that is still known was made: a
/// day, after which nobody knows of a reservation that came to nothing, and an hour.
const BEFORE: Millis = Millis(RETENTION.0 + 3_600_000);

/// Whom to read.
pub struct Library<'a> {
    /// The shards.
    pub client: &'a Client,
    /// The order database.
    pub store: &'a OrderStore,
    /// The payment provider.
    pub provider: &'a Provider,
    /// Only what began then or later; everything if it is 0.
    pub since: Timestamp,
}

/// Everything that the three say.
#[derive(Debug)]
pub struct Books {
    /// When they were read.
    pub look: Look,
    /// The provider's.
    pub ledger: Book,
    since: Timestamp,
    records: Records,
}

/// What the cluster has of each reservation.
#[derive(Debug, Default)]
struct Records {
    views: HashMap<ReservationId, ReservationView>,
    orders: HashMap<ReservationId, Order>,
    payments: HashMap<ReservationId, Payment>,
    parked: HashSet<ReservationId>,
}

impl Library<'_> {
    /// Since when a provider that can be asked for a part of its ledger has to be asked: before whatever there is. `None` if
    /// there is nothing: then only the whole ledger shows that there is no payment either.
    pub async fn earliest(&self) -> Result<Option<Timestamp>, CliError> {
        if self.since > Timestamp(0) {
            return Ok(Some(before(self.since)));
        }
        // Who gives everything anyway need not be told.
        if matches!(self.provider, Provider::Simulator(_)) {
            return Ok(None);
        }
        let records = self.records().await?;
        let made = records.views.values().map(|view| view.created_at);
        let first = made.chain(records.orders.values().map(|order| order.created_at)).min();
        Ok(first.map(before))
    }

    /// Reads everything, the provider's ledger from `earliest` on.
    pub async fn read(&self, earliest: Option<Timestamp>) -> Result<Books, CliError> {
        let began = clock::wall();
        let ledger = self.provider.book(earliest).await?;
        let records = self.records().await?;
        Ok(Books { look: Look { began, ended: clock::wall() }, ledger, since: self.since, records })
    }

    async fn records(&self) -> Result<Records, CliError> {
        let (store, mut records) = (self.store, Records::default());
        let views = listing::reservations(self.client).await?.into_iter();
        records.views = views.map(|view| (view.reservation, view)).collect();
        let mut after = ReservationId(0);
        loop {
            let page = store.orders(after, MAX_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.reservation;
            let orders = page.into_iter().filter(|order| order.created_at >= self.since);
            records.orders.extend(orders.map(|order| (order.reservation, order)));
        }
        after = ReservationId(0);
        loop {
            let page = store.payments(after, MAX_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.reservation;
            let payments = page.into_iter().filter(|payment| records.orders.contains_key(&payment.reservation));
            records.payments.extend(payments.map(|payment| (payment.reservation, payment)));
        }
        records.parked = orders::all_parked(store).await?.iter().map(|parked| parked.entry.reservation).collect();
        Ok(records)
    }
}

impl Books {
    /// All of it by reservation, and what the provider has under keys that no gateway made.
    #[must_use]
    pub fn evidence(&self) -> (BTreeMap<ReservationId, Evidence<'_>>, Vec<Evidence<'_>>) {
        let Records { views, orders, payments, parked } = &self.records;
        let mut ours: BTreeMap<ReservationId, Evidence<'_>> = BTreeMap::new();
        let mut others = Vec::new();
        for charge in &self.ledger.charges {
            match charge.reservation() {
                Some(reservation) => ours.entry(reservation).or_default().charges.push(charge),
                None => others.push(Evidence { charges: vec![charge], ..Evidence::default() }),
            }
        }
        views.iter().for_each(|(id, view)| ours.entry(*id).or_default().view = Some(view));
        orders.iter().for_each(|(id, order)| ours.entry(*id).or_default().order = Some(order));
        for (reservation, evidence) in &mut ours {
            evidence.payment = payments.get(reservation);
            evidence.is_parked = parked.contains(reservation);
        }
        ours.retain(|_, evidence| evidence.begun_at() >= self.since);
        others.retain(|evidence| evidence.begun_at() >= self.since);
        (ours, others)
    }
}

const fn before(time: Timestamp) -> Timestamp {
    Timestamp(time.0.saturating_sub(BEFORE.0))
}
