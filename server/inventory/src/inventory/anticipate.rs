//! Reading ahead: what the commands of an entry will need is fetched from memory before the first is applied.
//!
//! The index, the records and the users' counts of a large sale are far larger than a processor's caches, and each command
//! needs other places of them. Applied one after the other, each waits for its own: several times a hundred nanoseconds.
//! Here the places of many commands are read in passes of which each read needs nothing of its neighbours', so that the
//! processor has many of them under way at once. It changes nothing, and what it reads decides nothing.

use std::hint::black_box;

use doorbuster_protocol::command::{Command, Target};
use doorbuster_protocol::types::{ReservationId, UserId};

use super::Inventory;

/// So many commands are worth reading ahead for at a time: what they need fits into a core's own cache.
pub const AHEAD: usize = 64;

impl Inventory {
    /// Fetches what applying these commands will read; more than [`AHEAD`] at a time push each other out.
    pub fn anticipate(&self, commands: &[Command]) {
        let named = || commands.iter().filter_map(named);
        let users = || commands.iter().filter_map(|command| self.limited_user(command));
        let leaves = named().fold(0, |sum, (id, _)| sum ^ self.reservations.stir(id));
        let counts = users().fold(0, |sum, (user, place)| sum ^ self.users.stir(user, place));
        black_box(leaves ^ counts);
        let entries = named().fold(0, |sum, (id, _)| sum ^ self.reservations.stir_entries(id));
        let counts = users().fold(0, |sum, (user, place)| sum ^ self.users.stir_entries(user, place));
        black_box(entries ^ counts);
        let known = || named().filter(|(_, is_new)| !is_new);
        black_box(known().fold(0, |sum, (id, _)| sum ^ self.reservations.stir_record(id)));
        black_box(known().fold(0, |sum, (id, _)| sum ^ self.reservations.stir_neighbours(id)));
    }

    /// The user whose units a reserve will be added to, and the product's place.
    fn limited_user(&self, command: &Command) -> Option<(UserId, u32)> {
        let Command::Reserve(reserve) = command else { return None };
        let place = self.place_of(reserve.product).ok()?;
        self.product_at(place).limits_users().then_some((reserve.user, place))
    }
}

/// The reservation that a command names, and whether it is probably not there yet.
fn named(command: &Command) -> Option<(ReservationId, bool)> {
    let of = |target: &Target| Some((target.reservation, false));
    match command {
        Command::Reserve(reserve) => Some((reserve.reservation, true)),
        Command::BeginPayment(payment) | Command::PaymentFailed(payment) => of(&payment.target),
        Command::Confirm(target) | Command::Release(target) | Command::RefundDone(target) => of(target),
        Command::Extend(extend) => of(&extend.target),
        Command::LatePayment(late) => of(&late.target),
        Command::Cancel(cancel) => of(&cancel.target),
        Command::CreateProduct(_)
        | Command::AdjustStock(_)
        | Command::SetStock(_)
        | Command::ChangeSale(_)
        | Command::AcknowledgeFeed { .. }
        | Command::Expire => None,
    }
}
