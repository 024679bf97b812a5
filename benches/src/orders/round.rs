//! One round: so many reservations are confirmed at a server, and stored in each of the four ways, in turn.

use super::bare::batches;
use super::feed::{Remembered, Watched, all};
use doorbuster_cli::bench::generator::{Load, Rhythm};
use doorbuster_cli::bench::native::Native;
use doorbuster_cli::bench::options::Durability;
use doorbuster_cli::bench::recorder::Window;
use doorbuster_cli::bench::site::{Site, Spawn};
use doorbuster_cli::bench::work::{Ask, Work};
use doorbuster_cli::error::CliError;
use doorbuster_cli::{clock, entropy};
use doorbuster_gateway::orders::{Feed, OrderMetrics, OrderStore, OrderWriter};
use doorbuster_protocol::reply::FeedEntry;
use doorbuster_protocol::types::{FeedPosition, Millis, ShardId, shard_of};
use doorbuster_tests::chaos::postgres::Postgres;
use sqlx::{Connection, Executor, PgConnection};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long reservations are held.
const HOUR: Millis = Millis(3_600_000);
/// All of one step may take so long.
const WITHIN: Duration = Duration::from_secs(120);
/// Pause between two looks whether PostgreSQL lets anybody in.
const LOOK: Duration = Duration::from_millis(20);
/// Reservations are made over so many connections, each with so many under way.
const MAKING: (u16, u16) = (8, 128);
const EMPTY: &str = "TRUNCATE orders, payments, refunds, feed_positions";
/// Everything in the tables, in an order that does not depend on who wrote it.
const CONTENTS: &str =
    "SELECT coalesce((SELECT md5(string_agg(row::text, '|' ORDER BY reservation)) FROM orders AS row), '')
    || coalesce((SELECT md5(string_agg(row::text, '|' ORDER BY reservation)) FROM payments AS row), '')";

/// A way to store orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The order writer, on a server's feed.
    Writer,
    /// The order writer, on a feed in memory.
    Remembered,
    /// Orders and payments, and nothing else.
    Bare,
    /// Orders alone.
    BareOrders,
}

/// All ways, in their turns.
pub const WAYS: [Way; 4] = [Way::Writer, Way::Bare, Way::Remembered, Way::BareOrders];

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writer => "writer",
            Self::Remembered => "writer-from-memory",
            Self::Bare => "bare",
            Self::BareOrders => "bare-orders",
        })
    }
}

/// What is confirmed.
struct Confirmed {
    shard: ShardId,
    entries: Arc<[FeedEntry]>,
}

/// The database to store in.
pub struct Database {
    postgres: Postgres,
}

impl Database {
    /// Starts PostgreSQL in this folder, and waits until it lets us in.
    ///
    /// # Errors
    /// It does not.
    pub async fn start(folder: &Path) -> Result<Self, CliError> {
        let database = Self { postgres: Postgres::start(folder).await? };
        let deadline = clock::now() + WITHIN;
        while let Err(error) = database.connect().await {
            if clock::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(database)
    }

    /// Which one it is.
    ///
    /// # Errors
    /// It does not say.
    pub async fn version(&self) -> Result<String, CliError> {
        let mut connection = self.connect().await?;
        sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await.map_err(|error| wrong(&error))
    }

    fn url(&self) -> String {
        Postgres::url(&self.postgres.address())
    }

    async fn connect(&self) -> Result<PgConnection, CliError> {
        PgConnection::connect(&self.url()).await.map_err(|error| wrong(&error))
    }

    /// Tables as a gateway makes them, with nothing in them, and everything from before on disk.
    async fn emptied(&self) -> Result<OrderStore, CliError> {
        let store = OrderStore::connect(&self.url()).await?;
        let mut connection = self.connect().await?;
        for statement in [EMPTY, "CHECKPOINT"] {
            connection.execute(statement).await.map_err(|error| wrong(&error))?;
        }
        Ok(store)
    }

    async fn contents(&self) -> Result<String, CliError> {
        sqlx::query_scalar(CONTENTS).fetch_one(&mut self.connect().await?).await.map_err(|error| wrong(&error))
    }
}

/// Rows a second of each way, in the order of [`WAYS`].
///
/// # Errors
/// Something cannot be started, or did not write what it should.
pub async fn round(
    binary: &Path,
    folder: &Path,
    database: &Database,
    number: u16,
    orders: u32,
) -> Result<[f64; 4], CliError> {
    let site = Site::spawn(spawn(binary.to_owned(), folder.to_owned())).await?;
    let confirmed = confirm(&site, u64::from(orders)).await?;
    let (mut rates, mut contents) = ([0.0; 4], Vec::new());
    let turns = 0..WAYS.len();
    // Every other round the other way round: who comes first is not always the same.
    let turns: Vec<usize> = if number.is_multiple_of(2) { turns.rev().collect() } else { turns.collect() };
    for at in turns {
        let way = WAYS[at];
        let store = database.emptied().await?;
        let took = match way {
            Way::Writer => drain(site.client().clone(), &confirmed, store).await?,
            Way::Remembered => {
                let shards = site.client().shards();
                let feed = Remembered::new(shards, confirmed.shard, Arc::clone(&confirmed.entries));
                drain(feed, &confirmed, store).await?
            }
            Way::Bare | Way::BareOrders => {
                store.close().await;
                bare(&mut database.connect().await?, &confirmed, way == Way::Bare).await?
            }
        };
        rates[at] = f64::from(orders) / took.as_secs_f64().max(f64::MIN_POSITIVE);
        if way != Way::BareOrders {
            contents.push((way, database.contents().await?));
        }
    }
    site.close().await?;
    match contents.iter().find(|(_, other)| other.is_empty() || *other != contents[0].1) {
        None => Ok(rates),
        Some((way, _)) => Err(CliError::wrong(format!("{way} and {} did not write the same rows", contents[0].0))),
    }
}

fn spawn(binary: PathBuf, folder: PathBuf) -> Spawn {
    let (durability, sync_delay, settings) = (Durability::Disk, Millis(0), Default::default());
    Spawn { binary, nodes: 1, durability, sync_delay, settings, data: Some(folder), server_cpus: None }
}

/// So many reservations, sold.
async fn confirm(site: &Site, orders: u64) -> Result<Confirmed, CliError> {
    let (product, series) = (site.plenty(HOUR).await?, entropy::number());
    for ask in [Ask::Unit, Ask::Confirmation] {
        let work = Work::of(ask, product, series, orders);
        let start = clock::now();
        let window = Window { from: start, until: start + WITHIN };
        let load =
            Load { threads: 1, connections: MAKING.0, rhythm: Rhythm::Closed(MAKING.1), cpus: None, start, window };
        let failures = load.run(&Native::new(work.clone(), site.guide(product))).await?.recorder.failures();
        if !failures.is_empty() || !work.has_ended() {
            return Err(CliError::failed(format!("not all orders could be made: {failures:?}")));
        }
    }
    let shard = shard_of(product, site.client().shards());
    let entries = all(site.client(), shard).await?;
    if entries.len() as u64 == orders {
        Ok(Confirmed { shard, entries })
    } else {
        Err(CliError::failed(format!("{} entries are on the feed of {orders} orders", entries.len())))
    }
}

/// How long the order writer takes until all is stored and acknowledged.
async fn drain<F: Feed>(feed: F, confirmed: &Confirmed, store: OrderStore) -> Result<Duration, CliError> {
    let (done, shard) = (CancellationToken::new(), confirmed.shard);
    let last = FeedPosition(confirmed.entries.len() as u64);
    let watched = Watched { feed, shard, last, done: done.clone() };
    let begun = clock::now();
    let writer = OrderWriter::new(watched, store.clone(), OrderMetrics::none());
    let ended = tokio::time::timeout(WITHIN, writer.run(done)).await;
    let took = clock::now().saturating_duration_since(begun);
    store.close().await;
    ended.map_err(|_| CliError::failed(format!("the order writer has not stored everything in {WITHIN:?}")))?;
    Ok(took)
}

async fn bare(connection: &mut PgConnection, confirmed: &Confirmed, payments: bool) -> Result<Duration, CliError> {
    let batches = batches(confirmed.shard, &confirmed.entries);
    let begun = clock::now();
    for batch in &batches {
        batch.insert(connection, payments).await.map_err(|error| wrong(&error))?;
    }
    Ok(clock::now().saturating_duration_since(begun))
}

fn wrong(error: &sqlx::Error) -> CliError {
    CliError::failed(format!("PostgreSQL: {error}"))
}
