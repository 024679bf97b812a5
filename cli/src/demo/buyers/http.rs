//! Buyers who reserve through the gateway, as a browser would.

use super::browser::Browser;
use super::till::Till;
use super::{Denied, Grant, Paid, Shop};
use crate::clock;
use crate::demo::plan::{Buyer, PRODUCT, Plan};
use crate::names::{parse_reservation, reservation_text};
use doorbuster_gateway::ids;
use hyper::Method;
use serde_json::{Value, json};
use std::sync::Arc;

/// The shop by its gateway.
pub struct HttpShop {
    plan: Plan,
    browser: Arc<Browser>,
    till: Till,
}

impl HttpShop {
    /// The shop behind the gateway that this reaches, whose buyers pay here.
    #[must_use]
    pub const fn new(plan: Plan, browser: Arc<Browser>, till: Till) -> Self {
        Self { plan, browser, till }
    }
}

impl Shop for HttpShop {
    async fn reserve(&self, buyer: Buyer) -> Result<Grant, Denied> {
        let body = json!({ "product": PRODUCT.0, "quantity": 1 });
        let answer = self.browser.ask(buyer, Method::POST, "/v1/reservations", Some(&body)).await?;
        if !answer.status.is_success() {
            return Err(Denied::Refused(answer.code()));
        }
        let id = answer.body.get("id").and_then(Value::as_str).unwrap_or_default();
        let name = parse_reservation(id)
            .map_err(|error| Denied::Unanswered(format!("{} without an id: {error}", answer.status)))?;
        let user = ids::user(&self.plan.subject(buyer.index));
        let held_until = clock::now() + self.plan.hold();
        Ok(Grant { reservation: name.reservation, user, replayed: answer.replayed, held_until })
    }

    async fn pay(&self, buyer: Buyer, grant: Grant, attempt: u16) -> Result<Paid, Denied> {
        self.till.pay(buyer, grant, attempt).await
    }

    async fn release(&self, buyer: Buyer, grant: Grant) -> Result<(), Denied> {
        let path = format!("/v1/reservations/{}", reservation_text(PRODUCT, grant.reservation));
        let answer = self.browser.ask(buyer, Method::DELETE, &path, None).await?;
        if answer.status.is_success() { Ok(()) } else { Err(Denied::Refused(answer.code())) }
    }
}
