//! Who buys: reserves, confirms, releases, extends, pays late, repeats itself, and uses ids that are taken.

use doorbuster_protocol::command::{Command, Extend, LatePayment, Payment, Reserve, Target};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::ReservationState as State;
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, ProductId, Quantity, UserId};

use super::board::{Board, Known};
use super::caller::Finished;
use super::client::Wishes;
use super::shape::Mix;
use crate::sim::{Port, Rng};

/// See the module.
#[derive(Debug)]
pub struct Shopper {
    /// How often it wants what.
    pub mix: Mix,
    /// Users it buys for are 1 to this.
    pub users: u64,
}

impl Wishes for Shopper {
    fn name(&self) -> &'static str {
        "shopper"
    }

    fn wish(&mut self, board: &mut Board, rng: &mut Rng) -> Option<RequestBody> {
        let parts = self.mix.parts();
        let mut drawn = rng.below(parts.iter().sum());
        let kind = parts.iter().position(|part| {
            let hit = drawn < *part;
            drawn = drawn.saturating_sub(*part);
            hit
        });
        let command = match kind.unwrap_or(0) {
            0 => Command::Reserve(self.reserve(board, rng)),
            1 => repeat(board, rng)?,
            2 => conflict(board, rng)?,
            3 => Command::Confirm(target(board.reservation(&[State::Held, State::Paying], rng)?, rng)),
            4 => Command::Release(target(board.reservation(&[State::Held], rng)?, rng)),
            5 => extend(board, rng)?,
            6 => payment(board, rng)?,
            7 => late(board, rng)?,
            _ => return Some(RequestBody::Query(look(board, rng))),
        };
        Some(RequestBody::Command(command))
    }

    fn heard(&mut self, _finished: &Finished, _board: &mut Board, _port: &mut Port<'_>) {}
}

impl Shopper {
    fn reserve(&self, board: &mut Board, rng: &mut Rng) -> Reserve {
        let product = if rng.percent(1) { ProductId(999_999) } else { board.product(rng) };
        let quantity = match rng.below(40) {
            0 => 0,
            1 => 20_000,
            2..8 => 2,
            8..11 => 3,
            _ => 1,
        };
        let ttl = match rng.below(20) {
            0 => 1,
            1..6 => rng.between(100, 400),
            _ => 0,
        };
        Reserve {
            product,
            reservation: board.fresh_reservation(rng),
            user: UserId(u128::from(rng.between(1, self.users))),
            quantity: Quantity(quantity),
            ttl: Millis(ttl),
        }
    }
}

/// Nearly always the reservation's own user; else nobody in particular, or somebody else.
fn target(known: Known, rng: &mut Rng) -> Target {
    let target = known.target();
    match rng.below(30) {
        0 => Target { user: UserId(0), ..target },
        1 => Target { user: UserId(target.user.get() + 1), ..target },
        _ => target,
    }
}

const ANY: [State; 8] = [
    State::Held,
    State::Paying,
    State::Confirmed,
    State::Released,
    State::Expired,
    State::RefundDue,
    State::Refunded,
    State::Cancelled,
];

fn repeat(board: &Board, rng: &mut Rng) -> Option<Command> {
    if rng.percent(30) {
        return board.operation(rng);
    }
    board.reservation(&ANY, rng).map(|known| Command::Reserve(known.reserve))
}

fn conflict(board: &Board, rng: &mut Rng) -> Option<Command> {
    let Reserve { quantity, user, .. } = board.reservation(&ANY, rng)?.reserve;
    let taken = board.reservation(&ANY, rng)?.reserve;
    Some(Command::Reserve(match rng.below(3) {
        0 => Reserve { quantity: Quantity(quantity.get() + 1), ..taken },
        1 => Reserve { user: UserId(user.get() + 1), ..taken },
        _ => Reserve { product: board.product(rng), ..taken },
    }))
}

fn extend(board: &mut Board, rng: &mut Rng) -> Option<Command> {
    let target = target(board.reservation(&[State::Held], rng)?, rng);
    let by = if rng.percent(5) { 0 } else { rng.between(50, 1_500) };
    Some(Command::Extend(Extend { target, operation: board.fresh_operation(rng), by: Millis(by) }))
}

fn payment(board: &Board, rng: &mut Rng) -> Option<Command> {
    let known = board.reservation(&[State::Held, State::Paying], rng)?;
    let begins = rng.percent(50);
    let attempt = match rng.below(10) {
        0 => known.attempts.wrapping_add(2),
        1 => known.attempts,
        _ => known.attempts + u16::from(begins),
    };
    let payment = Payment { target: target(known, rng), attempt };
    Some(if begins { Command::BeginPayment(payment) } else { Command::PaymentFailed(payment) })
}

fn late(board: &Board, rng: &mut Rng) -> Option<Command> {
    if rng.percent(40) {
        return Some(Command::RefundDone(target(board.reservation(&[State::RefundDue], rng)?, rng)));
    }
    let known = board.reservation(&[State::Expired, State::Released], rng)?;
    let quantity = if rng.percent(5) { Quantity(known.reserve.quantity.get() + 1) } else { known.reserve.quantity };
    Some(Command::LatePayment(LatePayment { target: known.target(), quantity }))
}

fn look(board: &Board, rng: &mut Rng) -> Query {
    match board.reservation(&ANY, rng) {
        Some(known) if rng.percent(50) => Query::Reservation(target(known, rng)),
        _ => Query::Product(board.product(rng)),
    }
}
