//! The inventory against the naive one: random commands, every reply, every query, the units of every
//! product after every command; snapshots taken, written later and restored in between. A twin that is
//! never restored has the same state hash at every index, and the same snapshot.
//!
//! `MODEL_SEED=17 cargo test -p doorbuster-inventory --test model` runs one seed.

#[allow(dead_code)] // what only the checkers ask it
#[path = "../../../../tests/model/mod.rs"]
mod naive;
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use doorbuster_inventory::{Frozen, Inventory, Limits};
use doorbuster_protocol::command::{Command, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::query::{Changed, Unsettled};
use doorbuster_protocol::reply::{Reply, ReservationState, ReservationView, UnsettledPage};
use doorbuster_protocol::types::{
    FeedPosition, LogIndex, Millis, ProductId, ReservationId, ShardId, Timestamp, UserId,
};

use naive::Naive;
use random::Random;

const SHARD: ShardId = ShardId(3);
const SEEDS: u64 = 100;
const COMMANDS: u64 = 1200;

#[test]
fn agrees_with_the_naive_inventory() {
    if let Ok(seed) = env::var("MODEL_SEED") {
        run(seed.parse().expect("MODEL_SEED is a number"));
        return;
    }
    let mut seen = BTreeMap::new();
    for seed in 0..SEEDS {
        for (outcome, times) in run(seed) {
            *seen.entry(outcome).or_default() += times;
        }
    }
    for outcome in OUTCOMES {
        let times: u64 = seen.get(outcome).copied().unwrap_or_default();
        assert!(times >= 20, "{outcome} came up {times} times: the commands do not try it");
    }
}

/// Runs one seed. Says how often each outcome came up.
fn run(seed: u64) -> BTreeMap<String, u64> {
    let mut trial = Trial::new(seed);
    trial.open_sales();
    for step in 0..COMMANDS {
        trial.step(step);
    }
    trial.compare_listings();
    trial.compare_audit();
    trial.seen
}

/// What the random commands must have come to.
const OUTCOMES: [&str; 43] = [
    "SoldOut",
    "AllHeld",
    "InsufficientStock",
    "LimitReached",
    "QuantityTooLarge",
    "NotOpen",
    "Closed",
    "Paused",
    "UnknownProduct",
    "UnknownReservation",
    "ConflictingRetry",
    "ReservationExpired",
    "ReservationReleased",
    "AlreadyConfirmed",
    "PaymentInProgress",
    "PaymentNotInProgress",
    "Refunding",
    "NoRefundDue",
    "LifeLimitReached",
    "StockBelowCommitted",
    "StockMismatch",
    "StockTooLarge",
    "ProductExists",
    "CapacityReached",
    "InvalidArgument",
    "FeedPositionUnknown",
    "Expired",
    "FeedAcknowledged",
    "Product, new",
    "Product, replayed",
    "held, new",
    "held, replayed",
    "paying, new",
    "paying, replayed",
    "confirmed, new",
    "confirmed, replayed",
    "released, new",
    "released, replayed",
    "expired, replayed",
    "refund_due, new",
    "refund_due, replayed",
    "refunded, new",
    "refunded, replayed",
];

fn name_of(outcome: &Result<Reply, Refusal>) -> String {
    let age = |replayed| if replayed { "replayed" } else { "new" };
    match outcome {
        Ok(Reply::Reservation(reply)) => format!("{}, {}", reply.reservation.state.name(), age(reply.replayed)),
        Ok(Reply::Product(reply)) => format!("Product, {}", age(reply.replayed)),
        Ok(other) => first_word(&format!("{other:?}")),
        Err(refusal) => first_word(&format!("{refusal:?}")),
    }
}

fn first_word(text: &str) -> String {
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

struct Trial {
    seed: u64,
    random: Random,
    inventory: Inventory,
    /// Gets the same commands and is never restored.
    twin: Inventory,
    naive: Naive,
    /// A snapshot that is yet to be written, and the bytes it must be written as.
    frozen: Option<(Frozen, Vec<u8>)>,
    /// Payments are begun and declined again and again.
    pays: bool,
    commands: Vec<Command>,
    /// What was applied, when.
    recent: Vec<String>,
    seen: BTreeMap<String, u64>,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let limits = Limits {
            products: 4,
            reservations: if random.one_in(3) { 12 } else { 50 },
            operations: if random.one_in(3) { 5 } else { 100 },
            expiries_per_entry: if random.one_in(2) { 2 } else { 4096 },
            retention: Millis(if random.one_in(2) { 2_000 } else { 100_000 }),
        };
        let mut naive = Naive::new(limits);
        naive.now = if random.one_in(2) { random.below(3000) } else { 1_763_800_000_000 };
        Self {
            seed,
            random,
            inventory: Inventory::new(SHARD, limits),
            twin: Inventory::new(SHARD, limits),
            naive,
            frozen: None,
            pays: seed.is_multiple_of(4),
            commands: Vec::new(),
            recent: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: u64) {
        let now = self.naive.now + random::pause(&mut self.random);
        let command = self.command();
        self.recent.push(format!("{step} at {now}: {command:?}"));
        self.apply(LogIndex(step / 3), now, &command);
        self.compare_state();
        if self.random.one_in(10) {
            self.compare_listings();
        }
        if self.random.one_in(25) {
            self.compare_audit();
            assert!(self.naive.adds_up(), "{}", self.told("the naive inventory's own tallies"));
        }
        if self.random.one_in(40) {
            self.snapshot();
        }
        if self.random.one_in(20)
            && let Some((frozen, expected)) = self.frozen.take()
        {
            assert!(written(frozen) == expected, "{}", self.told("a frozen state changed before it was written"));
        }
    }

    /// A new command, or one of the last ones again.
    fn command(&mut self) -> Command {
        let last = self.commands.len() as u64;
        if last > 0 && self.random.one_in(12) {
            let back = usize::try_from(self.random.below(last.min(30))).unwrap();
            return self.commands[self.commands.len() - 1 - back].clone();
        }
        let in_turn = if self.pays && self.random.one_in(2) {
            random::payment_in_turn(&mut self.random, &self.naive)
        } else {
            None
        };
        let command = in_turn.unwrap_or_else(|| random::command(&mut self.random, &self.naive));
        self.commands.push(command.clone());
        command
    }

    fn open_sales(&mut self) {
        for product in (1..4).map(ProductId) {
            let mut spec = random::plain_spec(&mut self.random, product);
            if self.random.one_in(5) {
                spec.opens_at = Timestamp(self.naive.now + self.random.below(1500));
            }
            self.apply(LogIndex(0), self.naive.now, &Command::CreateProduct(Box::new(spec)));
        }
    }

    fn apply(&mut self, index: LogIndex, now: u64, command: &Command) {
        if *command == Command::Expire {
            return self.expire(index, now);
        }
        let predicted = match command {
            Command::Reserve(reserve) => Some(self.inventory.refuse_reserve(Timestamp(now), reserve)),
            _ => None,
        };
        let before = self.naive.clone();
        let got = self.inventory.apply(index, Timestamp(now), command);
        let of_twin = self.twin.apply(index, Timestamp(now), command);
        let expected = self.naive.apply(now, command);
        self.equal(&got, &expected, "reply");
        self.equal(&of_twin, &expected, "twin's reply");
        *self.seen.entry(name_of(&expected)).or_default() += 1;
        if let Some(predicted) = predicted {
            self.equal(&predicted, &expected.err(), "refusal of a reserve, asked before");
        }
        self.compare_touched(&before);
    }

    /// Which of those due an `Expire` takes is the inventory's to say; that they were due, how many, and that none is
    /// left over when it says that there is no more to do, is not.
    fn expire(&mut self, index: LogIndex, now: u64) {
        let reply = self.inventory.apply(index, Timestamp(now), &Command::Expire);
        let of_twin = self.twin.apply(index, Timestamp(now), &Command::Expire);
        self.equal(&of_twin, &reply, "twin's reply");
        let (live, over) = self.naive.due(now);
        let state = |id: &ReservationId| self.inventory.find(*id).map(|view| view.state);
        let gone =
            |id: &&ReservationId| state(id) != Ok(ReservationState::Held) && state(id) != Ok(ReservationState::Paying);
        let expired: Vec<_> = live.iter().filter(gone).copied().collect();
        let forgotten: Vec<_> = over.iter().filter(|id| !self.inventory.knows(**id)).copied().collect();
        *self.seen.entry(name_of(&reply)).or_default() += 1;
        self.equal(&reply, &Ok(Reply::Expired(u32::try_from(expired.len()).unwrap())), "number expired");
        let limit = self.naive.limits.expiries_per_entry;
        assert!(expired.len() + forgotten.len() <= limit, "{}", self.told("more work than an entry may do"));
        self.naive.expire(now, &expired, &forgotten);
        let done = self.inventory.next_deadline().is_none_or(|next| next > Timestamp(now));
        let (live, over) = self.naive.due(now);
        let left = !live.is_empty() || !over.is_empty() || self.naive.operation_due(now);
        assert!(!(done && left), "{}", self.told("it says that nothing is due, and something is"));
    }

    fn compare_state(&self) {
        self.equal(&self.inventory.state_hash(), &self.twin.state_hash(), "state hash of the twin");
        for id in (0..6).map(ProductId) {
            let expected = self.naive.products.contains_key(&id).then(|| self.naive.product_view(id));
            self.equal(&self.inventory.product(id).ok(), &expected, "product");
            let Some(view) = expected else { continue };
            let claimed = u64::from(view.held.0) + u64::from(view.sold.0);
            self.equal(&u64::from(view.spec.stock.0), &(u64::from(view.available.0) + claimed), "stock");
            let gate = self.inventory.gate_view(id).unwrap();
            let numbers = (gate.available, gate.held, gate.sold, gate.sale, gate.next_expiry);
            self.equal(&numbers, &(view.available, view.held, view.sold, view.sale, view.next_expiry), "gate's view");
        }
        for id in (0..80).map(ReservationId) {
            let expected = self.naive.reservations.get(&id).map(|made| made.view);
            self.equal(&self.inventory.find(id).ok(), &expected, "reservation");
            self.equal(&self.inventory.knows(id), &expected.is_some(), "whether it is known");
        }
        let first_due = self.naive.reservations.values().map(|made| made.view);
        let first_due = first_due.filter(|view| view.state.is_live()).map(|view| view.expires_at).min();
        if let Some(due) = first_due {
            let next = self.inventory.next_deadline();
            assert!(next.is_some_and(|next| next <= due), "{}", self.told("the next deadline is late"));
        }
    }

    fn compare_touched(&mut self, before: &Naive) {
        let mut touched = Vec::new();
        self.inventory.drain_touched(&mut |product| touched.push(product));
        let changed = self.naive.products.keys().filter(|id| {
            !before.products.contains_key(id) || before.product_view(**id) != self.naive.product_view(**id)
        });
        for id in changed {
            assert!(touched.contains(id), "{}", self.told("a product changed and was not named"));
        }
    }

    fn compare_listings(&self) {
        let naive = &self.naive;
        let after = ReservationId(20);
        let views = naive.reservations.values().map(|made| made.view);
        let page: Vec<_> = views.filter(|view| view.reservation > after).take(7).collect();
        self.equal(&self.inventory.reservations(after, 7), &page, "page of reservations");
        let products: Vec<_> = naive.products.keys().skip_while(|id| id.0 <= 1).take(2).collect();
        let products: Vec<_> = products.into_iter().map(|id| naive.product_view(*id)).collect();
        self.equal(&self.inventory.products(ProductId(1), 2), &products, "page of products");
        let ids: BTreeSet<_> = self.inventory.reservation_ids().collect();
        self.equal(&ids, &naive.reservations.keys().copied().collect(), "ids");
        self.equal(&self.inventory.reservation_ids().len(), &ids.len(), "number of ids");
        for view in naive.reservations.values().map(|made| made.view) {
            let target = Target { product: view.product, reservation: view.reservation, user: view.user };
            self.equal(&self.inventory.reservation(&target), &Ok(view), "reservation by its owner");
            let stranger = Target { user: UserId(77), ..target };
            self.equal(&self.inventory.reservation(&stranger), &Err(Refusal::UnknownReservation), "by another");
        }
        self.compare_unsettled();
        let last = naive.feed.len() as u64;
        for after in [0, naive.acknowledged, last.saturating_sub(2), last, u64::MAX] {
            let page = self.inventory.feed(FeedPosition(after), 5);
            let behind = naive.feed.iter().filter(|entry| entry.position.0 > after.max(naive.acknowledged));
            self.equal(&page.entries, &behind.take(5).copied().collect(), "page of the feed");
            self.equal(&(page.acknowledged.0, page.last.0), &(naive.acknowledged, last), "ends of the feed");
        }
    }

    fn compare_unsettled(&self) {
        for of in [Unsettled::Payments, Unsettled::Refunds] {
            let all = self.naive.unsettled(of);
            let place = |view: &ReservationView| Changed { at: view.changed_at, reservation: view.reservation };
            let middle = all.get(all.len() / 2).map(place).unwrap_or_default();
            for (after, limit) in [(Changed::default(), 4096), (Changed::default(), 2), (middle, 3)] {
                let page = self.inventory.unsettled(of, after, limit, Timestamp(5));
                let behind = all.iter().filter(|view| place(view) > after).take(limit as usize).copied();
                let (time, total) = (Timestamp(5), all.len() as u64);
                let expected = UnsettledPage { time, total, reservations: behind.collect() };
                self.equal(&page, &expected, "page of what is unsettled");
            }
        }
    }

    fn compare_audit(&self) {
        let report = self.inventory.audit();
        self.equal(&report.problems, &Vec::new(), "problems");
        self.equal(&report.state_hash, &report.recounted_hash, "recounted hash");
        let confirmed = self.naive.reservations.values().filter(|made| made.view.state == ReservationState::Confirmed);
        self.equal(&report.confirmed, &(confirmed.count() as u64), "confirmed");
        for (count, id) in report.products.iter().zip(self.naive.products.keys()) {
            let counted =
                (count.product, i64::from(count.available.0), i64::from(count.held.0), i64::from(count.sold.0));
            let expected = (*id, self.naive.available(*id), self.naive.held(*id), self.naive.sold(*id));
            self.equal(&counted, &expected, "recounted product");
        }
    }

    /// Freezes, writes, restores, and goes on with what was restored.
    fn snapshot(&mut self) {
        let bytes = written(self.inventory.freeze());
        assert!(bytes == written(self.twin.freeze()), "{}", self.told("the twin's snapshot differs"));
        let restored = Inventory::restore(SHARD, self.naive.limits, &bytes);
        let mut restored = restored.unwrap_or_else(|error| panic!("{}: {error}", self.told("not restored")));
        assert!(bytes == written(restored.freeze()), "{}", self.told("restoring and freezing changes the snapshot"));
        self.equal(&restored.state_hash(), &self.inventory.state_hash(), "restored hash");
        self.equal(&restored.applied(), &self.inventory.applied(), "restored index");
        self.equal(&restored.time(), &self.inventory.time(), "restored time");
        self.equal(&restored.next_deadline(), &self.inventory.next_deadline(), "restored deadline");
        self.frozen = Some((restored.freeze(), bytes));
        self.inventory = restored;
    }

    fn equal<T: PartialEq + std::fmt::Debug>(&self, got: &T, expected: &T, what: &str) {
        assert!(got == expected, "{}\n  got      {got:?}\n  expected {expected:?}", self.told(what));
    }

    fn told(&self, what: &str) -> String {
        let recent = &self.recent[self.recent.len().saturating_sub(12)..];
        format!("seed {}, {what}, after\n  {}", self.seed, recent.join("\n  "))
    }
}

fn written(frozen: Frozen) -> Vec<u8> {
    let mut bytes = Vec::new();
    frozen.write_to(&mut bytes).unwrap();
    bytes
}
