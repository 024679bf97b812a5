//! `doorbuster orders`: what the order database has refused, and putting it back once the reason is gone. It talks to the
//! database only; servers and gateways may run or not.

use crate::audit::orders::state;
use crate::error::CliError;
use crate::names::{ReservationName, parse_reservation, reservation_text, time_text};
use crate::output::{Output, table};
use clap::{Args, Subcommand};
use doorbuster_gateway::orders::{OrderStore, Parked, Retried};
use doorbuster_protocol::limits::MAX_PAGE;
use doorbuster_protocol::types::FeedPosition;
use serde_json::{Value, json};
use std::path::Path;

/// Entries that one transaction of a retry takes.
const BATCH: usize = 500;

/// `doorbuster orders ...`
#[derive(Args, Debug)]
pub struct OrdersArgs {
    #[command(subcommand)]
    command: OrdersCommand,
}

#[derive(Subcommand, Debug)]
enum OrdersCommand {
    /// What the database refused as orders, with what it said
    Parked(ParkedArgs),
    /// Put it back, once the reason is gone
    Retry(RetryArgs),
}

/// `doorbuster orders parked`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster orders parked\n  \
    doorbuster orders parked --database postgres://shop:secret@db/orders --json\n\n\
    A parked order is sold and paid: it stays here, in the database's table parked_orders, until a retry succeeds.")]
struct ParkedArgs {
    #[command(flatten)]
    place: Place,
}

/// `doorbuster orders retry`
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    doorbuster orders retry --all\n  \
    doorbuster orders retry 7-000000000000000000000000000000ff\n\n\
    Exit code 0 when each of them is an order now; 1 when some are refused again, which `doorbuster orders parked` shows.")]
struct RetryArgs {
    /// The reservation whose entries are tried again
    #[arg(value_parser = parse_reservation, value_name = "RESERVATION", required_unless_present = "all")]
    reservation: Option<ReservationName>,
    /// Try everything that is parked again
    #[arg(long, conflicts_with = "reservation")]
    all: bool,
    #[command(flatten)]
    place: Place,
}

/// Which database, and how to print.
#[derive(Args, Debug)]
struct Place {
    /// The gateways' order database: sqlite:PATH or postgres://...
    #[arg(long, env = "DOORBUSTER_DATABASE", default_value = "sqlite:doorbuster-orders.db", value_name = "URL")]
    database: String,
    /// Print one JSON document for programs instead of tables; an error too, on stderr
    #[arg(long)]
    json: bool,
}

impl OrdersArgs {
    /// Whether a program reads.
    pub(crate) const fn wants_json(&self) -> bool {
        match &self.command {
            OrdersCommand::Parked(args) => args.place.json,
            OrdersCommand::Retry(args) => args.place.json,
        }
    }
}

/// Runs it.
pub async fn run(args: OrdersArgs, output: Output) -> Result<(), CliError> {
    match args.command {
        OrdersCommand::Parked(args) => {
            let store = open(&args.place.database)?;
            let parked = all_parked(&store).await?;
            store.close().await;
            output.print(|| people(&parked), || programs(&parked));
            Ok(())
        }
        OrdersCommand::Retry(args) => {
            let store = open(&args.place.database)?;
            let retried = retry(&store, args.reservation).await;
            store.close().await;
            end(retried?, output)
        }
    }
}

/// Opens an order database that must be there: what only looks creates nothing.
pub fn open(url: &str) -> Result<OrderStore, CliError> {
    let file =
        url.strip_prefix("sqlite:").map(|path| path.trim_start_matches("//").split('?').next().unwrap_or_default());
    if let Some(file) = file.filter(|file| *file != ":memory:" && !Path::new(file).is_file()) {
        return Err(CliError::usage(format!("--database {url}: there is no file {file}; name the gateway's database")));
    }
    OrderStore::open(url).map_err(|error| CliError::usage(error.to_string()))
}

/// Everything that is parked, by shard and position.
pub async fn all_parked(store: &OrderStore) -> Result<Vec<Parked>, CliError> {
    let mut all: Vec<Parked> = Vec::new();
    loop {
        let after = all.last().map_or_else(Default::default, |last| (last.shard, last.entry.position));
        let page = store.parked(after, MAX_PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

async fn retry(store: &OrderStore, only: Option<ReservationName>) -> Result<Retried, CliError> {
    let mut chosen = all_parked(store).await?;
    if let Some(ReservationName { product, reservation }) = only {
        chosen.retain(|parked| (parked.entry.product, parked.entry.reservation) == (product, reservation));
        if chosen.is_empty() {
            let name = reservation_text(product, reservation);
            return Err(CliError::refused("not_parked", format!("nothing of reservation {name} is parked")));
        }
    }
    let mut retried = Retried::default();
    for shard in chosen.chunk_by(|one, next| one.shard == next.shard) {
        for batch in shard.chunks(BATCH) {
            let positions: Vec<FeedPosition> = batch.iter().map(|parked| parked.entry.position).collect();
            let done = store.retry(batch[0].shard, &positions).await?;
            retried.stored += done.stored;
            retried.parked += done.parked;
        }
    }
    Ok(retried)
}

fn end(retried: Retried, output: Output) -> Result<(), CliError> {
    let Retried { stored, parked } = retried;
    output.print(
        || format!("{stored} put back as orders, {parked} refused again."),
        || json!({ "stored": stored, "parked": parked }),
    );
    if parked == 0 {
        return Ok(());
    }
    Err(CliError::wrong(format!("{parked} are refused again; `doorbuster orders parked` says why")))
}

fn people(parked: &[Parked]) -> String {
    if parked.is_empty() {
        return "Nothing is parked.".to_owned();
    }
    let mut rows =
        table(["reservation", "units", "is", "shard", "position", "parked at", "tries", "the database says"]);
    for Parked { shard, entry, error, tries, parked_at } in parked {
        rows.add_row([
            reservation_text(entry.product, entry.reservation),
            entry.quantity.to_string(),
            state(entry.kind).name().to_owned(),
            shard.to_string(),
            entry.position.to_string(),
            time_text(*parked_at),
            tries.to_string(),
            error.clone(),
        ]);
    }
    format!("{rows}\n{} parked.", parked.len())
}

fn programs(parked: &[Parked]) -> Value {
    let one = |Parked { shard, entry, error, tries, parked_at }: &Parked| {
        json!({
            "reservation": reservation_text(entry.product, entry.reservation),
            "user": format!("{:032x}", entry.user.get()),
            "quantity": entry.quantity.get(),
            "price": { "minor": entry.price.minor, "currency": entry.price.currency.to_string() },
            "state": state(entry.kind).name(), "late": entry.late, "at_ms": entry.at.get(),
            "shard": shard.get(), "position": entry.position.get(),
            "error": error, "tries": tries, "parked_at_ms": parked_at.get(),
        })
    };
    json!({ "count": parked.len(), "parked": parked.iter().map(one).collect::<Vec<_>>() })
}
