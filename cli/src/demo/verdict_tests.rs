//! The verdict must object to every way in which a sale can go wrong, and to nothing else.

use super::*;
use crate::audit::judgement::{KINDS, Kind};
use crate::audit::payments::{Difference, Payments};
use crate::audit::replicas::Replicas;
use crate::demo::report;
use crate::demo::stats::Percentiles;
use doorbuster_payment_simulator::tally::Counts;
use doorbuster_protocol::types::{Millis, ProductId, Quantity, Timestamp};
use std::collections::BTreeMap;

fn plan() -> Plan {
    let ttl = Millis(1000);
    let (declined, unknown, late) = (10, 5, 3);
    Plan { units: 2, buyers: 3, http_percent: 0, rate: 1, ttl, declined, unknown, late, seed: 1, run: 1 }
}

fn heard(user: u128) -> Heard {
    Heard {
        product: ProductId(1),
        user: UserId(user),
        quantity: Quantity(1),
        asked_to_buy: true,
        confirmed: true,
        released: false,
        refunded: false,
    }
}

fn view(id: u128, user: u128, state: ReservationState) -> ReservationView {
    ReservationView {
        product: ProductId(1),
        reservation: ReservationId(id),
        user: UserId(user),
        quantity: Quantity(1),
        state,
        payment_attempts: 1,
        late: false,
        cancelled: None,
        created_at: Timestamp(1),
        first_expires_at: Timestamp(2),
        expires_at: Timestamp(2),
        changed_at: Timestamp(2),
    }
}

/// Two charges, and a late one that was given back.
fn payments() -> Payments {
    Payments { compared: 3, in_motion: 0, charged: 2, refunded: 1, ..Payments::default() }
}

/// Two units, sold to users 1 and 2; a third reservation walked away from.
fn good() -> Evidence {
    let walked_away = Heard { asked_to_buy: false, confirmed: false, ..heard(3) };
    Evidence {
        heard: HashMap::from([
            (ReservationId(1), heard(1)),
            (ReservationId(2), heard(2)),
            (ReservationId(3), walked_away),
        ]),
        ledger_failed: None,
        reservations: vec![
            view(1, 1, ReservationState::Confirmed),
            view(2, 2, ReservationState::Confirmed),
            view(3, 3, ReservationState::Expired),
        ],
        audit: Audit { replicas: Replicas::default(), orders: None, payments: Some(payments()) },
        happened: Happened { counts: Counts::default(), waiting: 0 },
        totals: Totals {
            attempts: 3,
            granted: 3,
            refusals: BTreeMap::new(),
            granted_us: Percentiles::default(),
            refused_us: Percentiles::default(),
            longest: Duration::ZERO,
            last: None,
            counts: BTreeMap::new(),
            complaints: Vec::new(),
        },
        kill: None,
        gateways: Vec::new(),
        took: Duration::ZERO,
        failures: Vec::new(),
    }
}

#[test]
fn a_good_sale_holds() {
    let verdict = judge(&plan(), &good());
    assert_eq!(verdict.problems, Vec::<String>::new());
    assert_eq!((verdict.confirmed, verdict.oversold, verdict.lost_acknowledged, verdict.unacknowledged), (2, 0, 0, 0));
    assert!(verdict.holds());
}

/// How a case spoils a good sale.
type Spoil = fn(&mut Evidence);

#[test]
fn every_way_to_go_wrong_is_objected_to() {
    let cases: [(&str, Spoil); 18] = [
        ("was acknowledged and is gone", |e| e.reservations.truncate(2)),
        ("acknowledged as confirmed and is expired", |e| e.reservations[0].state = ReservationState::Expired),
        ("acknowledged as released and is expired", |e| {
            if let Some(heard) = e.heard.get_mut(&ReservationId(3)) {
                heard.released = true;
            }
        }),
        ("was acknowledged as Heard", |e| e.reservations[1].user = UserId(9)),
        ("was acknowledged as Heard", |e| e.reservations[1].quantity = Quantity(2)),
        ("never asked for that", |e| e.reservations[2].state = ReservationState::Confirmed),
        ("nobody was told of it", |e| e.reservations.push(view(9, 9, ReservationState::Held))),
        ("its buyer was not told", |e| {
            if let Some(heard) = e.heard.get_mut(&ReservationId(1)) {
                heard.confirmed = false;
            }
        }),
        ("3 units are sold of 2", |e| {
            e.reservations[2].state = ReservationState::Confirmed;
            e.heard.insert(ReservationId(3), heard(3));
        }),
        ("only 1 of 2 units are sold", |e| {
            e.reservations.remove(1);
            e.heard.remove(&ReservationId(2));
        }),
        ("bought 2 units, the limit is one", |e| {
            e.reservations[1].user = UserId(1);
            e.heard.insert(ReservationId(2), heard(1));
        }),
        ("attempts were answered", |e| e.totals.attempts = 2),
        ("state hashes", |e| e.audit.replicas.problems.push("the state hashes differ".to_owned())),
        ("were not compared", |e| e.audit.payments = None),
        ("3 payments were still under way", |e| e.audit.payments = Some(Payments { in_motion: 3, ..payments() })),
        ("has the money of 1 payments, and 2", |e| e.audit.payments = Some(Payments { charged: 1, ..payments() })),
        ("has the money of 3 payments, and 2", |e| e.audit.payments = Some(Payments { charged: 3, ..payments() })),
        ("clicked twice", |e| e.totals.complaints.push("buyer 1 clicked twice".to_owned())),
    ];
    for (wanted, spoil) in cases {
        let mut evidence = good();
        spoil(&mut evidence);
        let verdict = judge(&plan(), &evidence);
        assert!(verdict.problems.iter().any(|problem| problem.contains(wanted)), "{wanted}: {:?}", verdict.problems);
        assert!(!verdict.holds());
    }
}

#[test]
fn money_that_does_not_fit_is_wrong_and_counted_whatever_its_kind() {
    for kind in KINDS {
        let mut evidence = good();
        let difference = Difference { kind, name: "1-7".to_owned(), words: "does not fit".to_owned() };
        evidence.audit.payments = Some(Payments { differences: vec![difference], ..payments() });
        let verdict = judge(&plan(), &evidence);
        assert!(!verdict.holds(), "{kind:?}");
        let wanted = format!("{}: reservation 1-7 does not fit", kind.name());
        assert_eq!(verdict.problems, [wanted]);
        let (json, table) = (report::json(&plan(), &evidence, &verdict), report::table(&plan(), &evidence, &verdict));
        for other in KINDS {
            assert_eq!(json[other.name()], u64::from(other == kind), "{other:?} of {kind:?}");
        }
        let words = kind.name().replace('_', " ");
        assert!(table.contains(&format!("1 {words}")) && !table.contains(&format!("0 {words}")), "{table}");
        assert_eq!(json["ok"], false);
    }
}

#[test]
fn money_that_was_not_compared_is_not_reported_as_fitting() {
    let mut evidence = good();
    evidence.audit.payments = None;
    let verdict = judge(&plan(), &evidence);
    let json = report::json(&plan(), &evidence, &verdict);
    assert!(json[Kind::DoubleCharge.name()].is_null(), "{json}");
    assert!(report::table(&plan(), &evidence, &verdict).contains("not compared"));
}

#[test]
fn many_losses_are_counted_and_a_few_named() {
    let mut evidence = good();
    for id in 10..60 {
        evidence.heard.insert(ReservationId(id), heard(id));
    }
    let verdict = judge(&plan(), &evidence);
    assert_eq!(verdict.lost_acknowledged, 50);
    assert_eq!(verdict.problems.len(), MOST_NAMED + 1);
}
