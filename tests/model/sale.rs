//! Products: putting them on sale, changing their stock, pausing and closing.

use doorbuster_protocol::command::{AdjustStock, ChangeSale, Command, ProductSpec, SaleAction, SetStock};
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::{MAX_PRICE_MINOR, MAX_STOCK, MAX_TTL, MIN_TTL};
use doorbuster_protocol::reply::SaleState;
use doorbuster_protocol::types::{Millis, ProductId, Quantity};

use super::{Naive, Operation, Outcome, Product, units};

impl Naive {
    pub(super) fn create(&mut self, spec: &ProductSpec) -> Outcome {
        if let Some(there) = self.products.get(&spec.product) {
            return if there.created_as == *spec {
                self.about_product(spec.product, true)
            } else {
                Err(Refusal::ProductExists)
            };
        }
        let wrong = |argument| Err(Refusal::InvalidArgument(argument));
        let in_range = |duration: Millis| MIN_TTL <= duration && duration <= MAX_TTL;
        if spec.product.0 == 0 {
            return wrong(Argument::Id);
        }
        if spec.name.is_empty() || spec.name.len() > 200 {
            return wrong(Argument::Name);
        }
        let letters = spec.price.currency.0.iter().all(u8::is_ascii_uppercase);
        if spec.price.minor > MAX_PRICE_MINOR || !letters {
            return wrong(Argument::Price);
        }
        if !in_range(spec.ttl) || !in_range(spec.max_life) || !in_range(spec.payment_cap) || spec.max_life < spec.ttl {
            return wrong(Argument::Duration);
        }
        if spec.closes_at.0 > 0 && spec.closes_at <= spec.opens_at {
            return wrong(Argument::Schedule);
        }
        if spec.stock.0 > MAX_STOCK {
            return Err(Refusal::StockTooLarge { limit: Quantity(MAX_STOCK) });
        }
        if self.products.len() == self.limits.products {
            return Err(Refusal::CapacityReached { limit: self.limits.products as u64 });
        }
        let product = Product { created_as: spec.clone(), stock: i64::from(spec.stock.0), sale: SaleState::Active };
        self.products.insert(spec.product, product);
        self.touched.products.insert(spec.product);
        self.about_product(spec.product, false)
    }

    /// Whether an operation has been done; a refusal if the id was used for something else.
    pub(super) fn done(&self, id: u128, command: &Command) -> Result<bool, Refusal> {
        if id == 0 {
            return Err(Refusal::InvalidArgument(Argument::Id));
        }
        match self.operations.iter().find(|operation| operation.id == id) {
            None => Ok(false),
            Some(operation) if operation.command == *command => Ok(true),
            Some(_) => Err(Refusal::ConflictingRetry),
        }
    }

    pub(super) fn room_for_operation(&self) -> Result<(), Refusal> {
        let limit = self.limits.operations;
        if self.operations.len() < limit { Ok(()) } else { Err(Refusal::CapacityReached { limit: limit as u64 }) }
    }

    pub(super) fn note(&mut self, id: u128, command: &Command) {
        self.operations.push(Operation { id, command: command.clone(), at: self.now });
    }

    pub(super) fn adjust(&mut self, command: &Command, adjust: &AdjustStock) -> Outcome {
        let product = self.products.get(&adjust.product).ok_or(Refusal::UnknownProduct)?;
        if self.done(adjust.operation.0, command)? {
            return self.about_product(adjust.product, true);
        }
        if adjust.delta == 0 {
            return Err(Refusal::InvalidArgument(Argument::Delta));
        }
        self.restock(adjust.product, product.stock.saturating_add(adjust.delta))?;
        self.note(adjust.operation.0, command);
        self.about_product(adjust.product, false)
    }

    pub(super) fn set(&mut self, command: &Command, set: &SetStock) -> Outcome {
        let product = self.products.get(&set.product).ok_or(Refusal::UnknownProduct)?;
        if self.done(set.operation.0, command)? {
            return self.about_product(set.product, true);
        }
        if product.stock != i64::from(set.expected.0) {
            return Err(Refusal::StockMismatch { stock: units(product.stock) });
        }
        self.restock(set.product, i64::from(set.stock.0))?;
        self.note(set.operation.0, command);
        self.about_product(set.product, false)
    }

    fn restock(&mut self, id: ProductId, stock: i64) -> Result<(), Refusal> {
        if stock > i64::from(MAX_STOCK) {
            return Err(Refusal::StockTooLarge { limit: Quantity(MAX_STOCK) });
        }
        let (held, sold) = (self.held(id), self.sold(id));
        if stock < held + sold {
            return Err(Refusal::StockBelowCommitted { held: units(held), sold: units(sold) });
        }
        self.room_for_operation()?;
        self.products.entry(id).and_modify(|product| product.stock = stock);
        self.touched.products.insert(id);
        Ok(())
    }

    pub(super) fn change_sale(&mut self, command: &Command, change: &ChangeSale) -> Outcome {
        let before = self.products.get(&change.product).ok_or(Refusal::UnknownProduct)?.sale;
        if self.done(change.operation.0, command)? {
            return self.about_product(change.product, true);
        }
        if before == SaleState::Closed && change.action != SaleAction::Close {
            return Err(Refusal::Closed);
        }
        self.room_for_operation()?;
        let sale = match change.action {
            SaleAction::Pause => SaleState::Paused,
            SaleAction::Resume => SaleState::Active,
            SaleAction::Close => SaleState::Closed,
        };
        self.products.entry(change.product).and_modify(|product| product.sale = sale);
        self.touched.products.insert(change.product);
        self.note(change.operation.0, command);
        self.about_product(change.product, false)
    }
}
