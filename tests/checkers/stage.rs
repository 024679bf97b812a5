//! A stage for checkers: three replicas of a shard, which apply what the test says, and a history as it says.

use std::collections::BTreeMap;

use doorbuster_inventory::{Inventory, Limits};
use doorbuster_protocol::command::{Command, LatePaymentPolicy, ProductSpec, Reserve, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{
    Currency, LogIndex, Millis, Money, NodeId, ProductId, Quantity, ReservationId, ShardId, StateHash, Timestamp,
    UserId,
};
use doorbuster_server::shard::entry::{Builder, Header};

use super::ledger::Ledger;
use super::{Checker, Config, SharedLedger, StateMachineSafety, Violation};
use crate::history::{Heard, History, Moment, Operation};
use crate::model::Outcome;
use crate::observation::{LogEntry, Observation, Seen};

/// Cluster time at the moment 0.
pub(crate) const EPOCH: u64 = 1_763_800_000_000;
/// The only shard.
pub(crate) const SHARD: ShardId = ShardId(0);
/// Its nodes.
pub(crate) const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// See the module.
pub(crate) struct Stage {
    checkers: Vec<Box<dyn Checker>>,
    pub(crate) replicas: BTreeMap<NodeId, Inventory>,
    pub(crate) log: Vec<LogEntry>,
    pub(crate) history: History,
    pub(crate) now: Moment,
    pub(crate) term: u64,
    applied: BTreeMap<NodeId, usize>,
}

impl Stage {
    /// With these checkers, and the one that keeps their ledger before them.
    pub(crate) fn new(checkers: impl FnOnce(SharedLedger) -> Vec<Box<dyn Checker>>) -> Self {
        Self::with(Config::default(), checkers)
    }

    /// The same, in such a world.
    pub(crate) fn with(config: Config, checkers: impl FnOnce(SharedLedger) -> Vec<Box<dyn Checker>>) -> Self {
        let ledger = Ledger::shared(config);
        let mut all: Vec<Box<dyn Checker>> = vec![Box::new(StateMachineSafety::new(SharedLedger::clone(&ledger)))];
        all.extend(checkers(ledger));
        Self {
            checkers: all,
            replicas: NODES.iter().map(|node| (*node, Inventory::new(SHARD, Limits::default()))).collect(),
            log: Vec::new(),
            history: History::default(),
            now: Moment(0),
            term: 1,
            applied: BTreeMap::new(),
        }
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now.0 += ms * 1_000_000;
    }

    /// Cluster time.
    pub(crate) fn time(&self) -> Timestamp {
        Timestamp(EPOCH + self.now.0 / 1_000_000)
    }

    /// Shows something to the checkers.
    pub(crate) fn show(&mut self, what: Observation<'_>) -> Result<(), Violation> {
        let seen = Seen { at: self.now, what };
        self.checkers.iter_mut().try_for_each(|checker| checker.see(&seen))
    }

    /// An entry with these commands, stamped now.
    pub(crate) fn entry(&self, commands: &[Command]) -> LogEntry {
        let mut entry = Builder::new(Header { stamp: self.time(), checked: LogIndex(0), hash: StateHash(0) });
        commands.iter().for_each(|command| entry.push(command));
        LogEntry { index: LogIndex(self.log.len() as u64 + 1), term: self.term, payload: entry.finish() }
    }

    /// The leader, node 1, appends an entry, and all replicas apply it. What it came to there.
    pub(crate) fn run(&mut self, commands: &[Command]) -> Result<Vec<Outcome>, Violation> {
        let entry = self.entry(commands);
        self.log.push(entry.clone());
        for node in NODES {
            let entries = std::slice::from_ref(&entry);
            self.show(Observation::Appends { node, shard: SHARD, entries, hard_state: None })?;
        }
        let mut outcomes = Vec::new();
        for node in NODES {
            let of_node = self.apply(node, commands)?;
            if outcomes.is_empty() {
                outcomes = of_node;
            }
        }
        Ok(outcomes)
    }

    /// A replica applies the last entry, whose commands these are, or says so.
    pub(crate) fn apply(&mut self, node: NodeId, commands: &[Command]) -> Result<Vec<Outcome>, Violation> {
        let (time, index) = (self.time(), LogIndex(self.log.len() as u64));
        let replica = self.replicas.get_mut(&node).unwrap();
        let outcomes = commands.iter().map(|command| replica.apply(index, time, command)).collect();
        self.shown(node)?;
        Ok(outcomes)
    }

    /// A replica is shown, with the entries that it has not been shown with.
    pub(crate) fn shown(&mut self, node: NodeId) -> Result<(), Violation> {
        let from = self.applied.insert(node, self.log.len()).unwrap_or(0);
        self.shown_with(node, from)
    }

    /// A replica is shown without entries.
    pub(crate) fn shown_bare(&mut self, node: NodeId) -> Result<(), Violation> {
        self.shown_with(node, self.log.len())
    }

    fn shown_with(&mut self, node: NodeId, from: usize) -> Result<(), Violation> {
        let (cluster_time, entries) = (self.time(), &self.log[from..]);
        let what = Observation::Applied { node, shard: SHARD, entries, inventory: &self.replicas[&node], cluster_time };
        let seen = Seen { at: self.now, what };
        self.checkers.iter_mut().try_for_each(|checker| checker.see(&seen))
    }

    /// Notes an operation that was called `before` ms ago and has returned now.
    pub(crate) fn heard(&mut self, body: RequestBody, heard: Heard, before: u64) -> Result<(), Violation> {
        let client = u32::try_from(self.history.operations.len()).unwrap();
        let called = Moment(self.now.0 - before * 1_000_000);
        let operation = Operation { client, called, returned: Some(self.now), body, heard };
        self.history.operations.push(operation.clone());
        self.show(Observation::Heard { operation: &operation })
    }

    /// Runs a command, as one whose caller hears the outcome after 2 ms.
    pub(crate) fn command(&mut self, command: &Command) -> Result<Outcome, Violation> {
        self.pass(1);
        let outcome = self.run(std::slice::from_ref(command))?.remove(0);
        self.pass(1);
        self.heard(RequestBody::Command(command.clone()), heard(&outcome), 2)?;
        Ok(outcome)
    }

    /// Reads, from node 1.
    pub(crate) fn query(&mut self, query: Query) -> Result<Heard, Violation> {
        let (inventory, time) = (&self.replicas[&NODES[0]], self.time());
        let heard = heard(&read(inventory, &query, time));
        self.heard(RequestBody::Query(query), heard.clone(), 0)?;
        Ok(heard)
    }

    /// The run is over.
    pub(crate) fn conclude(&mut self) -> Result<(), Violation> {
        self.checkers.iter_mut().try_for_each(|checker| checker.conclude(&self.history))
    }
}

pub(crate) fn heard(outcome: &Outcome) -> Heard {
    match outcome {
        Ok(reply) => Heard::Reply(reply.clone()),
        Err(refusal) => Heard::Refused(*refusal),
    }
}

/// What a leader with this state answers to a read.
pub(crate) fn read(inventory: &Inventory, query: &Query, time: Timestamp) -> Outcome {
    use doorbuster_protocol::reply::{ProductReply, ReservationReply};
    let reservation = |found: Result<_, Refusal>| {
        found.map(|reservation| Reply::Reservation(ReservationReply { replayed: false, time, reservation }))
    };
    match query {
        Query::Reservation(target) => reservation(inventory.reservation(target)),
        Query::FindReservation { reservation: id, .. } => reservation(inventory.find(*id)),
        Query::Product(id) => {
            let product = inventory.product(*id)?;
            Ok(Reply::Product(Box::new(ProductReply { replayed: false, time, product })))
        }
        Query::Products { after, limit, .. } => Ok(Reply::Products(inventory.products(*after, *limit))),
        Query::Reservations { after, limit, .. } => Ok(Reply::Reservations(inventory.reservations(*after, *limit))),
        Query::Unsettled { of, after, limit, .. } => {
            Ok(Reply::Unsettled(inventory.unsettled(*of, *after, *limit, time)))
        }
        Query::Feed { after, limit, .. } => Ok(Reply::Feed(inventory.feed(*after, *limit))),
        Query::Audit { .. } | Query::Status | Query::ShardMap => unreachable!("not read on this stage"),
    }
}

/// A product with so many units, held for a second.
pub(crate) fn product(id: u64, stock: u32) -> Command {
    Command::CreateProduct(Box::new(ProductSpec {
        product: ProductId(id),
        name: "phone".to_owned(),
        stock: Quantity(stock),
        price: Money { minor: 100, currency: Currency(*b"EUR") },
        limit_per_user: Quantity(0),
        limit_per_reservation: Quantity(0),
        ttl: Millis(1000),
        max_life: Millis(5000),
        payment_cap: Millis(2000),
        opens_at: Timestamp(0),
        closes_at: Timestamp(0),
        late_payment: LatePaymentPolicy::RetakeOrRefund,
    }))
}

/// A reserve of a unit of product 1, by the user of the same number.
pub(crate) fn reserve(id: u128) -> Command {
    Command::Reserve(Reserve {
        product: ProductId(1),
        reservation: ReservationId(id),
        user: UserId(id),
        quantity: Quantity(1),
        ttl: Millis(0),
    })
}

/// A reservation of product 1.
pub(crate) fn target(id: u128) -> Target {
    Target { product: ProductId(1), reservation: ReservationId(id), user: UserId(0) }
}

/// The name of the property that is violated.
pub(crate) fn property<T: std::fmt::Debug>(result: Result<T, Violation>) -> &'static str {
    result.expect_err("a violation").property
}
