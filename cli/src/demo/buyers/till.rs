//! Where everybody pays, however they reserved: at the gateway, with a card. What comes of it the buyer asks for until it is
//! known: also after the reservation has expired with the card's charge still under way, because the money may be taken then,
//! and must buy the unit or go back.

use super::browser::{Answer, Browser};
use super::{Denied, Grant, PATIENCE, Paid};
use crate::clock;
use crate::demo::plan::{Buyer, PRODUCT};
use crate::names::reservation_text;
use hyper::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Looks at a payment under way before it is asked for again, which takes it up where it stands.
const LOOKS: u32 = 10;

/// The way to pay.
#[derive(Clone)]
pub struct Till {
    browser: Arc<Browser>,
    places: Arc<Semaphore>,
}

impl Till {
    /// At the gateway that this reaches, with room for so many requests to pay at once.
    #[must_use]
    pub fn new(browser: Arc<Browser>, places: usize) -> Self {
        Self { browser, places: Arc::new(Semaphore::new(places)) }
    }

    /// Pays; `attempt` counts the payments of this reservation from 1. Whose turn comes when the reservation is over has seen so
    /// on the page, and does not ask: a crowd of these would keep the gateway busy for nothing.
    pub async fn pay(&self, buyer: Buyer, grant: Grant, attempt: u16) -> Result<Paid, Denied> {
        let reservation = format!("/v1/reservations/{}", reservation_text(PRODUCT, grant.reservation));
        // The semaphore is never closed.
        let place = self.places.acquire().await;
        if clock::now() > grant.held_until {
            return Ok(Paid::Gone);
        }
        let mut answer = self.ask_to_pay(buyer, &reservation, attempt).await?;
        drop(place);
        let never_began = answer.is_first && answer.status != StatusCode::ACCEPTED;
        let deadline = clock::now() + PATIENCE;
        while answer.status == StatusCode::ACCEPTED && clock::now() < deadline {
            answer = self.follow(buyer, &reservation, attempt).await?;
        }
        match (answer.status, answer.state()) {
            (StatusCode::PAYMENT_REQUIRED, _) | (_, Some("held")) => Ok(Paid::Declined),
            (_, Some("confirmed")) => Ok(Paid::Confirmed),
            (_, Some("refund_due" | "refunded")) => Ok(Paid::Refunded),
            (_, Some("expired" | "released")) => self.is_charged_after_all(buyer, &reservation).await,
            _ => match answer.code().as_str() {
                "reservation_expired" if never_began => Ok(Paid::Gone),
                "reservation_expired" => self.is_charged_after_all(buyer, &reservation).await,
                "refunding" => Ok(Paid::Refunded),
                code => Err(Denied::Refused(code.to_owned())),
            },
        }
    }

    async fn ask_to_pay(&self, buyer: Buyer, reservation: &str, attempt: u16) -> Result<Answer, Denied> {
        let body = json!({ "card_token": "tok_visa", "attempt": attempt });
        self.browser.ask(buyer, Method::POST, &format!("{reservation}/payment"), Some(&body)).await
    }

    /// Looks at a payment that is under way until it has ended.
    async fn follow(&self, buyer: Buyer, reservation: &str, attempt: u16) -> Result<Answer, Denied> {
        for look in 1..=LOOKS {
            self.browser.pause(buyer, look).await;
            let seen = self.browser.ask(buyer, Method::GET, reservation, None).await?;
            if seen.state() != Some("paying") {
                return Ok(seen);
            }
        }
        self.ask_to_pay(buyer, reservation, attempt).await
    }

    /// The reservation is gone. If a payment had begun, its money may still be taken: the shop says whether it knows.
    async fn is_charged_after_all(&self, buyer: Buyer, reservation: &str) -> Result<Paid, Denied> {
        let deadline = clock::now() + PATIENCE;
        for look in 1.. {
            let seen = self.browser.ask(buyer, Method::GET, reservation, None).await?;
            match seen.state() {
                Some("confirmed") => return Ok(Paid::Confirmed),
                Some("refund_due" | "refunded") => return Ok(Paid::Refunded),
                _ if !seen.is_unresolved() || clock::now() > deadline => break,
                _ => self.browser.pause(buyer, look).await,
            }
        }
        Ok(Paid::Gone)
    }
}
