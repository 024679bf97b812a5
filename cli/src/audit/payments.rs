//! `doorbuster audit --payments`: the shards, the order database and the provider's ledger, one reservation after the other.
//!
//! The three are read one after the other, again and again, while the sale goes on; what is told was there at the last two looks.

use super::judgement::{Evidence, KINDS, Kind, Rules, judge};
use super::provider::{self, Charge, State};
use super::{listing, textfile};
use crate::clock;
use crate::error::CliError;
use crate::names::{parse_duration, reservation_text};
use crate::orders;
use clap::Args;
use doorbuster_client::Client;
use doorbuster_gateway::orders::{Order, OrderStore, Payment};
use doorbuster_protocol::limits::MAX_PAGE;
use doorbuster_protocol::reply::ReservationView;
use doorbuster_protocol::types::{Millis, ReservationId, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks.
const ROUND: Duration = Duration::from_millis(500);
/// Differences beyond these are counted only.
const MOST_NAMED: usize = 1000;

/// What a reconciliation needs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Payments")]
pub struct PaymentsArgs {
    /// Compare every payment too: shards, database, and the provider's ledger
    #[arg(long, requires = "database", requires = "provider_url")]
    payments: bool,
    /// Where the provider's ledger is read: the address of `doorbuster payment-simulator`
    #[arg(long, env = "DOORBUSTER_PROVIDER_URL", value_name = "URL")]
    provider_url: Option<String>,
    /// What changed less than this ago is under way, and not judged
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "DURATION")]
    grace: Millis,
    /// How long a refund may be due
    #[arg(long, default_value = "5m", value_parser = parse_duration, value_name = "DURATION")]
    refund_limit: Millis,
    /// Write the counts to this file as Prometheus metrics, for a node exporter's textfile collector
    #[arg(long, requires = "payments", value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

impl PaymentsArgs {
    /// What is not judged because it has just changed; nothing is spared without `--payments`.
    #[must_use]
    pub fn grace(&self) -> Millis {
        if self.payments { self.grace } else { Millis(0) }
    }

    /// Compares as these say, if that is wanted.
    pub(super) async fn compare(
        &self,
        client: &Client,
        database: Option<&str>,
        patience: Duration,
    ) -> Result<Option<Payments>, CliError> {
        let (true, Some(database), Some(provider)) = (self.payments, database, &self.provider_url) else {
            return Ok(None);
        };
        let rules = Rules { grace: self.grace, refund_limit: self.refund_limit };
        let found = compare(client, database, provider, rules, patience).await?;
        if let Some(file) = &self.metrics_file {
            textfile::write(file, &found)?;
        }
        Ok(Some(found))
    }
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of which kind.
    pub kind: Kind,
    /// The reservation as people write it, or the provider's key if nobody here knows it.
    pub name: String,
    /// What is the matter.
    pub words: String,
}

/// What the comparison gave.
#[derive(Clone, Debug, Default)]
pub struct Payments {
    /// Reservations and foreign keys that were compared.
    pub compared: u64,
    /// Of those, not judged because a payment is under way or something has just changed.
    pub in_motion: u64,
    /// Charges whose money the provider has.
    pub charged: u64,
    /// Charges that it has given back.
    pub refunded: u64,
    /// Whatever does not fit.
    pub differences: Vec<Difference>,
}

impl Payments {
    /// How many differences there are of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.differences.iter().filter(|difference| difference.kind == kind).count()
    }

    /// The differences in words, those that are named.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let named = self.differences.iter().take(MOST_NAMED);
        let mut problems: Vec<String> = named
            .map(|Difference { kind, name, words }| format!("{}: reservation {name} {words}", kind.name()))
            .collect();
        if let Some(more) = self.differences.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
            problems.push(format!("and {more} more payments that differ"));
        }
        problems
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut json = json!({
            "compared": self.compared, "in_motion": self.in_motion, "charged": self.charged, "refunded": self.refunded,
        });
        for kind in KINDS {
            json[kind.name()] = self.count(kind).into();
        }
        let one = |Difference { kind, name, words }: &Difference| json!({ "kind": kind.name(), "reservation": name, "problem": words });
        json["differences"] = self.differences.iter().take(MOST_NAMED).map(one).collect();
        json
    }

    /// For people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let counts = KINDS.map(|kind| format!("{} {}", self.count(kind), kind.name().replace('_', " ")));
        format!(
            "{} payments compared with the provider's ledger ({} charged, {} refunded, {} under way and not judged): {}.",
            self.compared,
            self.charged,
            self.refunded,
            self.in_motion,
            counts.join(", ")
        )
    }
}

/// Everything that the three say, by reservation.
#[derive(Debug, Default)]
struct Books {
    charges: Vec<Charge>,
    views: HashMap<ReservationId, ReservationView>,
    orders: HashMap<ReservationId, Order>,
    payments: HashMap<ReservationId, Payment>,
    parked: HashSet<ReservationId>,
}

/// Compares the shards, this database and the ledger of the provider at this URL: again and again until all fits or patience
/// ends, and twice at least before it says that something does not.
pub async fn compare(
    client: &Client,
    database: &str,
    provider: &str,
    rules: Rules,
    patience: Duration,
) -> Result<Payments, CliError> {
    let store = orders::open(database)?;
    let found = watch(client, &store, provider, rules, patience).await;
    store.close().await;
    found
}

async fn watch(
    client: &Client,
    store: &OrderStore,
    provider: &str,
    rules: Rules,
    patience: Duration,
) -> Result<Payments, CliError> {
    let deadline = clock::now() + patience;
    let mut before: Option<HashSet<(Kind, String)>> = None;
    loop {
        let is_last = before.is_some() && clock::now() > deadline;
        let mut found = reconcile(&read(client, store, provider).await?, rules, clock::wall());
        let seen = found.differences.iter().map(|difference| (difference.kind, difference.name.clone())).collect();
        if let Some(before) = before.replace(seen) {
            found.differences.retain(|difference| before.contains(&(difference.kind, difference.name.clone())));
        }
        if found.differences.is_empty() || is_last {
            return Ok(found);
        }
        tokio::time::sleep(ROUND).await;
    }
}

async fn read(client: &Client, store: &OrderStore, provider: &str) -> Result<Books, CliError> {
    let mut books = Books { charges: provider::ledger(provider).await?, ..Books::default() };
    books.views = listing::reservations(client).await?.into_iter().map(|view| (view.reservation, view)).collect();
    let mut after = ReservationId(0);
    loop {
        let page = store.orders(after, MAX_PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.reservation;
        books.orders.extend(page.into_iter().map(|order| (order.reservation, order)));
    }
    after = ReservationId(0);
    loop {
        let page = store.payments(after, MAX_PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.reservation;
        books.payments.extend(page.into_iter().map(|payment| (payment.reservation, payment)));
    }
    books.parked = orders::all_parked(store).await?.iter().map(|parked| parked.entry.reservation).collect();
    Ok(books)
}

fn reconcile(books: &Books, rules: Rules, now: Timestamp) -> Payments {
    let mut found = Payments::default();
    let mut evidence: BTreeMap<ReservationId, Evidence<'_>> = BTreeMap::new();
    for charge in &books.charges {
        found.charged += u64::from(charge.state == State::Succeeded);
        found.refunded += u64::from(charge.state == State::Refunded);
        match charge.reservation() {
            Some(reservation) => evidence.entry(reservation).or_default().charges.push(charge),
            None => found.foreign(charge, rules, now),
        }
    }
    books.views.iter().for_each(|(id, view)| evidence.entry(*id).or_default().view = Some(view));
    books.orders.iter().for_each(|(id, order)| evidence.entry(*id).or_default().order = Some(order));
    for (reservation, mut evidence) in evidence {
        evidence.payment = books.payments.get(&reservation);
        evidence.is_parked = books.parked.contains(&reservation);
        found.compared += 1;
        found.in_motion += u64::from(evidence.is_in_motion(rules.grace, now));
        let name = name(reservation, &evidence);
        let differences = judge(rules, now, &evidence).into_iter();
        found.differences.extend(differences.map(|(kind, words)| Difference { kind, name: name.clone(), words }));
    }
    found
}

impl Payments {
    /// Money under a key that no gateway made.
    fn foreign(&mut self, charge: &Charge, rules: Rules, now: Timestamp) {
        let evidence = Evidence { charges: vec![charge], ..Evidence::default() };
        self.compared += 1;
        self.in_motion += u64::from(evidence.is_in_motion(rules.grace, now));
        let differences = judge(rules, now, &evidence).into_iter();
        self.differences.extend(differences.map(|(kind, words)| Difference { kind, name: charge.key.clone(), words }));
    }
}

/// A reservation as people write it; of one that only the provider knows, its first key.
fn name(reservation: ReservationId, evidence: &Evidence<'_>) -> String {
    let product = evidence.order.map(|order| order.product).or_else(|| evidence.view.map(|view| view.product));
    let key = || evidence.charges.first().map_or_else(String::new, |charge| charge.key.clone());
    product.map_or_else(key, |product| reservation_text(product, reservation))
}
