//! Who takes the money.

use std::future::Future;
use std::pin::Pin;

use doorbuster_protocol::types::{Money, ProductId, ReservationId};

/// A future of a provider's.
pub type ChargeFuture<'a> = Pin<Box<dyn Future<Output = Charged> + Send + 'a>>;

/// What is to be charged. (reservation, attempt) is the provider's idempotency key: charged at most once, and asked
/// again, the same answer.
#[derive(Clone, Debug)]
pub struct Charge {
    /// What is bought.
    pub product: ProductId,
    /// For which reservation.
    pub reservation: ReservationId,
    /// Which try of the buyer's, 1 for the first.
    pub attempt: u16,
    /// How much altogether.
    pub amount: Money,
    /// The provider's token for the buyer's card.
    pub card_token: String,
}

/// What the provider says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// The money is taken.
    Succeeded,
    /// It will not be, with the provider's reason.
    Declined(&'static str),
    /// No answer, or not one to rely on: it may or may not be taken. Ask again.
    Unclear,
}

/// Takes money, at most once for each idempotency key.
pub trait PaymentProvider: Send + Sync {
    /// Charges, or says again what came of it. May be cancelled at any await: the next call tells.
    fn charge<'a>(&'a self, charge: &'a Charge) -> ChargeFuture<'a>;
}
