//! The operator: keeps the shelf full, changes stocks, pauses and resumes sales.

use std::time::Duration;

use doorbuster_client::Client;
use doorbuster_protocol::command::{AdjustStock, ChangeSale, Command, SaleAction, SetStock};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{OperationId, Quantity};
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Buyer;
use crate::chaos::shop::{Door, Product};
use crate::history::Heard;

const TRIES: u32 = 4;

/// Runs until the sale is over.
pub async fn run(buyer: Buyer, client: Client, seed: u64) {
    let mut rng = buyer.rng(seed);
    while !buyer.over.is_cancelled() {
        while let Some(product) = buyer.shop.next() {
            let heard = buyer.ask(&client, product.create(), TRIES).await;
            if buyer.over.is_cancelled() {
                return;
            }
            if matches!(heard, Heard::Reply(_)) {
                buyer.shop.shelve(product);
            }
        }
        if rng.random_bool(0.1) {
            meddle(&buyer, &client, &mut rng).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn meddle(buyer: &Buyer, client: &Client, rng: &mut StdRng) {
    let door = if rng.random() { Door::Tcp } else { Door::Http };
    let Some(product) = buyer.shop.visit(door, rng) else { return };
    let (id, command) = change(&product, rng);
    let mut heard = buyer.ask(client, RequestBody::Command(command.clone()), TRIES).await;
    if rng.random_bool(0.2) {
        heard = buyer.ask(client, RequestBody::Command(command.clone()), TRIES).await;
    }
    let paused = matches!(command, Command::ChangeSale(ChangeSale { action: SaleAction::Pause, .. }));
    if paused && !matches!(heard, Heard::Refused(_)) {
        buyer.think(rng, 200).await;
        let operation = OperationId(id + 1);
        let resume = ChangeSale { operation, product: product.spec.product, action: SaleAction::Resume };
        buyer.ask(client, RequestBody::Command(Command::ChangeSale(resume)), TRIES).await;
    }
}

fn change(product: &Product, rng: &mut StdRng) -> (u128, Command) {
    let id = rng.random::<u128>() | 1;
    let (operation, product, stock) = (OperationId(id), product.spec.product, product.spec.stock);
    let command = match rng.random_range(0..10) {
        0..4 => Command::AdjustStock(AdjustStock { operation, product, delta: rng.random_range(1..=2) }),
        4..7 => Command::AdjustStock(AdjustStock { operation, product, delta: -1 }),
        7..9 => Command::ChangeSale(ChangeSale { operation, product, action: SaleAction::Pause }),
        _ => Command::SetStock(SetStock { operation, product, expected: stock, stock: Quantity(stock.0 + 1) }),
    };
    (id, command)
}
