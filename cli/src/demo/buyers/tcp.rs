//! Buyers who reach the shop through the client library. They are their own payment provider: the saga of begin
//! payment, charge, confirm runs here, with a charge that only takes time.

use super::{Card, Denied, Grant, PATIENCE, Paid, Shop};
use crate::clock;
use crate::demo::plan::{Buyer, PRODUCT, Plan};
use doorbuster_client::{Client, Error};
use doorbuster_protocol::command::{LatePayment, Payment, Target};
use doorbuster_protocol::failure::Refusal;
use doorbuster_protocol::reply::{ReservationReply, ReservationState};
use doorbuster_protocol::types::Quantity;

/// The shop by its servers.
pub struct TcpShop {
    plan: Plan,
    client: Client,
}

/// A certain no, as the protocol says it.
enum No {
    Refused(Refusal),
    Unanswered(String),
}

impl From<No> for Denied {
    fn from(no: No) -> Self {
        match no {
            No::Refused(refusal) => Self::Refused(refusal.code().name().to_owned()),
            No::Unanswered(why) => Self::Unanswered(why),
        }
    }
}

impl TcpShop {
    /// The shop behind this client.
    #[must_use]
    pub const fn new(plan: Plan, client: Client) -> Self {
        Self { plan, client }
    }

    /// Asks until the answer is certain. Every command carries its id, so that asking again is safe.
    async fn ask<T, F>(&self, buyer: Buyer, question: impl Fn() -> F) -> Result<T, No>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = clock::now() + PATIENCE;
        let mut tries = 0;
        loop {
            match question().await {
                Ok(answer) => return Ok(answer),
                Err(Error::Refused(refusal)) => return Err(No::Refused(refusal)),
                Err(error @ (Error::OutcomeUnknown | Error::Unavailable { .. })) if clock::now() > deadline => {
                    return Err(No::Unanswered(error.to_string()));
                }
                Err(Error::OutcomeUnknown | Error::Unavailable { .. }) => {
                    tries += 1;
                    tokio::time::sleep(self.plan.pause(buyer, tries)).await;
                }
                Err(error @ (Error::Rejected(_) | Error::Config(_))) => return Err(No::Unanswered(error.to_string())),
            }
        }
    }

    fn target(grant: Grant) -> Target {
        Target { product: PRODUCT, reservation: grant.reservation, user: grant.user }
    }

    /// The money is taken; the units must become the buyer's, or the money goes back.
    async fn settle(&self, buyer: Buyer, grant: Grant) -> Result<Paid, Denied> {
        let target = Self::target(grant);
        match self.ask(buyer, || self.client.confirm(target)).await {
            Ok(_) => return Ok(Paid::Confirmed),
            Err(No::Refused(Refusal::ReservationExpired { .. } | Refusal::ReservationReleased)) => {}
            Err(no) => return Err(no.into()),
        }
        let late = LatePayment { target, quantity: Quantity(1) };
        let reply = self.ask(buyer, || self.client.late_payment(late)).await?;
        if reply.reservation.state == ReservationState::Confirmed {
            return Ok(Paid::Confirmed);
        }
        self.ask(buyer, || self.client.refund_done(target)).await?;
        Ok(Paid::Refunded)
    }
}

fn grant(reply: &ReservationReply) -> Grant {
    Grant { reservation: reply.reservation.reservation, user: reply.reservation.user, replayed: reply.replayed }
}

impl Shop for TcpShop {
    async fn reserve(&self, buyer: Buyer) -> Result<Grant, Denied> {
        let reserve = self.plan.reserve(buyer);
        let reply = self.ask(buyer, || self.client.reserve(reserve)).await?;
        Ok(grant(&reply))
    }

    async fn pay(&self, buyer: Buyer, grant: Grant, card: Card, attempt: u16) -> Result<Paid, Denied> {
        let payment = Payment { target: Self::target(grant), attempt };
        match self.ask(buyer, || self.client.begin_payment(payment)).await {
            Ok(_) => {}
            Err(No::Refused(refusal @ (Refusal::ReservationExpired { .. } | Refusal::ReservationReleased))) => {
                return Ok(Paid::Gone(refusal.code().name().to_owned()));
            }
            Err(no) => return Err(no.into()),
        }
        tokio::time::sleep(self.plan.charge(buyer)).await;
        match card {
            Card::Good => self.settle(buyer, grant).await,
            Card::Declined => {
                match self.ask(buyer, || self.client.payment_failed(payment)).await {
                    // Told twice, and the reservation ran out in between: declined all the same.
                    Ok(_) | Err(No::Refused(Refusal::ReservationExpired { .. })) => Ok(Paid::Declined),
                    Err(no) => Err(no.into()),
                }
            }
        }
    }

    async fn release(&self, buyer: Buyer, grant: Grant) -> Result<(), Denied> {
        let target = Self::target(grant);
        self.ask(buyer, || self.client.release(target)).await?;
        Ok(())
    }
}
