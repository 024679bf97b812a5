//! Who takes the money, and what is asked of them.
//!
//! Fault model: a call may be lost before or after it took effect, may take effect long after its caller died, and may be
//! made by any number of gateways at once. What a provider must keep to, for every [`Key`]: money is taken at most once;
//! once it has said [`Known::Succeeded`], [`Known::Declined`] or [`Known::Refunded`], it never says otherwise, but that
//! what succeeded may be refunded; and once [`PaymentProvider::cancel`] was answered, no charge under that key, however
//! late it arrives, takes anything that the answer did not tell.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use doorbuster_protocol::types::{Money, ProductId, ReservationId, Timestamp, UserId};

use super::pacing::AccountReport;
use super::pacing::queue::Rank;

/// A future of a provider's.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The provider's idempotency key: one try to pay for one reservation. When the reservation was made is part of it,
/// because its id is as good as new once the reservation is forgotten, and the provider forgets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// For which reservation.
    pub reservation: ReservationId,
    /// When that was made.
    pub made_at: Timestamp,
    /// Which try of the buyer's, 1 for the first.
    pub attempt: u16,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{}-{}", self.reservation.0, self.made_at, self.attempt)
    }
}

/// The text is not one that a key is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 hexadecimal digits, milliseconds and a number from 1 on, with dashes between")]
pub struct NoKey;

impl FromStr for Key {
    type Err = NoKey;

    /// The inverse of [`fmt::Display`]; one spelling only.
    fn from_str(text: &str) -> Result<Self, NoKey> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(NoKey);
        let reservation = u128::from_str_radix(part()?, 16).map_err(|_| NoKey)?;
        let made_at = part()?.parse().map_err(|_| NoKey)?;
        let attempt = part()?.parse().map_err(|_| NoKey)?;
        let key = Self { reservation: ReservationId(reservation), made_at: Timestamp(made_at), attempt };
        if attempt > 0 && key.to_string() == text { Ok(key) } else { Err(NoKey) }
    }
}

/// What is paid for. Every gateway can say it from the reservation alone, and says the same: a product's price never
/// changes. So a provider that must be told the amount to find or close a key can be asked by whoever finds the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// The idempotency key.
    pub key: Key,
    /// Who buys.
    pub user: UserId,
    /// What is bought.
    pub product: ProductId,
    /// How much altogether.
    pub amount: Money,
}

/// What is to be charged: at most once for its key, and asked again, the same answer.
#[derive(Clone, Debug)]
pub struct Charge {
    /// For what.
    pub purchase: Purchase,
    /// The provider's token for the buyer's card.
    pub card_token: String,
}

/// What the provider says to a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// The money is taken.
    Succeeded,
    /// It will not be, with the provider's reason.
    Declined(&'static str),
    /// No answer, or not one to rely on: it may or may not be taken. Ask again.
    Unclear,
}

/// What the provider knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing. A charge may yet arrive.
    NotFound,
    /// A charge has arrived and is not decided.
    InProgress,
    /// The money is taken.
    Succeeded,
    /// It is not, and will not be, with the provider's reason.
    Declined(&'static str),
    /// It was taken, and given back.
    Refunded,
    /// No answer, or not one to rely on. Ask again.
    Unclear,
}

/// Takes money, and gives it back. Every call may be cancelled at any await: the next one tells.
pub trait PaymentProvider: Send + Sync {
    /// Charges, or says again what came of it.
    fn charge<'a>(&'a self, charge: &'a Charge) -> Answering<'a, Charged>;

    /// What came of the charge with this key. Takes nothing, and decides nothing.
    fn outcome(&self, purchase: Purchase) -> Answering<'_, Known>;

    /// Closes a key under which nothing was decided: from then on it is declined, also to a charge that is under way to
    /// the provider now. Of a key that is decided it says what was; of one in progress, that it is.
    fn cancel(&self, purchase: Purchase) -> Answering<'_, Known>;

    /// Gives all of what was taken under this key back, at most once however often it is asked.
    fn refund(&self, purchase: Purchase) -> Answering<'_, Known>;

    /// Waits until it is this purchase's turn to ask, where the provider wants to be asked at a pace; to be waited for before
    /// each of the calls above. `false` when too many wait. Cancelled, the place in the queue is lost.
    fn turn(&self, _purchase: Purchase, _rank: Rank) -> Answering<'_, bool> {
        Box::pin(ready(true))
    }

    /// How long a charge of this user's that comes now would wait for its turn, as far as one can tell.
    fn wait(&self, _user: UserId) -> Duration {
        Duration::ZERO
    }

    /// Its accounts, and how they fare.
    fn accounts(&self) -> Vec<AccountReport> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_try_and_another_reservation_under_the_same_id_have_keys_of_their_own() {
        let key = |made_at, attempt| {
            Key { reservation: ReservationId(0xab), made_at: Timestamp(made_at), attempt }.to_string()
        };
        assert_eq!(key(7, 1), "000000000000000000000000000000ab-7-1");
        assert!(key(7, 1) != key(7, 2) && key(7, 1) != key(8, 1) && key(7, 11) != key(71, 1));
    }

    #[test]
    fn a_key_is_read_as_it_is_written_and_not_otherwise() {
        let key = Key { reservation: ReservationId(0xab), made_at: Timestamp(7), attempt: 1 };
        assert_eq!(key.to_string().parse(), Ok(key));
        let id = "000000000000000000000000000000ab";
        for bad in ["", "-", "--", id, &format!("{id}-7"), &format!("{id}-7-0"), &format!("{id}-07-1")] {
            assert_eq!(bad.parse::<Key>(), Err(NoKey), "{bad}");
        }
        for bad in [format!("{id}-7-1-1"), format!("{id}-7-65536"), format!("{id}-+7-1"), format!("{}-7-1", "AB")] {
            assert_eq!(bad.parse::<Key>(), Err(NoKey), "{bad}");
        }
    }
}
