//! The look at everything once nothing goes wrong any more: every product, every reservation that anybody asked for, the
//! replicas and the orders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_cli::clock;
use doorbuster_cli::error::CliError;
use doorbuster_client::{Client, Error};
use doorbuster_protocol::command::{Command, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{ProductView, Reply, ReservationView};
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{Millis, ProductId, ReservationId, UserId};
use serde_json::Value;

use super::record::Record;
use super::stage::Stage;
use crate::history::{Heard, Operation};

/// How long what is held or being paid may take to end: no deadline is further away.
const ENDED_WITHIN: Duration = Duration::from_secs(30);
/// How long the order writers may take to catch up.
const ORDERS_WITHIN: &str = "90s";
/// Inspectors at work at a time, and the number of the first in the history.
const INSPECTORS: u32 = 16;
const FIRST_INSPECTOR: u32 = 1000;

/// What there is at the end.
#[derive(Debug, Default)]
pub struct Found {
    /// Every product that was asked for.
    pub products: BTreeMap<ProductId, ProductView>,
    /// Every reservation that was asked for; `None`: there is no such one.
    pub reservations: BTreeMap<(ProductId, ReservationId), Option<ReservationView>>,
    /// Every reservation that the shards list.
    pub listed: Vec<ReservationView>,
}

/// What `doorbuster audit` said.
#[derive(Debug, Default)]
pub struct Audit {
    /// Its numbers.
    pub summary: Value,
    /// What it found wrong.
    pub problems: Vec<String>,
}

/// Waits until no product has anything held.
pub async fn until_nothing_is_live(client: &Client) -> Result<(), CliError> {
    let deadline = clock::now() + ENDED_WITHIN;
    loop {
        let held: Vec<_> = client.products().await?.into_iter().filter(|product| product.held.0 > 0).collect();
        if held.is_empty() {
            return Ok(());
        }
        if clock::now() > deadline {
            return Err(CliError::wrong(format!("still held after {}s: {held:?}", ENDED_WITHIN.as_secs())));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks for everything that the history names; the questions become part of it.
pub async fn look_at_everything(client: &Client, record: &Arc<Record>) -> Result<Found, CliError> {
    let history = record.history();
    let mut questions = BTreeMap::new();
    for operation in &history.operations {
        if let Some((product, target)) = subject(operation) {
            questions.entry(product).or_insert_with(BTreeSet::new).extend(target);
        }
    }
    let questions: Vec<_> = questions.into_iter().collect();
    let share = questions.len().div_ceil(INSPECTORS as usize).max(1);
    let mut inspectors = tokio::task::JoinSet::new();
    for (inspector, share) in (FIRST_INSPECTOR..).zip(questions.chunks(share)) {
        inspectors.spawn(inspect(inspector, client.clone(), Arc::clone(record), share.to_vec()));
    }
    let mut found = Found { listed: doorbuster_cli::audit::listing::reservations(client).await?, ..Found::default() };
    while let Some(inspected) = inspectors.join_next().await {
        let inspected = inspected.map_err(|error| CliError::failed(error.to_string()))??;
        found.products.extend(inspected.products);
        found.reservations.extend(inspected.reservations);
    }
    Ok(found)
}

/// The product, and the reservation, that an operation is about.
fn subject(operation: &Operation) -> Option<(ProductId, Option<(ReservationId, UserId)>)> {
    let of = |target: Target| Some((target.reservation, target.user));
    Some(match &operation.body {
        RequestBody::Command(command) => {
            let target = match command {
                Command::Reserve(reserve) => Some((reserve.reservation, reserve.user)),
                Command::BeginPayment(payment) | Command::PaymentFailed(payment) => of(payment.target),
                Command::Confirm(target) | Command::Release(target) | Command::RefundDone(target) => of(*target),
                Command::Extend(extend) => of(extend.target),
                Command::Cancel(cancel) => of(cancel.target),
                Command::LatePayment(late) => of(late.target),
                _ => None,
            };
            (command.product()?, target)
        }
        RequestBody::Query(Query::Reservation(target)) => (target.product, of(*target)),
        RequestBody::Query(Query::Product(product)) => (*product, None),
        RequestBody::Query(_) => return None,
    })
}

type Questions = Vec<(ProductId, BTreeSet<(ReservationId, UserId)>)>;

async fn inspect(number: u32, client: Client, record: Arc<Record>, questions: Questions) -> Result<Found, CliError> {
    let mut found = Found::default();
    for (product, reservations) in questions {
        for (reservation, user) in reservations {
            let target = Target { product, reservation, user };
            let seen = match ask(number, &client, &record, Query::Reservation(target)).await? {
                Heard::Reply(Reply::Reservation(reply)) => Some(reply.reservation),
                Heard::Refused(Refusal::UnknownReservation | Refusal::UnknownProduct) => None,
                other => return Err(CliError::wrong(format!("asked for {target:?}, heard {other:?}"))),
            };
            found.reservations.insert((product, reservation), seen);
        }
        match ask(number, &client, &record, Query::Product(product)).await? {
            Heard::Reply(Reply::Product(reply)) => drop(found.products.insert(product, reply.product)),
            Heard::Refused(Refusal::UnknownProduct) => {}
            other => return Err(CliError::wrong(format!("asked for product {product}, heard {other:?}"))),
        }
    }
    Ok(found)
}

async fn ask(number: u32, client: &Client, record: &Record, query: Query) -> Result<Heard, CliError> {
    let body = RequestBody::Query(query);
    let ticket = record.call(number, body.clone());
    let heard = match client.execute(Request { body, wait: Millis(0) }, None).await {
        Ok(reply) => Heard::Reply(reply),
        Err(Error::Refused(refusal)) => Heard::Refused(refusal),
        Err(error) => return Err(error.into()),
    };
    record.heard(ticket, heard.clone());
    Ok(heard)
}

/// Runs `doorbuster audit` over servers and database.
pub async fn audit(binary: &Path, stage: &Stage, folder: &Path) -> Result<Audit, CliError> {
    let nodes = stage.cluster.client_addresses().join(",");
    let output = tokio::process::Command::new(binary)
        .args(["audit", "--json", "--patience", ORDERS_WITHIN, "--timeout", "20s", "--nodes", &nodes])
        .args(["--cluster", stage.cluster.name(), "--database", &stage.database, "--credential-file"])
        .arg(stage.cluster.credential_file())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| CliError::failed(format!("doorbuster audit: {error}")))?;
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let path = folder.join("audit.json");
    std::fs::write(&path, said.as_bytes()).map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
    let document: Value = serde_json::from_str(&said).unwrap_or(Value::Null);
    let listed = document.get("problems").and_then(Value::as_array).into_iter().flatten();
    let mut problems: Vec<String> = listed.map(|problem| format!("audit: {problem}")).collect();
    if !output.status.success() && problems.is_empty() {
        problems.push(format!("doorbuster audit failed ({}): {errors}", output.status));
    }
    let summary = document.get("orders").cloned().unwrap_or_default();
    Ok(Audit { summary, problems })
}
