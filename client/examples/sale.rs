//! A sale from beginning to end: put a product on sale, reserve, pay, and look at the numbers.
//!
//! ```sh
//! cargo run -p doorbuster-client --example sale -- CLUSTER HOST:PORT [CREDENTIAL]
//! ```

use doorbuster_client::{Client, Config, Error};
use doorbuster_protocol::command::{LatePaymentPolicy, Payment, ProductSpec, Reserve, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::types::*;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(cluster), Some(node)) = (arguments.next(), arguments.next()) else {
        return Err(Error::Config("usage: sale CLUSTER HOST:PORT [CREDENTIAL]".to_owned()));
    };
    let mut config = Config::new(cluster, vec![node]).with_name("example");
    config.credential = arguments.next().map(String::into_bytes);
    let client = Client::connect(config).await?;
    match client.create_product(phones()).await {
        Ok(_) | Err(Error::Refused(Refusal::ProductExists)) => {}
        Err(error) => return Err(error),
    }
    sell_one(&client).await?;
    let phones = client.product(ProductId(1)).await?.product;
    println!("{} available, {} held, {} sold", phones.available, phones.held, phones.sold);
    client.close().await;
    Ok(())
}

/// Reserves, begins the payment, and confirms. Each step may be repeated with the same ids.
async fn sell_one(client: &Client) -> Result<(), Error> {
    let target = Target { product: ProductId(1), reservation: ReservationId(0x5eed), user: UserId(42) };
    let reserve = Reserve {
        product: target.product,
        reservation: target.reservation,
        user: target.user,
        quantity: Quantity(1),
        ttl: Millis(0),
    };
    match client.reserve(reserve).await {
        Ok(held) if held.replayed => println!("already {}", held.reservation.state.name()),
        Ok(held) => println!("held until {}", held.reservation.expires_at),
        Err(Error::Refused(refusal)) => {
            println!("refused ({}): {refusal}", refusal.code());
            return Ok(());
        }
        // Error::OutcomeUnknown: run it again, the same id tells what happened.
        Err(error) => return Err(error),
    }
    match client.begin_payment(Payment { target, attempt: 1 }).await {
        Ok(_) => println!("{}", client.confirm(target).await?.reservation.state.name()),
        Err(Error::Refused(refusal)) => println!("no payment ({}): {refusal}", refusal.code()),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn phones() -> ProductSpec {
    ProductSpec {
        product: ProductId(1),
        name: "Phone".to_owned(),
        stock: Quantity(100),
        price: Money { minor: 99_900, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(1),
        limit_per_reservation: Quantity(1),
        ttl: Millis(120_000),
        max_life: Millis(600_000),
        payment_cap: Millis(300_000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    }
}
