//! A shard's inventory as the replicated state machine: takes log entries apart, compares digests, applies.
//!
//! What it does depends on the entries alone. That its digest differs from an entry's proposer's is noted, for the
//! replicas to find out whose is right (`dispute`). A replica that was found wrong, or that cannot read an entry that a
//! quorum has accepted, applies nothing more and says so: wrong counts are worse than none.

use std::io;

use doorbuster_inventory::{AHEAD, Frozen as FrozenInventory, Inventory, Limits};
use doorbuster_protocol::command::Command;
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::types::{LogIndex, ReservationId, ShardId, StateHash, Timestamp};
use doorbuster_raft::{Frozen, StateMachine};

use super::dispute::Known;
use super::entry::{self, HashRing};
use super::vote::Digest;

/// One shard's state and what is needed to compare it with the other replicas'.
pub struct Machine {
    shard: ShardId,
    limits: Limits,
    inventory: Inventory,
    recent: HashRing,
    keep_results: bool,
    difference: Option<Difference>,
    diverged: Option<String>,
    applied_bytes: u64,
    restored: bool,
}

/// An entry's proposer had another state than this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// This replica's digest where they were compared.
    pub own: Digest,
    /// The proposer's.
    pub proposers: StateHash,
    /// The entry that told.
    pub entry: LogIndex,
}

/// What one log entry did.
#[derive(Debug, Default)]
pub struct EntryOutcome {
    /// The entry's cluster time.
    pub time: Timestamp,
    /// One result a command, in order; empty when nobody waits for them here.
    pub results: Vec<Result<Reply, Refusal>>,
    /// Reservations that it made.
    pub made: Vec<ReservationId>,
}

impl Machine {
    /// An empty shard.
    #[must_use]
    pub fn new(shard: ShardId, limits: Limits) -> Self {
        Self::of(shard, limits, Inventory::new(shard, limits))
    }

    /// A shard as a snapshot has it.
    ///
    /// # Errors
    /// The snapshot is damaged or another shard's.
    pub fn restored(shard: ShardId, limits: Limits, snapshot: &[u8]) -> Result<Self, String> {
        let inventory = Inventory::restore(shard, limits, snapshot).map_err(|error| error.to_string())?;
        Ok(Self::of(shard, limits, inventory))
    }

    fn of(shard: ShardId, limits: Limits, inventory: Inventory) -> Self {
        let mut recent = HashRing::default();
        recent.note(inventory.applied(), inventory.state_hash());
        Self {
            shard,
            limits,
            inventory,
            recent,
            keep_results: false,
            difference: None,
            diverged: None,
            applied_bytes: 0,
            restored: true,
        }
    }

    /// The shard's state.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// The shard's state, for the parts of its interface that note what the gate has seen.
    pub fn inventory_mut(&mut self) -> &mut Inventory {
        &mut self.inventory
    }

    /// Whether entries' results are kept for waiters (a leader's) or dropped (a follower's).
    pub fn keep_results(&mut self, keep: bool) {
        self.keep_results = keep;
    }

    /// Bytes of all entries applied since the start.
    #[must_use]
    pub fn applied_bytes(&self) -> u64 {
        self.applied_bytes
    }

    /// Whether the whole state is new since the last call: from a snapshot, or because the process started.
    pub fn take_restored(&mut self) -> bool {
        std::mem::take(&mut self.restored)
    }

    /// Why this replica serves no more, if so.
    #[must_use]
    pub fn diverged(&self) -> Option<&str> {
        self.diverged.as_deref()
    }

    /// This replica's state is wrong, as far as the replicas could find out: from now on it applies nothing.
    pub fn diverge(&mut self, reason: String) {
        self.diverged.get_or_insert(reason);
    }

    /// The first difference from a proposer since the last call.
    pub fn take_difference(&mut self) -> Option<Difference> {
        self.difference.take()
    }

    /// The digest of the present state.
    #[must_use]
    pub fn latest(&self) -> Digest {
        Digest { index: self.inventory.applied(), hash: self.inventory.state_hash() }
    }

    /// What is known of this replica's digest at an index.
    #[must_use]
    pub fn known(&self, index: LogIndex) -> Known {
        if index > self.inventory.applied() {
            return Known::NotYet;
        }
        self.recent.at(index).map_or(Known::Forgotten, Known::Hash)
    }

    fn compare(&mut self, entry: LogIndex, header: &entry::Header) {
        let Some(hash) = self.recent.at(header.checked).filter(|ours| *ours != header.hash) else { return };
        let own = Digest { index: header.checked, hash };
        self.difference.get_or_insert(Difference { own, proposers: header.hash, entry });
    }

    fn apply_entry(&mut self, index: LogIndex, data: &[u8]) -> Result<EntryOutcome, String> {
        let (header, commands) = entry::decode(data).map_err(|error| self.unreadable(index, &error))?;
        self.compare(index, &header);
        // A new leader may propose before it has applied everything of its predecessors', whose stamps
        // may be later than its own. All replicas see the same two numbers here.
        let time = header.stamp.max(self.inventory.time());
        let commands: Vec<_> = commands.collect::<Result<_, _>>().map_err(|error| self.unreadable(index, &error))?;
        let mut outcome = EntryOutcome { time, ..EntryOutcome::default() };
        outcome.made.reserve(commands.len());
        outcome.results.reserve(if self.keep_results { commands.len() } else { 0 });
        for some in commands.chunks(AHEAD) {
            self.inventory.anticipate(some);
            for command in some {
                self.apply_command(index, time, command, &mut outcome);
            }
        }
        self.recent.note(self.inventory.applied(), self.inventory.state_hash());
        self.applied_bytes += data.len() as u64;
        Ok(outcome)
    }

    fn apply_command(&mut self, index: LogIndex, time: Timestamp, command: &Command, outcome: &mut EntryOutcome) {
        // A late payment makes a reservation, too, if none is known.
        let may_make = match command {
            Command::Reserve(reserve) => Some(reserve.reservation),
            Command::LatePayment(late) => Some(late.target.reservation).filter(|id| !self.inventory.knows(*id)),
            _ => None,
        };
        let result = self.inventory.apply(index, time, command);
        if let Ok(Reply::Reservation(reply)) = &result
            && !reply.replayed
        {
            outcome.made.extend(may_make);
        }
        if self.keep_results {
            outcome.results.push(result);
        }
    }

    fn unreadable(&self, index: LogIndex, error: &entry::EntryError) -> String {
        format!("shard {}: committed entry {index} cannot be read: {error}", self.shard)
    }
}

impl StateMachine for Machine {
    type Outcome = EntryOutcome;

    fn apply(&mut self, index: u64, data: &[u8]) -> EntryOutcome {
        if self.diverged.is_some() {
            return EntryOutcome::default();
        }
        self.apply_entry(LogIndex(index), data).unwrap_or_else(|reason| {
            self.diverged = Some(reason);
            EntryOutcome::default()
        })
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        Box::new(FrozenMachine(self.inventory.freeze()))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let restored = Self::restored(self.shard, self.limits, snapshot)?;
        *self = Self { keep_results: self.keep_results, applied_bytes: self.applied_bytes, ..restored };
        Ok(())
    }
}

struct FrozenMachine(FrozenInventory);

impl Frozen for FrozenMachine {
    fn write_to(self: Box<Self>, out: &mut dyn io::Write) -> io::Result<()> {
        self.0.write_to(out)
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::command::{AdjustStock, LatePayment, LatePaymentPolicy, ProductSpec, Target};
    use doorbuster_protocol::types::{Currency, Millis, Money, OperationId, ProductId, Quantity, StateHash, UserId};

    use super::*;
    use crate::shard::entry::{Builder, Header};

    fn machine() -> Machine {
        Machine::new(ShardId(3), Limits::default())
    }

    fn adjust(operation: u128) -> Command {
        Command::AdjustStock(AdjustStock { operation: OperationId(operation), product: ProductId(1), delta: 1 })
    }

    fn payload(stamp: u64, checked: (LogIndex, StateHash), commands: &[Command]) -> bytes::Bytes {
        let header = Header { stamp: Timestamp(stamp), checked: checked.0, hash: checked.1 };
        let mut entry = Builder::new(header);
        commands.iter().for_each(|command| entry.push(command));
        entry.finish()
    }

    fn now(machine: &Machine) -> (LogIndex, StateHash) {
        (machine.inventory().applied(), machine.inventory().state_hash())
    }

    #[test]
    fn results_are_kept_for_a_leader_only() {
        for keep in [true, false] {
            let mut machine = machine();
            machine.keep_results(keep);
            let entry = payload(5, now(&machine), &[adjust(1), adjust(2)]);
            let outcome = machine.apply(1, &entry);
            let expected = if keep { vec![Err(Refusal::UnknownProduct); 2] } else { Vec::new() };
            assert_eq!((outcome.time, outcome.results), (Timestamp(5), expected));
        }
    }

    #[test]
    fn a_reservation_that_a_late_payment_makes_is_told_of_once() {
        let product = ProductId(1);
        let create = Command::CreateProduct(Box::new(ProductSpec {
            product,
            name: "phone".into(),
            stock: Quantity(0),
            price: Money { minor: 1, currency: Currency(*b"EUR") },
            limit_per_user: Quantity(0),
            limit_per_reservation: Quantity(0),
            ttl: Millis(1000),
            max_life: Millis(1000),
            payment_cap: Millis(1000),
            opens_at: Timestamp(0),
            closes_at: Timestamp(0),
            late_payment: LatePaymentPolicy::default(),
        }));
        let target = Target { product, reservation: ReservationId(7), user: UserId(1) };
        let late = Command::LatePayment(LatePayment { target, quantity: Quantity(1) });
        let mut machine = machine();
        let entry = payload(5, now(&machine), &[create, late.clone()]);
        assert_eq!(machine.apply(1, &entry).made, [ReservationId(7)]);
        assert_eq!(machine.apply(2, &payload(6, now(&machine), &[late])).made, []);
    }

    #[test]
    fn stamps_never_go_back_whoever_proposes() {
        let mut machine = machine();
        for (index, (stamp, expected)) in [(50, 50), (20, 50), (0, 50), (60, 60)].into_iter().enumerate() {
            let entry = payload(stamp, now(&machine), &[adjust(1)]);
            assert_eq!(machine.apply(index as u64 + 1, &entry).time, Timestamp(expected));
        }
    }

    #[test]
    fn a_difference_from_the_proposer_is_noted_and_one_that_diverged_applies_nothing() {
        let mut machine = machine();
        machine.keep_results(true);
        let entry = payload(5, now(&machine), &[adjust(1)]);
        machine.apply(7, &entry);
        let (index, hash) = now(&machine);
        // An index that is not known any more, or never was, is not compared.
        machine.apply(8, &payload(5, (LogIndex(2), StateHash(1)), &[adjust(1)]));
        assert_eq!(machine.take_difference(), None);
        let proposers = StateHash(hash.0 ^ 1);
        assert_eq!(machine.apply(9, &payload(6, (index, proposers), &[adjust(2)])).results.len(), 1);
        machine.apply(10, &payload(6, (LogIndex(8), StateHash(3)), &[adjust(2)]));
        let first = Difference { own: Digest { index, hash }, proposers, entry: LogIndex(9) };
        assert_eq!((machine.take_difference(), machine.take_difference()), (Some(first), None));
        assert_eq!((machine.known(index), machine.known(LogIndex(2))), (Known::Hash(hash), Known::Forgotten));
        assert_eq!(machine.known(LogIndex(11)), Known::NotYet);
        machine.diverge("it was outvoted".to_owned());
        let entry = payload(9, now(&machine), &[adjust(3)]);
        assert!(machine.apply(11, &entry).results.is_empty());
        assert_eq!(machine.inventory().applied(), LogIndex(10), "nothing is applied any more");
        assert_eq!(machine.diverged(), Some("it was outvoted"));
    }

    #[test]
    fn an_entry_that_cannot_be_read_stops_the_replica() {
        let mut machine = machine();
        let entry = payload(5, now(&machine), &[adjust(1)]);
        machine.apply(4, &entry[..entry.len() - 1]);
        assert!(machine.diverged().is_some_and(|reason| reason.contains("entry 4")));
    }
}
