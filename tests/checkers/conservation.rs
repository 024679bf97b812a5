//! Units are conserved: at every index, on every replica, `stock = available + held + sold`, and each of them, and each
//! reservation, is what an independent model makes of the log up to there.
//!
//! Source: DESIGN section 1, "stock = available + held + sold, at every log index: RULE"; section 3, reservations.
//! Compared after every turn is what the entries of that turn touched; everything is compared when a replica comes from
//! a snapshot or a restart, every [`FULLY_EVERY`] entries, and whenever a replica is shown without entries.
//! Does not see: what the model and the product both get wrong; indexes in the middle of a turn.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster_inventory::Inventory;
use doorbuster_protocol::types::{NodeId, ProductId, ReservationId, ShardId};

use super::ledger::{ShardLedger, SharedLedger, index_of};
use super::{Checker, Violation};
use crate::history::History;
use crate::observation::{Observation, Seen};

/// A replica is compared fully every so many entries.
pub const FULLY_EVERY: u64 = 512;

/// See the module.
#[derive(Debug)]
pub struct Conservation {
    ledger: SharedLedger,
    /// Where each replica was compared fully.
    compared: BTreeMap<(NodeId, ShardId), u64>,
}

impl Conservation {
    /// Compares replicas with this ledger's model.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger, compared: BTreeMap::new() }
    }
}

impl Checker for Conservation {
    fn property(&self) -> &'static str {
        "conservation"
    }

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let Observation::Applied { node, shard, entries, inventory, .. } = &seen.what else { return Ok(()) };
        let ledger = self.ledger.borrow();
        let Some(shards) = ledger.shard(*shard) else { return Ok(()) };
        let index = index_of(inventory);
        let last = self.compared.entry((*node, *shard)).or_insert(0);
        let compared = if entries.is_empty() || index < *last || index >= *last + FULLY_EVERY {
            *last = index;
            everything(shards, inventory)
        } else {
            let touched = entries.iter().filter_map(|entry| shards.entry(entry.index.0)).map(|entry| &entry.touched);
            let products: BTreeSet<_> = touched.clone().flat_map(|touched| touched.products.iter().copied()).collect();
            let reservations: BTreeSet<_> = touched.flat_map(|touched| touched.reservations.iter().copied()).collect();
            these(shards, inventory, products, reservations)
        };
        compared.map_err(|what| {
            Violation::of(self.property(), format!("node {node}, shard {shard} at index {index}: {what}"))
        })
    }

    fn conclude(&mut self, _history: &History) -> Result<(), Violation> {
        let ledger = self.ledger.borrow();
        match ledger.shards().find(|(_, shard)| !shard.model().adds_up()) {
            None => Ok(()),
            Some((shard, _)) => {
                Err(Violation::of(self.property(), format!("the model's own numbers of shard {shard} do not add up")))
            }
        }
    }
}

fn everything(shard: &ShardLedger, inventory: &Inventory) -> Result<(), String> {
    let index = index_of(inventory);
    these(shard, inventory, shard.products().keys().copied(), shard.reservations().keys().copied())?;
    let known = shard.reservations().values().filter(|versions| versions.at(index).is_some_and(Option::is_some));
    let (known, has) = (known.count(), inventory.reservation_ids().len());
    if known != has {
        return Err(format!("it has {has} reservations, the model {known}"));
    }
    let report = inventory.audit();
    report.problems.first().map_or(Ok(()), |problem| Err(format!("its own recount says: {problem}")))
}

fn these(
    shard: &ShardLedger,
    inventory: &Inventory,
    products: impl IntoIterator<Item = ProductId>,
    reservations: impl IntoIterator<Item = ReservationId>,
) -> Result<(), String> {
    let index = index_of(inventory);
    for id in products {
        let (has, wants) = (inventory.product(id).ok(), shard.product(id, index));
        if has.as_ref() != wants {
            return Err(format!("product {id} is {has:?}, by the log it is {wants:?}"));
        }
        let Some(view) = has else { continue };
        let claimed = u64::from(view.available.0) + u64::from(view.held.0) + u64::from(view.sold.0);
        if claimed != u64::from(view.spec.stock.0) {
            return Err(format!("units of product {id} do not add up: {view:?}"));
        }
    }
    for id in reservations {
        let (has, wants) = (inventory.find(id).ok(), shard.reservation(id, index));
        if has.as_ref() != wants {
            return Err(format!("reservation {id} is {has:?}, by the log it is {wants:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::command::{Command, Target};
    use doorbuster_protocol::types::{LogIndex, UserId};

    use super::super::stage::{NODES, Stage, product, property, reserve, target};
    use super::*;

    fn stage() -> Stage {
        let mut stage = Stage::new(|ledger| vec![Box::new(Conservation::new(ledger))]);
        stage.run(&[product(1, 3), product(2, 1)]).unwrap();
        stage.run(&[reserve(1), reserve(2)]).unwrap();
        stage
    }

    #[test]
    fn a_sale_passes() {
        let mut stage = stage();
        stage.run(&[Command::Confirm(target(1)), Command::Release(target(2)), reserve(3)]).unwrap();
        stage.pass(1500);
        stage.run(&[Command::Expire]).unwrap();
        stage.run(&[reserve(4)]).unwrap();
        for node in NODES {
            stage.shown_bare(node).unwrap();
        }
        assert_eq!(stage.conclude(), Ok(()));
    }

    #[test]
    fn a_unit_too_many_is_found() {
        let mut stage = stage();
        let (time, index) = (stage.time(), LogIndex(3));
        // The replica applies what the entry does not have.
        stage.replicas.get_mut(&NODES[0]).unwrap().apply(index, time, &reserve(9)).unwrap();
        assert_eq!(property(stage.run(&[Command::Confirm(target(1))])), "conservation");
    }

    #[test]
    fn a_product_that_no_entry_touched_is_found_when_all_is_compared() {
        let mut stage = stage();
        let (time, index) = (stage.time(), LogIndex(2));
        let other = Command::AdjustStock(doorbuster_protocol::command::AdjustStock {
            operation: 7.into(),
            product: ProductId(2),
            delta: 1,
        });
        stage.replicas.get_mut(&NODES[1]).unwrap().apply(index, time, &other).unwrap();
        assert_eq!(property(stage.shown_bare(NODES[1])), "conservation");
    }

    #[test]
    fn a_confirmation_after_the_expiry_is_found() {
        let mut stage = stage();
        let confirm = Command::Confirm(Target { user: UserId(1), ..target(1) });
        stage.pass(2000);
        let entry = stage.entry(std::slice::from_ref(&confirm));
        // The replica is told that it was in time.
        let early = doorbuster_protocol::types::Timestamp(stage.time().0 - 1500);
        stage.log.push(entry);
        stage.replicas.get_mut(&NODES[0]).unwrap().apply(LogIndex(3), early, &confirm).unwrap();
        assert_eq!(property(stage.shown(NODES[0])), "conservation");
    }
}
