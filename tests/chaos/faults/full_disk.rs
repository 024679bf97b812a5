//! A disk that is full, and stays so while the log needs room: its server ends by itself, saying so; once there is room it
//! comes back.

use super::{Fault, Scene};
use crate::chaos::disk::SmallDisk;
use crate::chaos::stage::ON_SMALL_DISK;
use doorbuster_cli::clock;
use doorbuster_cli::error::CliError;
use doorbuster_client::Client;
use doorbuster_protocol::command::{AdjustStock, LatePaymentPolicy, ProductSpec};
use doorbuster_protocol::types::{Currency, Millis, Money, OperationId, ProductId, Quantity, Timestamp};
use rand::RngExt as _;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long it stays full, unless its server ends before.
const FULL_FOR: Duration = Duration::from_secs(15);
/// What keeps the log growing: operators at work on products that nobody buys, one a shard or so.
const OPERATORS: u64 = 64;
const PRODUCTS: u64 = 8;
const FIRST_PRODUCT: u64 = 1_000_000;

/// The small disk's server.
pub const FULL: Fault = Fault { name: "disk full", strike: |scene| Box::pin(full(scene)) };

async fn full(scene: &mut Scene<'_>) -> Result<(), CliError> {
    let Some(disk) = &scene.stage.disk else { return Err(CliError::failed("there is no small disk")) };
    let first = scene.rng.random::<u64>();
    let mut operators = JoinSet::new();
    for operator in 0..OPERATORS {
        operators.spawn(fill_the_log(scene.client.clone(), operator, first));
    }
    let ended = keep_full(scene, disk).await;
    operators.shutdown().await;
    disk.make_room()?;
    if !ended? {
        return Ok(()); // its log found room in what it had, to the end
    }
    scene.stage.noted("server ended by its full disk");
    let said = scene.stage.cluster.log_tail(ON_SMALL_DISK, 40);
    scene.last(0, 500).await;
    scene.stage.cluster.start_node(ON_SMALL_DISK)?;
    match said.contains("No space left") {
        true => Ok(()),
        false => Err(CliError::wrong(format!("node {ON_SMALL_DISK} ended on a full disk without saying so:\n{said}"))),
    }
}

/// Takes what becomes free too, until the server has ended or has had its time.
async fn keep_full(scene: &Scene<'_>, disk: &SmallDisk) -> Result<bool, CliError> {
    let deadline = clock::now() + FULL_FOR;
    while clock::now() < deadline {
        disk.fill()?;
        if scene.ends_by_itself(ON_SMALL_DISK, Duration::from_millis(50)).await {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whatever comes of it: only the log's growth counts.
async fn fill_the_log(client: Client, operator: u64, first: u64) {
    let product = ProductId(FIRST_PRODUCT + operator % PRODUCTS);
    let _created = client.create_product(never_bought(product)).await;
    for number in 1.. {
        let operation = OperationId(u128::from(first) << 64 | u128::from(operator) << 40 | number);
        let delta = if number % 2 == 0 { -1 } else { 1 };
        let _changed = client.adjust_stock(AdjustStock { operation, product, delta }).await;
    }
}

fn never_bought(product: ProductId) -> ProductSpec {
    ProductSpec {
        product,
        name: "never bought".to_owned(),
        stock: Quantity(1_000_000),
        price: Money { minor: 1, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(0),
        limit_per_reservation: Quantity(0),
        ttl: Millis(1000),
        max_life: Millis(1000),
        payment_cap: Millis(1000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    }
}
