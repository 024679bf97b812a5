//! What became of operations that were given up, as far as later answers tell: somebody must have made each change that
//! they show, and nobody made it twice.

use std::collections::{BTreeMap, BTreeSet};

use doorbuster_protocol::command::Command;
use doorbuster_protocol::reply::{ReservationState, ReservationView};
use doorbuster_protocol::types::{ProductId, ReservationId};

use ReservationState::{Cancelled, Confirmed, RefundDue, Refunded, Released};

use super::asked::{Ask, Asked};
use super::facts::{AllFacts, Change, Facts};

/// What became of an operation that was given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// It had no effect.
    None,
    /// It took effect with this stamp.
    At(u64),
    /// Nobody knows.
    Open,
}

/// The fates of a product's operations, those that were given up.
pub(super) fn fates(asks: &[Ask<'_>], facts: &AllFacts) -> Vec<Fate> {
    let mut fates = vec![Fate::Open; asks.len()];
    let Some(product) = product_of(asks) else { return fates };
    let given_up: BTreeSet<ReservationId> =
        asks.iter().filter(|ask| ask.is_given_up()).filter_map(Ask::reservation).collect();
    let mut doers: BTreeMap<ReservationId, Vec<usize>> = given_up.into_iter().map(|id| (id, Vec::new())).collect();
    for (at, ask) in asks.iter().enumerate().filter(|(_, ask)| ask.is_given_up()) {
        let of = ask.reservation().and_then(|id| doers.get_mut(&id));
        of.into_iter().for_each(|doers| doers.push(at));
    }
    for (id, doers) in doers {
        if let Some(facts) = facts.get(&(product, id)) {
            decide(asks, facts, &doers, &mut fates);
        }
    }
    fates
}

/// Of one reservation.
fn decide(asks: &[Ask<'_>], facts: &Facts, doers: &[usize], fates: &mut [Fate]) {
    let mut settle = |stamp: u64, told: bool, did: &dyn Fn(&Command) -> bool| {
        let may = |at: &usize| fates[*at] == Fate::Open && command(&asks[*at]).is_some_and(did);
        let may: Vec<usize> = doers.iter().copied().filter(may).collect();
        if !may.windows(2).all(|pair| alike(&asks[pair[0]], &asks[pair[1]], facts.payment_began)) {
            return;
        }
        may.iter().for_each(|at| fates[*at] = Fate::None);
        // Whoever of them had been called by then; the first, for they are all the same.
        let first = may.into_iter().min_by_key(|at| asks[*at].called);
        if let Some(first) = first.filter(|_| !told) {
            fates[first] = Fate::At(stamp);
        }
    };
    if let Some(made) = &facts.made {
        settle(made.created_at.0, facts.making_was_told, &|command| makes(command, made));
    }
    for (change, stamp) in &facts.made_at {
        let told = facts.told.contains(change);
        settle(*stamp, told, &|command| brings(command, *change, facts));
        match change {
            // These are what it never comes back from, and what it cannot have been before.
            Change::Became(Confirmed) if facts.confirmed_late => settle(0, true, &is_confirm),
            Change::Became(Confirmed) => settle(0, true, &is_release),
            // What is cancelled had been sold, and by whom is not told.
            Change::Became(RefundDue | Refunded) if !facts.cancelled => settle(0, true, &is_confirm),
            _ => {}
        }
    }
}

/// Whether this command made such a reservation, if it did anything.
fn makes(command: &Command, made: &ReservationView) -> bool {
    let by_late_payment = made.first_expires_at == made.created_at;
    match command {
        Command::Reserve(reserve) => !by_late_payment && (reserve.user, reserve.quantity) == (made.user, made.quantity),
        Command::LatePayment(_) => by_late_payment,
        _ => false,
    }
}

/// Whether this command made such a change, if it did anything. A late payment of a reservation that lives confirms it.
fn brings(command: &Command, change: Change, facts: &Facts) -> bool {
    match (command, change) {
        (Command::Confirm(_), Change::Became(Confirmed)) => !facts.confirmed_late,
        // It would have left a payment.
        (Command::LatePayment(_), Change::Became(Confirmed)) => !facts.sold_unpaid,
        (Command::LatePayment(_), Change::Became(RefundDue))
        | (Command::Cancel(_), Change::Became(RefundDue | Cancelled))
        | (Command::Release(_), Change::Became(Released))
        | (Command::RefundDone(_), Change::Became(Refunded)) => true,
        (Command::BeginPayment(payment), Change::Began(attempt))
        | (Command::PaymentFailed(payment), Change::Failed(attempt)) => payment.attempt == attempt,
        _ => false,
    }
}

fn is_confirm(command: &Command) -> bool {
    matches!(command, Command::Confirm(_))
}

fn is_release(command: &Command) -> bool {
    matches!(command, Command::Release(_))
}

/// Whether it makes no difference which of the two it was. Of a confirmation and money that is told of it does where no
/// payment had begun: the latter leaves one.
fn alike(one: &Ask<'_>, other: &Ask<'_>, payment_began: bool) -> bool {
    match (command(one), command(other)) {
        (Some(Command::Confirm(target)), Some(Command::LatePayment(late)))
        | (Some(Command::LatePayment(late)), Some(Command::Confirm(target))) => payment_began && *target == late.target,
        (one, other) => one == other,
    }
}

fn command<'a>(ask: &Ask<'a>) -> Option<&'a Command> {
    match ask.asked {
        Asked::Command(command) => Some(command),
        _ => None,
    }
}

fn product_of(asks: &[Ask<'_>]) -> Option<ProductId> {
    asks.iter().find_map(|ask| command(ask)?.product())
}
