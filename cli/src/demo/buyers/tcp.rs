//! Buyers whose unit is reserved through the client library, as a shop's own backend does it for them. They pay where everybody
//! pays, at the gateway.

use super::till::Till;
use super::{Denied, Grant, PATIENCE, Paid, Shop};
use crate::clock;
use crate::demo::plan::{Buyer, PRODUCT, Plan};
use doorbuster_client::{Client, Error};
use doorbuster_protocol::command::Target;

/// The shop by its servers.
pub struct TcpShop {
    plan: Plan,
    client: Client,
    till: Till,
}

impl TcpShop {
    /// The shop behind this client, whose buyers pay here.
    #[must_use]
    pub const fn new(plan: Plan, client: Client, till: Till) -> Self {
        Self { plan, client, till }
    }

    /// Asks until the answer is certain. Every command carries its id, so that asking again is safe.
    async fn ask<T, F>(&self, buyer: Buyer, question: impl Fn() -> F) -> Result<T, Denied>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = clock::now() + PATIENCE;
        let mut tries = 0;
        loop {
            match question().await {
                Ok(answer) => return Ok(answer),
                Err(Error::Refused(refusal)) => return Err(Denied::Refused(refusal.code().name().to_owned())),
                Err(error @ (Error::OutcomeUnknown | Error::Unavailable { .. })) if clock::now() > deadline => {
                    return Err(Denied::Unanswered(error.to_string()));
                }
                Err(Error::OutcomeUnknown | Error::Unavailable { .. }) => {
                    tries += 1;
                    tokio::time::sleep(self.plan.pause(buyer, tries)).await;
                }
                Err(error @ (Error::Rejected(_) | Error::Config(_))) => {
                    return Err(Denied::Unanswered(error.to_string()));
                }
            }
        }
    }
}

impl Shop for TcpShop {
    async fn reserve(&self, buyer: Buyer) -> Result<Grant, Denied> {
        let reserve = self.plan.reserve(buyer);
        let reply = self.ask(buyer, || self.client.reserve(reserve)).await?;
        let view = reply.reservation;
        let held_until = clock::now() + self.plan.hold();
        Ok(Grant { reservation: view.reservation, user: view.user, replayed: reply.replayed, held_until })
    }

    async fn pay(&self, buyer: Buyer, grant: Grant, attempt: u16) -> Result<Paid, Denied> {
        self.till.pay(buyer, grant, attempt).await
    }

    async fn release(&self, buyer: Buyer, grant: Grant) -> Result<(), Denied> {
        let target = Target { product: PRODUCT, reservation: grant.reservation, user: grant.user };
        self.ask(buyer, || self.client.release(target)).await?;
        Ok(())
    }
}
