//! Many buyers at once over one connection: how the client is meant to be shared.
//!
//! ```sh
//! cargo run --release -p doorbuster-client --example stampede -- CLUSTER HOST:PORT PRODUCT BUYERS [CREDENTIAL]
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_client::{Client, Config, Error};
use doorbuster_protocol::command::Reserve;
use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, UserId};

/// Buyers that wait for an answer at the same time.
const CONCURRENT: u64 = 4000;

#[derive(Default)]
struct Counts {
    next: AtomicU64,
    granted: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || Error::Config("usage: stampede CLUSTER HOST:PORT PRODUCT BUYERS [CREDENTIAL]".to_owned());
    let [cluster, node, product, buyers, ..] = &arguments[..] else { return Err(usage()) };
    let product = ProductId(product.parse().map_err(|_| usage())?);
    let buyers: u64 = buyers.parse().map_err(|_| usage())?;
    let mut config = Config::new(cluster, vec![node.clone()]);
    config.credential = arguments.get(4).map(|secret| secret.clone().into_bytes());
    let client = Client::connect(config).await?;
    let counts = Arc::new(Counts::default());
    let buying: Vec<_> =
        (0..CONCURRENT).map(|_| tokio::spawn(buy(client.clone(), Arc::clone(&counts), product, buyers))).collect();
    for buyer in buying {
        let _ = buyer.await;
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{} granted, {} refused, {} failed",
        count(&counts.granted),
        count(&counts.refused),
        count(&counts.failed)
    );
    Ok(())
}

/// One buyer after the other, each asking once.
async fn buy(client: Client, counts: Arc<Counts>, product: ProductId, buyers: u64) {
    loop {
        let buyer = counts.next.fetch_add(1, Ordering::Relaxed) + 1;
        if buyer > buyers {
            return;
        }
        let id = u128::from(buyer);
        let reserve = Reserve {
            product,
            reservation: ReservationId(id),
            user: UserId(id),
            quantity: Quantity(1),
            ttl: Millis(0),
        };
        let counter = match client.reserve(reserve).await {
            Ok(_) => &counts.granted,
            Err(Error::Refused(_)) => &counts.refused,
            Err(_) => &counts.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
