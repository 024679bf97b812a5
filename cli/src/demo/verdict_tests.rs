//! The verdict must object to every way in which a sale can go wrong, and to nothing else.

use super::*;
use crate::audit::replicas::Replicas;
use crate::demo::stats::Percentiles;
use doorbuster_protocol::types::{Millis, ProductId, Quantity, Timestamp};
use std::collections::BTreeMap;

fn plan() -> Plan {
    Plan { units: 2, buyers: 3, http_percent: 0, rate: 1, ttl: Millis(1000), seed: 1, run: 1 }
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
        created_at: Timestamp(1),
        first_expires_at: Timestamp(2),
        expires_at: Timestamp(2),
        changed_at: Timestamp(2),
    }
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
        audit: Audit { replicas: Replicas::default(), orders: None, payments: None },
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
    let cases: [(&str, Spoil); 14] = [
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
fn many_losses_are_counted_and_a_few_named() {
    let mut evidence = good();
    for id in 10..60 {
        evidence.heard.insert(ReservationId(id), heard(id));
    }
    let verdict = judge(&plan(), &evidence);
    assert_eq!(verdict.lost_acknowledged, 50);
    assert_eq!(verdict.problems.len(), MOST_NAMED + 1);
}
