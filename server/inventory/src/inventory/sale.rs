//! What an operator does: put a product on sale, change its stock, pause, resume and close its sale.

use doorbuster_protocol::command::{AdjustStock, ChangeSale, ProductSpec, SaleAction, SetStock};
use doorbuster_protocol::failure::{Argument, Refusal};
use doorbuster_protocol::limits::MAX_STOCK;
use doorbuster_protocol::reply::{ProductReply, Reply, SaleState};
use doorbuster_protocol::types::Quantity;

use super::{Inventory, check_room};
use crate::digest::{Digest, Kind};
use crate::product::{Product, check_spec};

impl Inventory {
    pub(super) fn create_product(&mut self, spec: &ProductSpec) -> Result<Reply, Refusal> {
        if let Some(place) = self.places.get(&spec.product) {
            let same = *self.product_at(*place).spec == *spec;
            return if same { Ok(self.product_reply(*place, true)) } else { Err(Refusal::ProductExists) };
        }
        check_spec(spec)?;
        check_room(self.products.len(), self.limits.products)?;
        let place = self.add_product(Product::new(spec.clone()));
        self.change_product(place, |_| {});
        Ok(self.product_reply(place, false))
    }

    /// Takes a product in and says its place.
    pub(super) fn add_product(&mut self, product: Product) -> u32 {
        let place = u32::try_from(self.products.len()).expect("products are fewer than their limit");
        self.products_digest = self.products_digest.wrapping_add(product.digest());
        let before = self.places.insert(product.spec.product, place);
        assert!(before.is_none(), "product {} is there already", product.spec.product);
        self.products.push(product);
        place
    }

    pub(super) fn adjust_stock(&mut self, adjust: &AdjustStock) -> Result<Reply, Refusal> {
        let place = self.place_of(adjust.product)?;
        let fingerprint = fingerprint(1).word(adjust.product.get()).word(adjust.delta.cast_unsigned()).finish();
        if self.check_operation(adjust.operation, fingerprint)? {
            return Ok(self.product_reply(place, true));
        }
        if adjust.delta == 0 {
            return Err(Refusal::InvalidArgument(Argument::Delta));
        }
        let stock = i128::from(self.product_at(place).units.stock) + i128::from(adjust.delta);
        self.check_stock_change(place, stock)?;
        self.check_room_for_operation()?;
        self.restock(place, stock);
        self.remember(adjust.operation, fingerprint);
        Ok(self.product_reply(place, false))
    }

    pub(super) fn set_stock(&mut self, set: &SetStock) -> Result<Reply, Refusal> {
        let place = self.place_of(set.product)?;
        let change = u64::from(set.expected.get()) << 32 | u64::from(set.stock.get());
        let fingerprint = fingerprint(2).word(set.product.get()).word(change).finish();
        if self.check_operation(set.operation, fingerprint)? {
            return Ok(self.product_reply(place, true));
        }
        let now = Quantity(self.product_at(place).units.stock);
        if set.expected != now {
            return Err(Refusal::StockMismatch { stock: now });
        }
        let stock = i128::from(set.stock.get());
        self.check_stock_change(place, stock)?;
        self.check_room_for_operation()?;
        self.restock(place, stock);
        self.remember(set.operation, fingerprint);
        Ok(self.product_reply(place, false))
    }

    pub(super) fn change_sale(&mut self, change: &ChangeSale) -> Result<Reply, Refusal> {
        let place = self.place_of(change.product)?;
        let action = match change.action {
            SaleAction::Pause => 1,
            SaleAction::Resume => 2,
            SaleAction::Close => 3,
        };
        let fingerprint = fingerprint(3).word(change.product.get()).word(action).finish();
        if self.check_operation(change.operation, fingerprint)? {
            return Ok(self.product_reply(place, true));
        }
        let sale = match (self.product_at(place).sale, change.action) {
            (_, SaleAction::Close) => SaleState::Closed,
            (SaleState::Closed, SaleAction::Pause | SaleAction::Resume) => return Err(Refusal::Closed),
            (_, SaleAction::Pause) => SaleState::Paused,
            (_, SaleAction::Resume) => SaleState::Active,
        };
        self.check_room_for_operation()?;
        self.change_product(place, |product| product.sale = sale);
        self.remember(change.operation, fingerprint);
        Ok(self.product_reply(place, false))
    }

    /// Whether a product may have this stock.
    fn check_stock_change(&self, place: u32, stock: i128) -> Result<(), Refusal> {
        let units = self.product_at(place).units;
        if stock > i128::from(MAX_STOCK) {
            Err(Refusal::StockTooLarge { limit: Quantity(MAX_STOCK) })
        } else if stock < i128::from(units.held) + i128::from(units.sold) {
            Err(Refusal::StockBelowCommitted { held: Quantity(units.held), sold: Quantity(units.sold) })
        } else {
            Ok(())
        }
    }

    fn restock(&mut self, place: u32, stock: i128) {
        let stock = u32::try_from(stock).expect("the stock was checked to be between 0 and its limit");
        self.change_product(place, |product| product.units.restock(stock));
    }

    fn product_reply(&self, place: u32, replayed: bool) -> Reply {
        let product = self.product_at(place).view();
        Reply::Product(Box::new(ProductReply { replayed, time: self.time, product }))
    }
}

/// Begins the fingerprint of an operation of one kind.
pub(super) fn fingerprint(kind: u64) -> Digest {
    Digest::of(Kind::Fingerprint).word(kind)
}
