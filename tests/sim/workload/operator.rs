//! Who runs the sale: puts products on sale, changes their stock, pauses, resumes and closes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use doorbuster_protocol::command::{
    AdjustStock, ChangeSale, Command, LatePaymentPolicy, ProductSpec, SaleAction, SetStock,
};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Currency, Millis, Money, ProductId, Quantity, Timestamp};

use super::board::Board;
use super::caller::Finished;
use super::client::Wishes;
use crate::history::Heard;
use crate::sim::{Port, Rng};

/// Units of the product that crowds come for.
const BULK: u32 = 400;

/// See the module.
#[derive(Debug)]
pub struct Operator {
    /// Products that are not on sale yet.
    unborn: VecDeque<ProductId>,
    /// The last of the products is for crowds: many units, all held equally long.
    bulk: Option<ProductId>,
    /// How long the run goes on.
    span: Duration,
    /// What was sent and not answered well: to be sent again, as it was.
    creating: Option<ProductSpec>,
    /// Products that were paused.
    paused: Vec<ProductId>,
    /// Stock as it was heard last.
    stock: BTreeMap<ProductId, Quantity>,
}

impl Operator {
    /// The first one creates the products.
    #[must_use]
    pub fn new(creates: &[ProductId], bulk: Option<ProductId>, span: Duration) -> Self {
        let unborn = creates.iter().copied().collect();
        Self { unborn, bulk, span, creating: None, paused: Vec::new(), stock: BTreeMap::new() }
    }

    fn spec(&self, product: ProductId, now: Timestamp, rng: &mut Rng) -> ProductSpec {
        let bulk = self.bulk == Some(product);
        let span = u64::try_from(self.span.as_millis()).unwrap_or(1);
        let ttl = if rng.percent(50) { rng.between(100, 600) } else { rng.between(600, 4_000) };
        // The first product's time is not known yet, so it sells from the start.
        let scheduled = |percent: u64, rng: &mut Rng| now.get() > 0 && !bulk && rng.percent(percent);
        let opens_at = if scheduled(20, rng) { now.get() + rng.between(200, span / 3) } else { 0 };
        let closes_at = if scheduled(15, rng) { now.get() + rng.between(span / 2, span) } else { 0 };
        let limit = if bulk { 0 } else { [0, 0, 1, 2, 3][rng.index(5)] };
        ProductSpec {
            product,
            name: format!("product {product}"),
            stock: Quantity(if bulk { BULK } else { [0, 1, 2, 3, 5, 8, 20][rng.index(7)] }),
            price: Money { minor: rng.between(0, 99_900), currency: Currency(*b"EUR") },
            limit_per_user: Quantity(limit),
            limit_per_reservation: Quantity([0, 0, 2][rng.index(3)]),
            ttl: Millis(ttl),
            max_life: Millis(ttl * rng.between(1, 3)),
            payment_cap: Millis(rng.between(100, 2_000)),
            opens_at: Timestamp(opens_at),
            closes_at: Timestamp(closes_at),
            late_payment: if rng.percent(70) {
                LatePaymentPolicy::RetakeOrRefund
            } else {
                LatePaymentPolicy::AlwaysRefund
            },
        }
    }

    fn create(&mut self, board: &Board, rng: &mut Rng) -> Option<Command> {
        if self.creating.is_none() {
            let product = self.unborn.pop_front()?;
            self.creating = Some(self.spec(product, board.time, rng));
        }
        self.creating.clone().map(|spec| Command::CreateProduct(Box::new(spec)))
    }

    fn change(&mut self, board: &mut Board, rng: &mut Rng) -> Option<Command> {
        let product = board.product(rng);
        let operation = board.fresh_operation(rng);
        let sale = |product, action| Command::ChangeSale(ChangeSale { operation, product, action });
        Some(match rng.below(100) {
            0..25 => Command::AdjustStock(AdjustStock { operation, product, delta: signed(rng.between(1, 3)) }),
            25..45 => Command::AdjustStock(AdjustStock { operation, product, delta: -signed(rng.between(1, 4)) }),
            45..60 => {
                let expected = self.stock.get(&product).copied().unwrap_or_default();
                let stock = Quantity(u32::try_from(rng.between(0, 12)).unwrap_or(0));
                Command::SetStock(SetStock { operation, product, expected, stock })
            }
            60..70 => {
                self.paused.push(product);
                sale(product, SaleAction::Pause)
            }
            70..73 => sale(product, SaleAction::Close),
            73..78 => conflict(board.operation(rng)?),
            78..88 => board.operation(rng)?,
            _ => return None,
        })
    }
}

impl Wishes for Operator {
    fn name(&self) -> &'static str {
        "operator"
    }

    fn wish(&mut self, board: &mut Board, rng: &mut Rng) -> Option<RequestBody> {
        if let Some(create) = self.create(board, rng) {
            return Some(RequestBody::Command(create));
        }
        let resumed = if rng.percent(70) { self.paused.pop() } else { None };
        if let Some(product) = resumed {
            let (operation, action) = (board.fresh_operation(rng), SaleAction::Resume);
            return Some(RequestBody::Command(Command::ChangeSale(ChangeSale { operation, product, action })));
        }
        let change = self.change(board, rng).map(RequestBody::Command);
        Some(change.unwrap_or_else(|| RequestBody::Query(Query::Product(board.product(rng)))))
    }

    fn heard(&mut self, finished: &Finished, _board: &mut Board, _port: &mut Port<'_>) {
        if let Heard::Reply(Reply::Product(reply)) = &finished.heard {
            self.stock.insert(reply.product.spec.product, reply.product.spec.stock);
        }
        let answered = matches!(finished.heard, Heard::Reply(_) | Heard::Refused(_));
        if answered && matches!(finished.body, RequestBody::Command(Command::CreateProduct(_))) {
            self.creating = None;
        }
    }
}

/// The same id with other contents.
fn conflict(command: Command) -> Command {
    match command {
        Command::AdjustStock(adjust) => Command::AdjustStock(AdjustStock { delta: adjust.delta + 1, ..adjust }),
        Command::SetStock(set) => {
            Command::AdjustStock(AdjustStock { operation: set.operation, product: set.product, delta: 1 })
        }
        Command::ChangeSale(change) => {
            Command::AdjustStock(AdjustStock { operation: change.operation, product: change.product, delta: -1 })
        }
        Command::CreateProduct(mut spec) => {
            spec.ttl = Millis(spec.ttl.get() + 1);
            Command::CreateProduct(spec)
        }
        other => other,
    }
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(1)
}
