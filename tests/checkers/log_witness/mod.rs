//! Every operation took effect at one moment between question and answer, reads and refusals included; the committed
//! log is the witness of the order.
//!
//! Source: Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects"; DESIGN section 5, "no
//! refusal rests on something that has not been committed: RULE".
//! - An answer to a command stands in the log: an entry that was applied between call and return holds the command, and
//!   the model's outcome there is the answer.
//! - A read, or a refusal that did not go through the log, is true of the model's state after some entry that was
//!   applied before the return, and not before the entry of any operation that had returned before the call.
//! - What was surely not done is not in the log.
//!
//! Because the order is given, this is a sweep, not a search; `linearizability` is the search, for histories without a
//! log. A shard is taken as one object, which is stronger than each product for itself.
//! Does not see: whether a `capacity_reached` that did not go through the log was true; the time in an answer to a read.

mod page;
mod refusal;

use std::collections::BTreeMap;

use doorbuster_protocol::command::Command;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::ShardId;

use super::ledger::{Key, Ledger, ShardLedger, SharedLedger, key};
use super::{Checker, Violation};
use crate::history::{Heard, History, Moment, Operation};
use crate::observation::Seen;

pub(crate) use refusal::Window;

/// Where an operation stands: an entry's index, and a command's place in it. Reads stand behind all of them.
type Place = (u64, usize);

/// See the module.
#[derive(Debug)]
pub struct LogWitness {
    ledger: SharedLedger,
}

impl LogWitness {
    /// This ledger is the witness.
    #[must_use]
    pub fn new(ledger: SharedLedger) -> Self {
        Self { ledger }
    }
}

impl Checker for LogWitness {
    fn property(&self) -> &'static str {
        "log_witness"
    }

    fn see(&mut self, _seen: &Seen<'_>) -> Result<(), Violation> {
        Ok(())
    }

    fn conclude(&mut self, history: &History) -> Result<(), Violation> {
        let ledger = self.ledger.borrow();
        let mut sweep = Sweep::new(&ledger, history);
        let mut by_return: Vec<usize> = (0..history.operations.len()).collect();
        by_return.sort_by_key(|at| history.operations[*at].returned.unwrap_or(Moment(u64::MAX)));
        for at in by_return {
            sweep.judge(at).map_err(|what| Violation {
                property: "log_witness",
                what: format!("{what}; it was {:?}", history.operations[at]),
                operations: vec![at],
            })?;
        }
        Ok(())
    }
}

/// Goes through the operations in the order of their returns.
struct Sweep<'a> {
    ledger: &'a Ledger,
    history: &'a History,
    /// By shard: the greatest place of all that have returned by a moment, which goes up.
    returned: BTreeMap<ShardId, Vec<(Moment, Place)>>,
    /// Operations with the same key.
    asked: BTreeMap<(ShardId, Key), Vec<usize>>,
}

impl<'a> Sweep<'a> {
    fn new(ledger: &'a Ledger, history: &'a History) -> Self {
        let mut asked: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (at, operation) in history.operations.iter().enumerate() {
            if let (RequestBody::Command(command), Some(shard)) = (&operation.body, ledger.shard_of(&operation.body)) {
                asked.entry((shard, key(command))).or_default().push(at);
            }
        }
        Self { ledger, history, returned: BTreeMap::new(), asked }
    }

    fn judge(&mut self, at: usize) -> Result<(), String> {
        let operation = &self.history.operations[at];
        let Some(returned) = operation.returned else { return Ok(()) };
        let Some(shard) = self.ledger.shard_of(&operation.body) else { return Ok(()) };
        let empty = ShardLedger::new(self.ledger.config().limits);
        let log = self.ledger.shard(shard).unwrap_or(&empty);
        let place = match (&operation.body, &operation.heard) {
            (_, Heard::Unknown) => return Ok(()),
            (RequestBody::Command(command), Heard::NotDone(why)) => return self.not_done(log, shard, command, why),
            (RequestBody::Query(_), Heard::NotDone(_)) => return Ok(()),
            (RequestBody::Command(command), _) => self
                .logged(log, operation, command, returned)
                .map_or_else(|| self.unlogged(log, shard, operation, command, returned), Ok)?,
            (RequestBody::Query(query), heard) => {
                self.found(log, shard, operation, returned, |index| page::answers(log, index, query, heard))?
            }
        };
        let places = self.returned.entry(shard).or_default();
        let greatest = places.last().map_or(place, |(_, greatest)| place.max(*greatest));
        places.push((returned, greatest));
        Ok(())
    }

    /// The greatest place of what had returned before an operation was called.
    fn after(&self, shard: ShardId, operation: &Operation) -> Place {
        let places = self.returned.get(&shard).map_or(&[][..], Vec::as_slice);
        let before = places.partition_point(|(returned, _)| *returned < operation.called);
        before.checked_sub(1).map_or((0, 0), |at| places[at].1)
    }

    /// Where the command stands in the log with this outcome, between call and return.
    fn logged(&self, log: &ShardLedger, operation: &Operation, command: &Command, returned: Moment) -> Option<Place> {
        let heard = |done: &crate::model::Outcome| match (&operation.heard, done) {
            (Heard::Reply(heard), Ok(reply)) => heard == reply,
            (Heard::Refused(heard), Err(refusal)) => heard == refusal,
            _ => false,
        };
        let within = |place: &Place| {
            log.entry(place.0).is_some_and(|entry| entry.applied >= operation.called && entry.applied <= returned)
        };
        let mut places = log.places(command).filter(|(place, done)| within(place) && heard(&done.outcome));
        places.next().map(|(place, _)| place)
    }

    fn unlogged(
        &self,
        log: &ShardLedger,
        shard: ShardId,
        operation: &Operation,
        command: &Command,
        returned: Moment,
    ) -> Result<Place, String> {
        let (Command::Reserve(reserve), Heard::Refused(refusal)) = (command, &operation.heard) else {
            let there: Vec<_> = log.places(command).map(|(place, done)| (place, &done.outcome)).collect();
            return Err(format!("no entry of the log between call and return has this answer; the log has {there:?}"));
        };
        let window = Window::of(self.ledger, operation.called, returned);
        self.found(log, shard, operation, returned, |index| refusal::is_true(log, index, reserve, refusal, &window))
    }

    /// The first state of which the answer is true.
    fn found(
        &self,
        log: &ShardLedger,
        shard: ShardId,
        operation: &Operation,
        returned: Moment,
        is_true: impl Fn(u64) -> bool,
    ) -> Result<Place, String> {
        let (from, until) = (self.after(shard, operation).0, log.last_by(returned));
        let index = (from..=until).find(|index| is_true(*index));
        index.map(|index| (index, usize::MAX)).ok_or_else(|| {
            format!("the answer was true of no state between those after entries {from} and {until} of shard {shard}")
        })
    }

    fn not_done(&self, log: &ShardLedger, shard: ShardId, command: &Command, why: &str) -> Result<(), String> {
        let same = |at: &&usize| self.history.operations[**at].body == RequestBody::Command(command.clone());
        let askers = self.asked.get(&(shard, key(command))).map_or(0, |all| all.iter().filter(same).count());
        match log.places(command).next() {
            Some((place, _)) if askers == 1 => {
                Err(format!("it was said not to be done ({why}), and stands in the log at {place:?}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_protocol::command::Target;
    use doorbuster_protocol::failure::Refusal;
    use doorbuster_protocol::query::Query;
    use doorbuster_protocol::reply::Reply;
    use doorbuster_protocol::types::{ProductId, Timestamp};

    use super::super::stage::{SHARD, Stage, product, property, reserve, target};
    use super::*;

    fn stage(stock: u32) -> Stage {
        let mut stage = Stage::new(|ledger| vec![Box::new(LogWitness::new(ledger))]);
        stage.command(&product(1, stock)).unwrap().unwrap();
        stage
    }

    fn refused(stage: &mut Stage, id: u128, refusal: Refusal, before: u64) {
        stage.heard(RequestBody::Command(reserve(id)), Heard::Refused(refusal), before).unwrap();
    }

    #[test]
    fn commands_refusals_and_reads_in_their_order_pass() {
        let mut stage = stage(1);
        stage.command(&reserve(1)).unwrap().unwrap();
        let next_expiry = stage.replicas.values().next().unwrap().product(ProductId(1)).unwrap().next_expiry;
        refused(&mut stage, 2, Refusal::AllHeld { next_expiry }, 0);
        stage.query(Query::Product(ProductId(1))).unwrap();
        stage.query(Query::Products { shard: SHARD, after: ProductId(0), limit: 9 }).unwrap();
        stage.command(&Command::Confirm(target(1))).unwrap().unwrap();
        refused(&mut stage, 2, Refusal::SoldOut, 0);
        stage.query(Query::Reservation(target(1))).unwrap();
        stage.query(Query::Reservation(Target { user: 77.into(), ..target(1) })).unwrap();
        stage.query(Query::Reservations { shard: SHARD, after: 0.into(), limit: 9 }).unwrap();
        stage.query(Query::Feed { shard: SHARD, after: 0.into(), limit: 9 }).unwrap();
        stage.command(&reserve(1)).unwrap().unwrap();
        assert_eq!(stage.conclude(), Ok(()));
    }

    #[test]
    fn a_sold_out_that_was_never_true_is_found() {
        let mut stage = stage(1);
        refused(&mut stage, 2, Refusal::SoldOut, 0);
        assert_eq!(property(stage.conclude()), "log_witness");
    }

    #[test]
    fn a_sold_out_is_true_at_some_moment_between_question_and_answer() {
        for (before, fine) in [(3000, true), (1, false)] {
            let mut stage = stage(1);
            stage.command(&reserve(1)).unwrap().unwrap();
            stage.command(&Command::Confirm(target(1))).unwrap().unwrap();
            stage.pass(100);
            let more = Command::AdjustStock(doorbuster_protocol::command::AdjustStock {
                operation: 5.into(),
                product: ProductId(1),
                delta: 1,
            });
            stage.command(&more).unwrap().unwrap();
            stage.pass(10);
            let before = before.min(50);
            refused(&mut stage, 2, Refusal::SoldOut, before);
            assert_eq!(stage.conclude().is_ok(), fine);
        }
    }

    #[test]
    fn a_read_that_misses_what_had_been_answered_is_found() {
        let mut stage = stage(3);
        let stale = stage.query(Query::Product(ProductId(1))).unwrap();
        stage.command(&reserve(1)).unwrap().unwrap();
        assert_eq!(stage.conclude(), Ok(()));
        stage.heard(RequestBody::Query(Query::Product(ProductId(1))), stale.clone(), 1).unwrap();
        assert_eq!(stage.conclude(), Ok(()), "it was called before the reserve was answered");
        stage.pass(1);
        stage.heard(RequestBody::Query(Query::Product(ProductId(1))), stale, 0).unwrap();
        assert_eq!(property(stage.conclude()), "log_witness");
    }

    #[test]
    fn an_answer_that_the_log_does_not_have_is_found() {
        let mut stage = stage(3);
        let Ok(Reply::Reservation(mut reply)) = stage.command(&reserve(1)).unwrap() else { panic!("a reservation") };
        reply.reservation.expires_at = Timestamp(reply.reservation.expires_at.0 + 1);
        stage.history.operations.last_mut().unwrap().heard = Heard::Reply(Reply::Reservation(reply));
        assert_eq!(property(stage.conclude()), "log_witness");
    }

    #[test]
    fn a_reservation_nobody_asked_about_is_not_told() {
        let mut stage = stage(3);
        stage
            .heard(RequestBody::Query(Query::Reservation(target(9))), Heard::Refused(Refusal::UnknownReservation), 0)
            .unwrap();
        stage.command(&reserve(9)).unwrap().unwrap();
        stage.pass(1);
        assert_eq!(stage.conclude(), Ok(()));
        stage
            .heard(RequestBody::Query(Query::Reservation(target(9))), Heard::Refused(Refusal::UnknownReservation), 0)
            .unwrap();
        assert_eq!(property(stage.conclude()), "log_witness");
    }

    #[test]
    fn what_was_said_not_to_be_done_is_not_in_the_log() {
        let mut stage = stage(3);
        stage.heard(RequestBody::Command(reserve(1)), Heard::NotDone("busy".to_owned()), 0).unwrap();
        assert_eq!(stage.conclude(), Ok(()));
        stage.run(&[reserve(1)]).unwrap();
        assert_eq!(property(stage.conclude()), "log_witness");
    }

    #[test]
    fn a_granted_reserve_is_not_refused() {
        let mut stage = stage(1);
        stage.command(&reserve(1)).unwrap().unwrap();
        stage.command(&Command::Confirm(target(1))).unwrap().unwrap();
        refused(&mut stage, 1, Refusal::SoldOut, 0);
        assert_eq!(property(stage.conclude()), "log_witness");
    }
}
