//! `doorbuster audit`: recounts every replica, compares the replicas with each other and, given a database,
//! the orders with the confirmed reservations, one by one; and, given the provider, the money with both.
//!
//! It only reads. It may run while the cluster sells: what is still on its way (a follower behind, an order
//! not yet written) is given time, and only what stays different is reported.

mod books;
pub mod judgement;
pub mod ledger;
pub mod listing;
pub mod orders;
pub mod payments;
pub mod replicas;
pub mod simulator;
mod textfile;

use crate::connect::Connection;
use crate::error::CliError;
use crate::names::parse_duration;
use crate::output::{Output, table};
use clap::Args;
use doorbuster_protocol::types::Millis;
use orders::Orders;
use payments::{Payments, PaymentsArgs};
use replicas::Replicas;
use serde_json::{Value, json};
use std::time::Duration;

/// `doorbuster audit ...`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster audit\n  \
    doorbuster audit --database sqlite:doorbuster-orders.db\n  \
    doorbuster audit --database postgres://shop:secret@db/orders --json\n  \
    doorbuster audit --payments --gateway-config gateway.toml --database sqlite:doorbuster-orders.db\n  \
    doorbuster audit --payments --provider-url http://127.0.0.1:8090 --database sqlite:doorbuster-orders.db\n\n\
    Exit code 0 when everything agrees; 1 with each differing item when it does not.")]
pub struct AuditArgs {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Compare this database's orders too: sqlite:PATH or postgres://...
    #[arg(long, env = "DOORBUSTER_DATABASE", value_name = "URL")]
    database: Option<String>,
    /// How long replicas may take to be seen at an equal index, and orders to be written
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    patience: Millis,
    #[command(flatten)]
    payments: PaymentsArgs,
}

/// What an audit found.
#[derive(Debug)]
pub struct Audit {
    /// Of the shards' replicas.
    pub replicas: Replicas,
    /// Of the database, if one was named.
    pub orders: Option<Orders>,
    /// Of the money, if that was asked for.
    pub payments: Option<Payments>,
}

impl Audit {
    /// Whatever does not agree, each item in words.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let of_orders = self.orders.iter().flat_map(|orders| &orders.problems);
        let of_payments = self.payments.iter().flat_map(Payments::problems);
        self.replicas.problems.iter().chain(of_orders).cloned().chain(of_payments)
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let problems: Vec<String> = self.problems().collect();
        json!({
            "ok": problems.is_empty(),
            "problems": problems,
            "state_hashes_equal": self.replicas.hashes_equal(),
            "shards": self.replicas.shards_json(),
            "products": self.replicas.products_json(),
            "orders": self.orders.as_ref().map(Orders::json),
            "payments": self.payments.as_ref().map(Payments::json),
        })
    }

    fn tables(&self) -> String {
        let mut products = table(["product", "shard", "stock", "available", "held", "sold"]);
        for shard in &self.replicas.shards {
            for count in &shard.products {
                let numbers = [count.stock, count.available, count.held, count.sold].map(|units| units.to_string());
                products.add_row([vec![count.product.to_string(), shard.shard.to_string()], numbers.to_vec()].concat());
            }
        }
        let mut shards = table(["shard", "compared at index", "state hash", "nodes", "confirmed"]);
        for shard in &self.replicas.shards {
            let (index, hash) = shard.compared.map_or_else(
                || ("never equal".to_owned(), "-".to_owned()),
                |(index, hash)| (index.to_string(), format!("{:016x}", hash.0)),
            );
            shards.add_row([shard.shard.to_string(), index, hash, shard.nodes_text(), shard.confirmed.to_string()]);
        }
        let orders = self.orders.as_ref().map_or_else(String::new, |orders| format!("\n{}", orders.sentence()));
        let payments = self.payments.as_ref().map_or_else(String::new, |payments| format!("\n{}", payments.sentence()));
        format!("{products}\n{shards}{orders}{payments}")
    }
}

/// Runs it.
pub async fn run(args: AuditArgs, output: Output) -> Result<(), CliError> {
    // Before anything is asked: a key that cannot be read is told of at once.
    let provider = args.payments.provider(&args.connection.cluster)?;
    let client = args.connection.open().await?;
    let patience = Duration::from_millis(args.patience.0);
    let replicas = replicas::compare(&client, patience).await?;
    let orders = match &args.database {
        Some(url) => Some(orders::compare(&client, url, patience, args.payments.grace()).await?),
        None => None,
    };
    let payments = match (&args.database, &provider) {
        (Some(url), Some(provider)) => Some(args.payments.compare(&client, url, provider, patience).await?),
        _ => None,
    };
    let audit = Audit { replicas, orders, payments };
    output.print(|| audit.tables(), || audit.json());
    let problems: Vec<String> = audit.problems().collect();
    if problems.is_empty() {
        if !output.is_json() {
            crate::output::line("Everything agrees.");
        }
        return Ok(());
    }
    Err(CliError::wrong(format!("{} found wrong:\n  {}", problems.len(), problems.join("\n  "))))
}
