//! `doorbuster audit --payments`: the shards, the order database and the provider's ledger, one reservation after the other.
//!
//! The three are read one after the other, again and again, while the sale goes on; what is told was there at the last two looks.

use super::books::{Books, Library};
use super::judgement::{Evidence, KINDS, Kind, Look, Rules, judge};
use super::ledger::{Provider, State};
use super::textfile;
use crate::clock;
use crate::error::CliError;
use crate::names::{Since, parse_duration, parse_since, reservation_text};
use crate::orders;
use clap::Args;
use doorbuster_client::Client;
use doorbuster_protocol::types::{Millis, ReservationId, Timestamp};
use serde_json::{Value, json};
use std::collections::HashSet;
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
    #[arg(long, requires = "database", requires = "provider")]
    payments: bool,
    /// Read the ledger of the provider that a gateway with this TOML file pays at: Stripe's accounts, or the simulator. `[payment]`
    /// is all that it needs; with Stripe, keys that may only read PaymentIntents, and Charges and Refunds, are enough
    #[arg(long, group = "provider", value_name = "FILE")]
    gateway_config: Option<PathBuf>,
    /// Or that of the `doorbuster payment-simulator` at this address
    #[arg(long, group = "provider", env = "DOORBUSTER_PROVIDER_URL", value_name = "URL")]
    provider_url: Option<String>,
    /// Compare only what began since then: a time, or so long ago, as in 36h [default: everything]
    #[arg(long, requires = "payments", value_parser = parse_since, value_name = "TIME|DURATION")]
    since: Option<Since>,
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

    /// Whose ledger is to be read, if one is; in it, what is this cluster's.
    pub(super) fn provider(&self, cluster: &str) -> Result<Option<Provider>, CliError> {
        match (&self.gateway_config, &self.provider_url) {
            _ if !self.payments => Ok(None),
            (Some(file), _) => Provider::of_gateway(file, cluster).map(Some),
            (None, url) => Ok(url.clone().map(Provider::Simulator)),
        }
    }

    /// Compares as these say.
    pub(super) async fn compare(
        &self,
        client: &Client,
        database: &str,
        provider: &Provider,
        patience: Duration,
    ) -> Result<Payments, CliError> {
        let rules = Rules { grace: self.grace, refund_limit: self.refund_limit };
        let since = self.since.map_or(Timestamp(0), |since| since.at(clock::wall()));
        let found = compare(client, database, provider, since, rules, patience).await?;
        if let Some(file) = &self.metrics_file {
            textfile::write(file, &found)?;
        }
        Ok(found)
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
    /// Payments in the provider's ledger that were others'.
    pub left_out: u64,
    /// The provider's accounts, if it has such.
    pub accounts: Vec<String>,
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
            "left_out": self.left_out, "accounts": self.accounts,
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
        let whose = match self.accounts.as_slice() {
            [] => "the provider's ledger".to_owned(),
            accounts => format!("Stripe's ledger of {}", accounts.join(", ")),
        };
        let others = if self.left_out > 0 { format!("; {} of others left out", self.left_out) } else { String::new() };
        format!(
            "{} payments compared with {whose} ({} charged, {} refunded, {} under way and not judged{others}): {}.",
            self.compared,
            self.charged,
            self.refunded,
            self.in_motion,
            counts.join(", ")
        )
    }
}

/// Compares the shards, this database and the provider's ledger, of everything that began at `since` or later: again and again
/// until all fits or patience ends, and twice at least before it says that something does not.
pub async fn compare(
    client: &Client,
    database: &str,
    provider: &Provider,
    since: Timestamp,
    rules: Rules,
    patience: Duration,
) -> Result<Payments, CliError> {
    let store = orders::open(database)?;
    let found = watch(&Library { client, store: &store, provider, since }, rules, patience).await;
    store.close().await;
    found
}

async fn watch(library: &Library<'_>, rules: Rules, patience: Duration) -> Result<Payments, CliError> {
    let deadline = clock::now() + patience;
    let earliest = library.earliest().await?;
    let mut before: Option<HashSet<(Kind, String)>> = None;
    loop {
        let is_last = before.is_some() && clock::now() > deadline;
        let mut found = reconcile(&library.read(earliest).await?, rules);
        found.accounts = library.provider.accounts();
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

fn reconcile(books: &Books, rules: Rules) -> Payments {
    let (ours, others) = books.evidence();
    let mut found = Payments { left_out: books.ledger.left_out, ..Payments::default() };
    for (reservation, evidence) in ours {
        found.add(&evidence, || name(reservation, &evidence), rules, books.look);
    }
    for evidence in others {
        found.add(&evidence, || key(&evidence), rules, books.look);
    }
    found
}

impl Payments {
    fn add(&mut self, evidence: &Evidence<'_>, name: impl Fn() -> String, rules: Rules, look: Look) {
        let count = |state| evidence.charges.iter().filter(|charge| charge.state == state).count() as u64;
        self.charged += count(State::Succeeded);
        self.refunded += count(State::Refunded);
        self.compared += 1;
        self.in_motion += u64::from(evidence.is_in_motion(rules.grace, look));
        let differences = judge(rules, look, evidence).into_iter();
        self.differences.extend(differences.map(|(kind, words)| Difference { kind, name: name(), words }));
    }
}

/// A reservation as people write it; of one that only the provider knows, its first key.
fn name(reservation: ReservationId, evidence: &Evidence<'_>) -> String {
    let product = evidence.order.map(|order| order.product).or_else(|| evidence.view.map(|view| view.product));
    product.map_or_else(|| key(evidence), |product| reservation_text(product, reservation))
}

fn key(evidence: &Evidence<'_>) -> String {
    evidence.charges.first().map_or_else(String::new, |charge| charge.key.clone())
}
