//! One shard's log, and what the model makes of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use doorbuster_inventory::{Inventory, Limits};
use doorbuster_protocol::command::Command;
use doorbuster_protocol::reply::{ProductView, Reply, ReservationState, ReservationView};
use doorbuster_protocol::types::{LogIndex, ProductId, ReservationId, StateHash, Timestamp, UserId};
use doorbuster_server::shard::entry;

use super::Versions;
use crate::history::Moment;
use crate::model::{Naive, Outcome, Touched};
use crate::observation::LogEntry;

/// An entry that some replica has applied.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its term.
    pub term: u64,
    /// Its bytes.
    pub payload: Bytes,
    /// Cluster time at which it was applied; that of the one before for Raft's own.
    pub stamp: Timestamp,
    /// When some replica had applied it for the first time.
    pub applied: Moment,
    /// The world's cluster time then.
    pub cluster_time: Timestamp,
    /// What its proposer said of its own state: the digest at an index.
    pub checked: Option<(LogIndex, StateHash)>,
    /// Its commands, with what the model makes of each.
    pub done: Vec<Done>,
    /// What it changed.
    pub touched: Touched,
    /// The live reservation whose deadline was the earliest before this entry.
    pub next_deadline: Option<(Timestamp, ReservationId)>,
}

/// A command of an entry, and its outcome by the model.
#[derive(Clone, Debug)]
pub struct Done {
    /// The command.
    pub command: Command,
    /// What it came to.
    pub outcome: Outcome,
}

/// See the module.
#[derive(Debug)]
pub struct ShardLedger {
    entries: Vec<Committed>,
    model: Naive,
    products: BTreeMap<ProductId, Versions<ProductView>>,
    /// None where it was forgotten.
    reservations: BTreeMap<ReservationId, Versions<Option<ReservationView>>>,
    units: BTreeMap<(ProductId, UserId), Versions<i64>>,
    /// Length of the feed, and up to where it is acknowledged.
    feed: Versions<(u64, u64)>,
    /// Where a command stands, by what it is known by.
    places: BTreeMap<Key, Vec<(u64, usize)>>,
}

/// What a command is known by: its kind, and an id of its own or of what it is about.
pub type Key = (u8, u128);

impl ShardLedger {
    /// Nothing was committed.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            entries: Vec::new(),
            model: Naive::new(limits),
            products: BTreeMap::new(),
            reservations: BTreeMap::new(),
            units: BTreeMap::new(),
            feed: Versions::default(),
            places: BTreeMap::new(),
        }
    }

    /// The newest index.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entry at an index, from 1.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<&Committed> {
        self.entries.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// All entries, with their indexes.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Committed)> {
        (1..).zip(&self.entries)
    }

    /// The newest index that had been applied by then.
    #[must_use]
    pub fn last_by(&self, moment: Moment) -> u64 {
        self.entries.partition_point(|entry| entry.applied <= moment) as u64
    }

    /// The state now.
    #[must_use]
    pub fn model(&self) -> &Naive {
        &self.model
    }

    /// The entry that made a reservation what it was before the entry at `index`.
    #[must_use]
    pub fn changed_before(&self, id: ReservationId, index: u64) -> Option<u64> {
        let versions = self.reservations.get(&id)?.iter();
        versions.map(|(brought, _)| *brought).take_while(|brought| *brought < index).last()
    }

    /// A product after the entry at `index`.
    #[must_use]
    pub fn product(&self, id: ProductId, index: u64) -> Option<&ProductView> {
        self.products.get(&id)?.at(index)
    }

    /// A reservation after the entry at `index`.
    #[must_use]
    pub fn reservation(&self, id: ReservationId, index: u64) -> Option<&ReservationView> {
        self.reservations.get(&id)?.at(index)?.as_ref()
    }

    /// What a user holds and has bought of a product after the entry at `index`.
    #[must_use]
    pub fn units(&self, product: ProductId, user: UserId, index: u64) -> i64 {
        self.units.get(&(product, user)).and_then(|units| units.at(index)).copied().unwrap_or(0)
    }

    /// The feed's length, and up to where it is acknowledged, after the entry at `index`.
    #[must_use]
    pub fn feed(&self, index: u64) -> (u64, u64) {
        self.feed.at(index).copied().unwrap_or_default()
    }

    /// Every product there ever was, with its versions.
    #[must_use]
    pub fn products(&self) -> &BTreeMap<ProductId, Versions<ProductView>> {
        &self.products
    }

    /// Every reservation there ever was, with its versions.
    #[must_use]
    pub fn reservations(&self) -> &BTreeMap<ReservationId, Versions<Option<ReservationView>>> {
        &self.reservations
    }

    /// Where this very command stands in the log: indexes, and places within the entries.
    pub fn places<'a>(&'a self, command: &'a Command) -> impl Iterator<Item = ((u64, usize), &'a Done)> {
        let places = self.places.get(&key(command)).map_or(&[][..], Vec::as_slice);
        let found = places.iter().filter_map(|place| Some((*place, self.entry(place.0)?.done.get(place.1)?)));
        found.filter(move |(_, done)| done.command == *command)
    }

    /// Takes an entry in that a replica has applied, the state after it and perhaps more being `after`.
    pub(super) fn take(
        &mut self,
        entry: &LogEntry,
        at: Moment,
        cluster_time: Timestamp,
        after: Option<&Inventory>,
    ) -> Result<(), String> {
        let index = entry.index.0;
        if let Some(known) = self.entry(index) {
            return if known.term == entry.term && known.payload == entry.payload {
                Ok(())
            } else {
                let whose = if known.payload == entry.payload { "the same bytes" } else { "other bytes" };
                Err(format!(
                    "entry {index} of term {} was applied where another replica applied {whose} of term {}",
                    entry.term, known.term
                ))
            };
        }
        if index != self.last() + 1 {
            return Err(format!("entry {index} was applied, and nobody has applied {}", self.last() + 1));
        }
        self.replay(entry, at, cluster_time, after)
    }

    fn replay(
        &mut self,
        entry: &LogEntry,
        at: Moment,
        cluster_time: Timestamp,
        after: Option<&Inventory>,
    ) -> Result<(), String> {
        let index = entry.index.0;
        let mut committed = Committed {
            term: entry.term,
            payload: entry.payload.clone(),
            stamp: Timestamp(self.model.now),
            applied: at,
            cluster_time,
            checked: None,
            done: Vec::new(),
            touched: Touched::default(),
            next_deadline: self.model.next_deadline(),
        };
        if !entry.payload.is_empty() {
            let unreadable = |error: &dyn std::fmt::Display| format!("committed entry {index} cannot be read: {error}");
            let (header, commands) = entry::decode(&entry.payload).map_err(|error| unreadable(&error))?;
            committed.checked = Some((header.checked, header.hash));
            committed.stamp = header.stamp.max(committed.stamp);
            for command in commands {
                let command = command.map_err(|error| unreadable(&error))?;
                self.places.entry(key(&command)).or_default().push((index, committed.done.len()));
                let outcome = self.apply(committed.stamp, &command, after);
                committed.done.push(Done { command, outcome });
            }
        }
        committed.touched = self.model.take_touched();
        self.keep(index, &committed.touched);
        self.entries.push(committed);
        Ok(())
    }

    fn apply(&mut self, stamp: Timestamp, command: &Command, after: Option<&Inventory>) -> Outcome {
        let now = stamp.0;
        let (Command::Expire, Some(after)) = (command, after) else { return self.model.apply(now, command) };
        let (live, over) = self.model.due(now);
        let expired: Vec<_> = live.into_iter().filter(|id| was_expired(after, *id, stamp)).collect();
        let room = self.model.limits.expiries_per_entry.saturating_sub(expired.len());
        let known = &self.model.reservations;
        let gone = over.into_iter().filter(|id| {
            let then = known.get(id).map(|made| made.view.created_at);
            after.find(*id).ok().is_none_or(|now| Some(now.created_at) != then)
        });
        let forgotten: Vec<_> = gone.take(room).collect();
        self.model.expire(now, &expired, &forgotten);
        let count = u32::try_from(expired.len()).unwrap_or(u32::MAX);
        Ok(Reply::Expired(count))
    }

    fn keep(&mut self, index: u64, touched: &Touched) {
        for id in &touched.products {
            self.products.entry(*id).or_default().push(index, self.model.product_view(*id));
        }
        for id in &touched.reservations {
            let view = self.model.reservations.get(id).map(|made| made.view);
            self.reservations.entry(*id).or_default().push(index, view);
        }
        for (product, user) in &touched.users {
            let units = self.model.units_of(*user, *product);
            self.units.entry((*product, *user)).or_default().push(index, units);
        }
        let feed = (self.model.feed.len() as u64, self.model.acknowledged);
        if self.feed.last() != Some(&feed) {
            self.feed.push(index, feed);
        }
    }
}

/// Whether one that was due was expired by the entry with this stamp, as far as a later state tells.
fn was_expired(after: &Inventory, id: ReservationId, stamp: Timestamp) -> bool {
    match after.find(id) {
        Ok(view) if view.state.is_live() => false,
        Ok(view) if view.state == ReservationState::Expired => view.changed_at <= stamp,
        Ok(_) | Err(_) => true,
    }
}

/// What this command is known by.
#[must_use]
pub fn key(command: &Command) -> Key {
    match command {
        Command::CreateProduct(spec) => (0, u128::from(spec.product.0)),
        Command::AdjustStock(adjust) => (1, adjust.operation.0),
        Command::SetStock(set) => (2, set.operation.0),
        Command::ChangeSale(change) => (3, change.operation.0),
        Command::Reserve(reserve) => (4, reserve.reservation.0),
        Command::BeginPayment(payment) => (5, payment.target.reservation.0),
        Command::PaymentFailed(payment) => (6, payment.target.reservation.0),
        Command::Confirm(target) => (7, target.reservation.0),
        Command::Release(target) => (8, target.reservation.0),
        Command::Extend(extend) => (9, extend.operation.0),
        Command::LatePayment(late) => (10, late.target.reservation.0),
        Command::RefundDone(target) => (11, target.reservation.0),
        Command::AcknowledgeFeed { through, .. } => (12, u128::from(through.0)),
        Command::Expire => (13, 0),
        Command::Cancel(cancel) => (14, cancel.target.reservation.0),
    }
}
