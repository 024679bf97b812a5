//! A sale is undone. One that was paid for owes its money back, and is `refund_due` until somebody says that it is refunded;
//! of one that nobody was known to pay for, nothing is owed here: whoever took the money gives it back.

use doorbuster_protocol::command::{Cancel, Cancellation};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{FeedKind, Reply, ReservationState};

use super::{Inventory, why_not};
use crate::record::Reservation;

impl Inventory {
    /// Undoes a sale, once: again to the same effect is a replay, whoever asks and whatever the reason.
    pub(super) fn cancel(&mut self, cancel: &Cancel) -> Result<Reply, Refusal> {
        let (slot, reservation) = self.locate_now(&cancel.target)?;
        if let Some(before) = reservation.cancelled {
            let same = before.return_stock == cancel.how.return_stock;
            return if same { Ok(self.reservation_reply(slot, true)) } else { Err(Refusal::ReservationCancelled) };
        }
        match reservation.state {
            ReservationState::Confirmed => {
                self.undo(slot, &reservation, cancel.how);
                Ok(self.reservation_reply(slot, false))
            }
            ReservationState::Held => Err(Refusal::NotConfirmed),
            _ => Err(why_not(&reservation)),
        }
    }

    fn undo(&mut self, slot: u32, sold: &Reservation, how: Cancellation) {
        let (state, kind) = if sold.is_paid() {
            (ReservationState::RefundDue, FeedKind::RefundDue)
        } else {
            (ReservationState::Cancelled, FeedKind::Cancelled)
        };
        let undone = self.enter(slot, &Reservation { cancelled: Some(how), ..*sold }, state);
        if !how.return_stock {
            self.change_product(undone.product, |product| product.units.write_off(undone.quantity));
        }
        self.tell(kind, &undone);
    }
}
