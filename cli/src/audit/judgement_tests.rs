//! Every case of the judgement, as a table.

use super::*;
use doorbuster_gateway::orders::Refund;
use doorbuster_protocol::types::{Currency, FeedPosition, Money, ProductId, Quantity, ReservationId, ShardId, UserId};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const RULES: Rules = Rules { grace: Millis(30_000), refund_limit: Millis(300_000) };
/// Everything was read in no time.
const LOOK: Look = Look { began: NOW, ended: NOW };
/// Older than the grace, younger than the limit; and older than both.
const AGO: Timestamp = Timestamp(NOW.0 - 60_000);
const LONG_AGO: Timestamp = Timestamp(NOW.0 - 3_600_000);
const EUR: Currency = Currency(*b"EUR");

fn charge(attempt: u16, state: State) -> Charge {
    Charge {
        key: format!("{:032x}-5-{attempt}", 0xff),
        place: None,
        amount: 1000,
        currency: "EUR".to_owned(),
        state,
        given_back: if state == State::Refunded { 1000 } else { 0 },
        going_back: 0,
        changed_at: LONG_AGO,
    }
}

fn view(state: ReservationState, changed_at: Timestamp) -> ReservationView {
    ReservationView {
        product: ProductId(7),
        reservation: ReservationId(0xff),
        user: UserId(1),
        quantity: Quantity(2),
        state,
        payment_attempts: 1,
        late: false,
        cancelled: None,
        created_at: Timestamp(5),
        first_expires_at: Timestamp(6),
        expires_at: Timestamp(6),
        changed_at,
    }
}

fn order(state: FeedKind, changed_at: Timestamp) -> (Order, Payment) {
    let order = Order {
        shard: ShardId(0),
        position: FeedPosition(1),
        product: ProductId(7),
        reservation: ReservationId(0xff),
        user: UserId(1),
        quantity: Quantity(2),
        price: Money { minor: 500, currency: EUR },
        state,
        late: false,
        created_at: changed_at,
        changed_at,
        cancelled: None,
    };
    let refund = match state {
        FeedKind::Confirmed | FeedKind::Cancelled => None,
        FeedKind::RefundDue => Some(Refund { due_at: changed_at, refunded_at: None }),
        FeedKind::Refunded => Some(Refund { due_at: changed_at, refunded_at: Some(changed_at) }),
    };
    let amount = Money { minor: 1000, currency: EUR };
    (order, Payment { reservation: ReservationId(0xff), amount, late: false, recorded_at: changed_at, refund })
}

/// The kinds that come of it.
fn kinds(charges: &[State], view: Option<ReservationView>, order: Option<&(Order, Payment)>) -> Vec<Kind> {
    let charges: Vec<Charge> = (1..).zip(charges).map(|(attempt, state)| charge(attempt, *state)).collect();
    let evidence = Evidence {
        charges: charges.iter().collect(),
        view: view.as_ref(),
        order: order.map(|(order, _)| order),
        payment: order.map(|(_, payment)| payment),
        is_parked: false,
    };
    judge(RULES, LOOK, &evidence).into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn every_combination_has_its_judgement() {
    use FeedKind::{Cancelled, Confirmed, RefundDue, Refunded as PaidBack};
    use State::{Declined, InProgress, Refunded, Succeeded};
    let shown = |state| Some(view(state, LONG_AGO));
    let stored = |state| Some(order(state, LONG_AGO));
    let young = |state| Some(order(state, Timestamp(NOW.0 - 1000)));
    let (gone, held) = (ReservationState::Expired, ReservationState::Held);
    let (sold, undone) = (ReservationState::Confirmed, ReservationState::Cancelled);
    for (charges, view, order, expected) in [
        // All is well.
        (&[][..], None, None, &[][..]),
        (&[Succeeded], shown(sold), stored(Confirmed), &[]),
        (&[Succeeded], None, stored(Confirmed), &[]),
        (&[Declined, Succeeded], shown(sold), stored(Confirmed), &[]),
        (&[Refunded, Succeeded], shown(sold), stored(Confirmed), &[]),
        (&[Declined], shown(held), None, &[]),
        (&[Declined], None, None, &[]),
        (&[Refunded], shown(gone), None, &[]),
        (&[Refunded], None, stored(PaidBack), &[]),
        (&[Succeeded], None, Some(self::order(RefundDue, AGO)), &[]),
        (&[Succeeded], shown(ReservationState::RefundDue), Some(self::order(RefundDue, AGO)), &[]),
        (&[Refunded], shown(ReservationState::Refunded), stored(PaidBack), &[]),
        // Cancelled, and nobody was known to have paid.
        (&[], shown(undone), stored(Cancelled), &[]),
        (&[], None, stored(Cancelled), &[]),
        (&[Declined], shown(undone), stored(Cancelled), &[]),
        (&[Succeeded], shown(undone), stored(Cancelled), &[Kind::ChargedNotOrdered]),
        (&[Succeeded], shown(undone), None, &[Kind::ChargedNotOrdered]),
        // Under way.
        (&[InProgress], shown(gone), None, &[]),
        (&[Succeeded], shown(ReservationState::Paying), None, &[]),
        (&[Succeeded], Some(self::view(gone, Timestamp(NOW.0 - 1000))), None, &[]),
        (&[], shown(sold), young(Confirmed), &[]),
        // Charged, not ordered.
        (&[Succeeded], None, None, &[Kind::ChargedNotOrdered]),
        (&[Succeeded], shown(gone), None, &[Kind::ChargedNotOrdered]),
        (&[Succeeded], shown(held), None, &[Kind::ChargedNotOrdered]),
        (&[Succeeded], shown(sold), None, &[Kind::ChargedNotOrdered]),
        (&[Succeeded], shown(ReservationState::RefundDue), None, &[Kind::ChargedNotOrdered, Kind::RefundDueUnpaid]),
        // Ordered, not charged.
        (&[], shown(sold), stored(Confirmed), &[Kind::OrderedNotCharged]),
        (&[], None, stored(Confirmed), &[Kind::OrderedNotCharged]),
        (&[], shown(sold), None, &[Kind::OrderedNotCharged]),
        (&[Declined], None, stored(Confirmed), &[Kind::OrderedNotCharged]),
        (&[Refunded], None, stored(Confirmed), &[Kind::OrderedNotCharged]),
        (&[Declined], None, stored(PaidBack), &[Kind::OrderedNotCharged]),
        // Twice.
        (&[Succeeded, Succeeded], None, stored(Confirmed), &[Kind::DoubleCharge]),
        (&[Succeeded; 3], None, stored(Confirmed), &[Kind::DoubleCharge, Kind::DoubleCharge]),
        (&[Refunded, Refunded], None, stored(PaidBack), &[Kind::DoubleRefund]),
        (&[Succeeded, Succeeded], shown(gone), None, &[Kind::DoubleCharge, Kind::ChargedNotOrdered]),
        // Refunds.
        (&[Succeeded], None, stored(RefundDue), &[Kind::RefundDueUnpaid]),
        (&[Declined], None, stored(RefundDue), &[Kind::RefundDueUnpaid]),
        (&[Succeeded], None, stored(PaidBack), &[Kind::RefundDueUnpaid]),
        (&[Refunded], None, stored(RefundDue), &[Kind::BooksDiffer]),
    ] {
        assert_eq!(kinds(charges, view, order.as_ref()), expected, "{charges:?}, {view:?}, {order:?}");
    }
}

#[test]
fn amounts_and_the_databases_own_tables_are_compared() {
    let (order, payment) = order(FeedKind::Confirmed, LONG_AGO);
    let good = charge(1, State::Succeeded);
    let (less, other) = (Charge { amount: 999, ..good.clone() }, Charge { currency: "USD".to_owned(), ..good.clone() });
    let refund = Some(Refund { due_at: LONG_AGO, refunded_at: None });
    let refunding = Payment { refund, ..payment };
    for (charge, payment, expected) in [
        (&good, Some(&payment), 0),
        (&less, Some(&payment), 1),
        (&other, Some(&payment), 1),
        (&good, None, 1),
        (&good, Some(&refunding), 1),
    ] {
        let evidence = Evidence { charges: vec![charge], order: Some(&order), payment, ..Evidence::default() };
        let found = judge(RULES, LOOK, &evidence);
        assert_eq!(found.iter().filter(|(kind, _)| *kind == Kind::BooksDiffer).count(), expected, "{found:?}");
    }
}

#[test]
fn a_clock_from_the_future_hides_nothing() {
    let far = Charge { changed_at: Timestamp(NOW.0 * 2), ..charge(1, State::Succeeded) };
    assert_eq!(judge(RULES, LOOK, &Evidence { charges: vec![&far], ..Evidence::default() }).len(), 1);
}

#[test]
fn what_changes_while_the_books_are_read_is_not_judged() {
    let look = Look { began: Timestamp(NOW.0 - 600_000), ended: NOW };
    for (rules, changed_at, expected) in [
        (RULES, look.began.0 - 30_001, 1),
        (RULES, look.began.0 - 29_999, 0),
        (RULES, look.began.0 + 300_000, 0),
        (RULES, look.ended.0 + 29_999, 0),
        (RULES, look.ended.0 + 30_000, 1),
        (Rules { grace: Millis(0), ..RULES }, look.began.0, 1),
        (Rules { grace: Millis(0), ..RULES }, look.began.0 + 1, 0),
    ] {
        let charge = Charge { changed_at: Timestamp(changed_at), ..charge(1, State::Succeeded) };
        let found = judge(rules, look, &Evidence { charges: vec![&charge], ..Evidence::default() });
        assert_eq!(found.len(), expected, "{changed_at}");
    }
}

#[test]
fn money_that_went_back_in_parts_or_too_often() {
    let charge = charge(1, State::Succeeded);
    let part = Charge { given_back: 300, ..charge.clone() };
    let pending = Charge { going_back: 1000, ..charge.clone() };
    let twice = Charge { state: State::Refunded, given_back: 2000, ..charge.clone() };
    let about_to = Charge { state: State::Refunded, given_back: 1000, going_back: 1, ..charge.clone() };
    for (charge, state, expected) in [
        (&charge, FeedKind::Confirmed, &[][..]),
        (&part, FeedKind::Confirmed, &[(Kind::BooksDiffer, "300 of 1000 EUR went back")]),
        // It is charged until it is back, and owed until then.
        (&pending, FeedKind::Confirmed, &[]),
        (&pending, FeedKind::RefundDue, &[(Kind::RefundDueUnpaid, "on its way at the provider")]),
        (&part, FeedKind::RefundDue, &[(Kind::RefundDueUnpaid, "due for 3600 s")]),
        (&part, FeedKind::Refunded, &[(Kind::RefundDueUnpaid, "the provider has the money")]),
        (&twice, FeedKind::Refunded, &[(Kind::DoubleRefund, "by 2000 of 1000 EUR")]),
        (&about_to, FeedKind::Refunded, &[(Kind::DoubleRefund, "by 1001 of 1000 EUR")]),
    ] {
        let (order, payment) = order(state, LONG_AGO);
        let evidence =
            Evidence { charges: vec![charge], order: Some(&order), payment: Some(&payment), ..Evidence::default() };
        let found = judge(RULES, LOOK, &evidence);
        assert_eq!(found.len(), expected.len(), "{charge:?} {state:?}: {found:?}");
        for ((kind, words), (expected, part)) in found.iter().zip(expected) {
            assert!(kind == expected && words.contains(part), "{found:?}");
        }
    }
}

#[test]
fn it_began_with_its_order_else_its_reservation_else_its_payment() {
    let (charge, (order, _)) = (charge(1, State::Succeeded), order(FeedKind::Confirmed, AGO));
    let shown = ReservationView { created_at: Timestamp(77), ..view(ReservationState::Held, AGO) };
    let mut evidence = Evidence { charges: vec![&charge], ..Evidence::default() };
    assert_eq!(evidence.begun_at(), Timestamp(5), "as its key says");
    evidence.view = Some(&shown);
    assert_eq!(evidence.begun_at(), Timestamp(77));
    evidence.order = Some(&order);
    assert_eq!(evidence.begun_at(), AGO);
}
