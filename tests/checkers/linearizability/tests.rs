//! Histories by hand, invented ones that are legal, and mutations of these.

use std::collections::BTreeMap;

use doorbuster_inventory::Inventory;
use doorbuster_protocol::command::{Command, LatePayment, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::query::Query;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Quantity, UserId};

use super::super::invented::{Invented, Random, Recipe, invent, mutate};
use super::super::stage::{EPOCH, Stage, product, reserve, target};
use super::super::{LogWitness, SharedLedger};
use super::*;
use crate::history::{Heard, Moment, Operation};

const WORLD: Assumptions = Assumptions { epoch: Timestamp(EPOCH), tolerance: Millis(50), steps: 200_000 };

const SMALL: Recipe =
    Recipe { operations: 400, clients: 8, products: 2, stock: 12, gives_up: 40, asks_at_the_end: false };

fn stage(stock: u32) -> Stage {
    let mut stage = Stage::new(|_| Vec::new());
    stage.command(&product(1, stock)).unwrap().unwrap();
    stage
}

fn is_legal(stage: &Stage) -> bool {
    let report = check(&stage.history, &WORLD);
    assert_eq!(report.undecided, []);
    report.violations.is_empty()
}

fn refused(stage: &mut Stage, id: u128, refusal: Refusal, before: u64) {
    stage.heard(RequestBody::Command(reserve(id)), Heard::Refused(refusal), before).unwrap();
}

/// The last operation is given up instead.
fn give_up_last(stage: &mut Stage) {
    let last = stage.history.operations.last_mut().unwrap();
    (last.heard, last.returned) = (Heard::Unknown, None);
}

#[test]
fn one_after_the_other_passes() {
    let mut stage = stage(1);
    stage.command(&reserve(1)).unwrap().unwrap();
    stage.query(Query::Product(ProductId(1))).unwrap();
    let _ = stage.command(&reserve(2)).unwrap();
    stage.command(&Command::Confirm(target(1))).unwrap().unwrap();
    refused(&mut stage, 2, Refusal::SoldOut, 0);
    assert!(is_legal(&stage));
}

#[test]
fn one_unit_is_not_sold_twice() {
    let mut stage = stage(1);
    stage.command(&reserve(1)).unwrap().unwrap();
    // A second server with its own idea of the stock.
    let mut other = Inventory::new(super::super::stage::SHARD, Default::default());
    other.apply(1.into(), stage.time(), &product(1, 1)).unwrap();
    let outcome = other.apply(2.into(), stage.time(), &reserve(2));
    stage.heard(RequestBody::Command(reserve(2)), super::super::stage::heard(&outcome), 1).unwrap();
    assert!(!is_legal(&stage));
}

#[test]
fn sold_out_must_have_been_true() {
    let mut stage = stage(1);
    refused(&mut stage, 2, Refusal::SoldOut, 0);
    assert!(!is_legal(&stage));
}

#[test]
fn a_reserve_that_was_given_up_may_have_happened() {
    for answered in [true, false] {
        let mut stage = stage(1);
        stage.command(&reserve(1)).unwrap().unwrap();
        let next_expiry = stage.replicas.values().next().unwrap().product(ProductId(1)).unwrap().next_expiry;
        give_up_last(&mut stage);
        refused(&mut stage, 2, Refusal::AllHeld { next_expiry }, 0);
        if answered {
            assert!(is_legal(&stage));
        } else {
            stage.history.operations.remove(1);
            assert!(!is_legal(&stage), "nobody asked");
        }
    }
}

#[test]
fn a_hold_may_expire_from_its_deadline_on_and_not_before() {
    for (after, fine) in [(1100, true), (800, false)] {
        let mut stage = stage(1);
        stage.command(&reserve(1)).unwrap().unwrap();
        stage.pass(after);
        // It is gone, as it seems: the product is as it was.
        let mut fresh = Inventory::new(super::super::stage::SHARD, Default::default());
        fresh.apply(1.into(), stage.time(), &product(1, 1)).unwrap();
        let seen = super::super::stage::read(&fresh, &Query::Product(ProductId(1)), stage.time());
        let seen = super::super::stage::heard(&seen);
        stage.heard(RequestBody::Query(Query::Product(ProductId(1))), seen, 1).unwrap();
        assert_eq!(is_legal(&stage), fine, "{after} ms later");
    }
}

#[test]
fn a_confirmation_after_the_deadline_is_found() {
    let mut stage = stage(1);
    stage.command(&reserve(1)).unwrap().unwrap();
    stage.pass(500);
    stage.command(&Command::Confirm(target(1))).unwrap().unwrap();
    assert!(is_legal(&stage));
    let Heard::Reply(doorbuster_protocol::reply::Reply::Reservation(reply)) =
        &mut stage.history.operations.last_mut().unwrap().heard
    else {
        panic!("a reservation")
    };
    reply.time.0 += 600;
    reply.reservation.changed_at.0 += 600;
    assert!(!is_legal(&stage));
}

#[test]
fn a_stale_read_is_found() {
    let mut stage = stage(2);
    let stale = stage.query(Query::Product(ProductId(1))).unwrap();
    stage.command(&reserve(1)).unwrap().unwrap();
    stage.pass(1);
    stage.heard(RequestBody::Query(Query::Product(ProductId(1))), stale, 0).unwrap();
    assert!(!is_legal(&stage));
}

/// Money for a reservation that had expired came while no unit was left; a unit came back, and then the money went back: only
/// the end was seen. It is no lie unless there was a unit all the time.
#[test]
fn money_that_came_too_late_unseen_had_come_while_nothing_was_left() {
    for taken in [true, false] {
        let mut stage = stage(1);
        stage.command(&reserve(1)).unwrap().unwrap();
        stage.pass(1000);
        stage.run(&[Command::Expire]).unwrap().remove(0).unwrap();
        stage.query(Query::Reservation(target(1))).unwrap();
        stage.command(&reserve(2)).unwrap().unwrap();
        let late = LatePayment { target: Target { user: UserId(1), ..target(1) }, quantity: Quantity(1) };
        stage.command(&Command::LatePayment(late)).unwrap().unwrap();
        give_up_last(&mut stage);
        stage.command(&Command::Release(target(2))).unwrap().unwrap();
        stage.command(&Command::RefundDone(target(1))).unwrap().unwrap();
        give_up_last(&mut stage);
        stage.pass(10);
        stage.query(Query::Product(ProductId(1))).unwrap();
        stage.query(Query::Reservation(target(1))).unwrap();
        if !taken {
            let others = |operation: &Operation| match &operation.body {
                RequestBody::Command(Command::Reserve(reserve)) => reserve.reservation.0 == 2,
                RequestBody::Command(Command::Release(_)) => true,
                _ => false,
            };
            stage.history.operations.retain(|operation| !others(operation));
        }
        assert_eq!(is_legal(&stage), taken);
    }
}

#[test]
fn invented_histories_are_legal() {
    let (mut steps, mut operations, mut given_up) = (0, 0, 0);
    for seed in 0..60 {
        let Invented { history, .. } = invent(seed, &SMALL);
        let report = check(&history, &WORLD);
        assert!(report.is_clean(), "seed {seed}: {:?} {:?}", report.undecided, report.violations);
        steps += report.steps;
        operations += report.operations;
        given_up += report.given_up;
    }
    println!("{operations} operations, {given_up} given up, {steps} steps");
}

#[test]
fn thousands_of_operations_on_one_product_are_decided() {
    let recipe = Recipe { operations: 8000, clients: 24, products: 1, stock: 150, gives_up: 0, asks_at_the_end: false };
    for seed in 0..3 {
        let report = check(&invent(seed, &recipe).history, &WORLD);
        assert!(report.is_clean(), "seed {seed}: {:?} {:?}", report.undecided, report.violations);
        println!("{} operations, {} steps", report.operations, report.steps);
    }
}

#[test]
fn a_search_that_takes_too_long_is_undecided_and_not_passed() {
    let mut stage = stage(1);
    refused(&mut stage, 2, Refusal::SoldOut, 0);
    let report = check(&stage.history, &Assumptions { steps: 0, ..WORLD });
    assert_eq!((report.undecided.len(), report.is_clean()), (1, false));
}

/// What came of mutations, by kind: found, undecided, not found.
type Tally = BTreeMap<&'static str, [u32; 3]>;

fn caught(tally: &Tally) -> (u32, u32) {
    (tally.values().map(|counts| counts[0]).sum(), tally.values().flatten().sum())
}

#[test]
fn mutated_answers_are_caught() {
    let mut tally = Tally::new();
    for seed in 0..300 {
        let mut random = Random(seed);
        let Invented { mut history, .. } = invent(seed % 20, &SMALL);
        let at = usize::try_from(random.below(history.operations.len() as u64)).unwrap();
        let Some(how) = mutate(&mut random, &mut history.operations[at]) else { continue };
        let report = check(&history, &WORLD);
        let counts = tally.entry(how).or_default();
        let which = if !report.violations.is_empty() { 0 } else { 1 + usize::from(report.undecided.is_empty()) };
        counts[which] += 1;
    }
    let (found, of) = caught(&tally);
    println!("by the history alone {found} of {of}: {tally:?}");
    assert!(found * 100 >= of * 90, "{found} of {of}: {tally:?}");
}

/// The log of an invented history, shown to the checker that has the log for a witness.
fn witnessed(invented: &Invented) -> Result<(), super::super::Violation> {
    let config = super::super::Config::default();
    let mut stage = Stage::with(config, |ledger: SharedLedger| vec![Box::new(LogWitness::new(ledger))]);
    for effect in &invented.log {
        stage.now = Moment((effect.stamp.0 - EPOCH) * 1_000_000);
        let entry = stage.entry(std::slice::from_ref(&effect.command));
        stage.now = effect.at;
        stage.log.push(entry);
        let replica = stage.replicas.get_mut(&super::super::stage::NODES[0]).unwrap();
        let index = (stage.log.len() as u64).into();
        let _ = replica.apply(index, effect.stamp, &effect.command);
        stage.shown(super::super::stage::NODES[0])?;
    }
    stage.history = invented.history.clone();
    stage.conclude()
}

#[test]
fn the_log_is_a_witness_of_invented_histories_and_not_of_mutations() {
    let mut tally = Tally::new();
    for seed in 0..120 {
        let mut random = Random(seed);
        let mut invented = invent(seed % 20, &SMALL);
        if seed < 20 {
            assert_eq!(witnessed(&invented), Ok(()), "seed {seed}");
        }
        let at = usize::try_from(random.below(invented.history.operations.len() as u64)).unwrap();
        let Some(how) = mutate(&mut random, &mut invented.history.operations[at]) else { continue };
        let found = witnessed(&invented).is_err();
        tally.entry(how).or_default()[if found { 0 } else { 2 }] += 1;
    }
    let (found, of) = caught(&tally);
    println!("by the log {found} of {of}: {tally:?}");
    assert_eq!(found, of, "{tally:?}");
}
