//! One effect and one answer for each id, across failover and snapshot.
//!
//! Source: DESIGN section 3, "a repeated id has one effect and one outcome (RULE), whatever happened since".
//! - Of all answers to one command only one says that it was done now (`replayed` is false), whoever heard them.
//! - All that is ever told of a reservation agrees in what it was made with.
//! - Nothing is in the log that nobody asked for: a retry under a new id would be.
//!
//! Refusals are not remembered, and may differ. After the retention an id is new: answers are only held against each
//! other within it.
//! Does not see: a second effect that no answer tells of (`conservation` does, the model makes only one).

use std::collections::BTreeMap;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::reply::{Reply, ReservationView};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, ShardId, Timestamp};

use super::ledger::{Key, Ledger, SharedLedger, key};
use super::{Checker, Violation};
use crate::history::{Heard, History};
use crate::observation::Seen;

/// See the module.
#[derive(Debug)]
pub struct Idempotency {
    ledger: SharedLedger,
}

/// Where and when something was told.
#[derive(Clone, Copy)]
struct Told<T> {
    operation: usize,
    what: T,
}

impl Idempotency {
    /// Takes from this ledger what was done.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger }
    }
}

impl Checker for Idempotency {
    fn property(&self) -> &'static str {
        "idempotency"
    }

    fn see(&mut self, _seen: &Seen<'_>) -> Result<(), Violation> {
        Ok(())
    }

    fn conclude(&mut self, history: &History) -> Result<(), Violation> {
        let ledger = self.ledger.borrow();
        done_once(&ledger, history)?;
        told_alike(history, ledger.config().limits.retention)?;
        if ledger.config().history_is_complete { asked_for(&ledger, history) } else { Ok(()) }
    }
}

fn violation(what: String, operations: Vec<usize>) -> Violation {
    Violation { property: "idempotency", what, operations }
}

/// Whether a reply says that its command was done now, and when.
fn done_at(reply: &Reply) -> Option<Timestamp> {
    match reply {
        Reply::Reservation(reply) if !reply.replayed => Some(reply.time),
        Reply::Product(reply) if !reply.replayed => Some(reply.time),
        _ => None,
    }
}

/// What makes two commands the same for idempotency: attempts of a payment are different commands.
fn id_of(command: &Command) -> Option<(Key, u16)> {
    match command {
        Command::AcknowledgeFeed { .. } | Command::Expire => None,
        Command::BeginPayment(payment) | Command::PaymentFailed(payment) => Some((key(command), payment.attempt)),
        other => Some((key(other), 0)),
    }
}

fn done_once(ledger: &Ledger, history: &History) -> Result<(), Violation> {
    let retention = ledger.config().limits.retention;
    let mut done: BTreeMap<(ShardId, Key, u16), Vec<Told<Timestamp>>> = BTreeMap::new();
    for (operation, asked) in history.operations.iter().enumerate() {
        let (RequestBody::Command(command), Heard::Reply(reply)) = (&asked.body, &asked.heard) else { continue };
        let (Some((key, attempt)), Some(shard), Some(what)) =
            (id_of(command), ledger.shard_of(&asked.body), done_at(reply))
        else {
            continue;
        };
        let before = done.entry((shard, key, attempt)).or_default();
        if let Some(first) = before.iter().find(|told| within(told.what, what, retention)) {
            let text = format!("{command:?} was said to be done at {} and again at {what}", first.what);
            return Err(violation(text, vec![first.operation, operation]));
        }
        before.push(Told { operation, what });
    }
    Ok(())
}

fn within(one: Timestamp, other: Timestamp, retention: Millis) -> bool {
    one.max(other).since(one.min(other)) < retention
}

/// What a reservation is made with, and what never changes.
fn made_with(view: &ReservationView) -> impl PartialEq + std::fmt::Debug {
    (view.user, view.quantity, view.created_at, view.first_expires_at)
}

fn told_alike(history: &History, retention: Millis) -> Result<(), Violation> {
    let mut told: BTreeMap<_, Vec<Told<ReservationView>>> = BTreeMap::new();
    for (operation, asked) in history.operations.iter().enumerate() {
        let Heard::Reply(Reply::Reservation(reply)) = &asked.heard else { continue };
        let what = reply.reservation;
        let all: &mut Vec<_> = told.entry((what.product, what.reservation)).or_default();
        let other = all.iter().find(|told| {
            within(told.what.changed_at, what.changed_at, retention) && made_with(&told.what) != made_with(&what)
        });
        if let Some(first) = other {
            let text = format!("a reservation was told as {:?} and as {what:?}", first.what);
            return Err(violation(text, vec![first.operation, operation]));
        }
        if all.iter().all(|told| made_with(&told.what) != made_with(&what)) {
            all.push(Told { operation, what });
        }
    }
    Ok(())
}

fn asked_for(ledger: &Ledger, history: &History) -> Result<(), Violation> {
    let mut asked: BTreeMap<(ShardId, Key), Vec<&Command>> = BTreeMap::new();
    for operation in &history.operations {
        if let (RequestBody::Command(command), Some(shard)) = (&operation.body, ledger.shard_of(&operation.body)) {
            let same = asked.entry((shard, key(command))).or_default();
            if !same.contains(&command) {
                same.push(command);
            }
        }
    }
    for (shard, log) in ledger.shards() {
        for (index, entry) in log.entries() {
            let ours = |command: &Command| matches!(command, Command::Expire | Command::AcknowledgeFeed { .. });
            let commands = entry.done.iter().map(|done| &done.command).filter(|command| !ours(command));
            let mut unasked =
                commands.filter(|command| asked.get(&(shard, key(command))).is_none_or(|all| !all.contains(command)));
            if let Some(command) = unasked.next() {
                let text = format!("entry {index} of shard {shard} has {command:?}, for which nobody asked");
                return Err(violation(text, Vec::new()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::command::AdjustStock;
    use doorbuster_protocol::reply::{ProductReply, ReservationReply};

    use super::super::stage::{Stage, product, property, reserve, target};
    use super::*;

    fn stage() -> Stage {
        let mut stage = Stage::new(|ledger| vec![Box::new(Idempotency::new(ledger))]);
        stage.command(&product(1, 5)).unwrap().unwrap();
        stage.command(&reserve(1)).unwrap().unwrap();
        stage
    }

    fn adjust() -> Command {
        Command::AdjustStock(AdjustStock { operation: 7.into(), product: 1.into(), delta: 2 })
    }

    #[test]
    fn retries_are_replays() {
        let mut stage = stage();
        for command in [adjust(), reserve(1), adjust(), Command::Confirm(target(1)), Command::Confirm(target(1))] {
            stage.command(&command).unwrap().unwrap();
        }
        stage.command(&reserve(1)).unwrap().unwrap();
        assert_eq!(stage.conclude(), Ok(()));
    }

    #[test]
    fn two_answers_that_say_done_now_are_found() {
        let mut stage = stage();
        stage.command(&adjust()).unwrap().unwrap();
        let Ok(Reply::Product(reply)) = stage.command(&adjust()).unwrap() else { panic!("a product") };
        assert_eq!(stage.conclude(), Ok(()));
        let twice = Heard::Reply(Reply::Product(Box::new(ProductReply { replayed: false, ..*reply })));
        stage.heard(RequestBody::Command(adjust()), twice, 0).unwrap();
        assert_eq!(property(stage.conclude()), "idempotency");
    }

    #[test]
    fn two_stories_of_one_reservation_are_found() {
        let mut stage = stage();
        let Ok(Reply::Reservation(reply)) = stage.command(&reserve(1)).unwrap() else { panic!("a reservation") };
        let mut other = ReservationReply { replayed: true, ..reply };
        other.reservation.first_expires_at.0 += 1;
        stage.heard(RequestBody::Command(reserve(1)), Heard::Reply(Reply::Reservation(other)), 0).unwrap();
        assert_eq!(property(stage.conclude()), "idempotency");
    }

    #[test]
    fn what_nobody_asked_for_is_found() {
        let mut stage = stage();
        stage.run(&[reserve(77)]).unwrap();
        let violation = stage.conclude().unwrap_err();
        assert!(violation.what.contains("nobody asked"), "{violation}");
    }
}
