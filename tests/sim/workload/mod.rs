//! Who uses the cluster in a run: shoppers, readers, operators, crowds, payment gateways and order writers, all of them
//! actors that decide by the seed and the product's own pure decisions (the client's [`decision`], the saga's [`steps`], the
//! writer's [`plan`]).
//!
//! [`decision`]: doorbuster_client::decision
//! [`steps`]: doorbuster_gateway::payment
//! [`plan`]: doorbuster_gateway::orders::plan

pub mod board;
pub mod caller;
pub mod client;
pub mod crowd;
pub mod database;
pub mod operator;
pub mod payer;
pub mod provider;
pub mod reader;
pub mod shape;
pub mod shopper;
pub mod writer;

pub use shape::Shape;

use doorbuster_protocol::types::ProductId;

use self::board::Board;
use self::client::Client;
use self::crowd::Crowd;
use self::operator::Operator;
use self::payer::Payer;
use self::reader::Reader;
use self::shopper::Shopper;
use self::writer::Writer;
use super::{Actor, Rng};

#[cfg(test)]
mod tests;

/// Everybody who takes part in a run of this shape, in a cluster of so many shards.
#[must_use]
pub fn actors(shape: &Shape, shards: u16) -> Vec<Box<dyn Actor>> {
    let products = products(shape);
    let bulk = products.last().copied().filter(|_| shape.crowds > 0);
    let board = Board::shared(products.clone());
    let mut actors: Vec<Box<dyn Actor>> = Vec::new();
    for number in 0..shape.operators {
        let creates = if number == 0 { products.as_slice() } else { &[] };
        actors.push(Box::new(Client::new(Operator::new(creates, bulk, shape.span), number, &board, shape)));
    }
    for number in 0..shape.shoppers {
        let shopper = Shopper { mix: shape.mix.clone(), users: shape.users };
        actors.push(Box::new(Client::new(shopper, number, &board, shape)));
    }
    let reads = Shape { wishes: shape.wishes * shape.reads, ..shape.clone() };
    for number in 0..shape.readers {
        actors.push(Box::new(Client::new(Reader { shards }, number, &board, &reads)));
    }
    let provider = provider::Shared::default();
    for number in 0..shape.payers {
        actors.push(Box::new(Payer::new(number, &board, &provider, shape)));
    }
    if let Some(bulk) = bulk {
        for number in 0..shape.crowds {
            actors.push(Box::new(Crowd::new(number, bulk, &board, shape)));
        }
    }
    let database = database::Shared::default();
    for number in 0..shape.writers {
        actors.push(Box::new(Writer::new(number, &board, &database, shape)));
    }
    actors
}

/// The products, the one that crowds come for last.
fn products(shape: &Shape) -> Vec<ProductId> {
    let mut rng = Rng::new(shape.seed).stream("products");
    let count = shape.products + usize::from(shape.crowds > 0);
    (0..count as u64).map(|place| ProductId(1 + place * 1_000 + rng.below(1_000))).collect()
}
