//! Buyers who come over HTTP, through one of the gateways: a connection for each request, the next gateway when one is
//! down.
//!
//! A payment is several commands, given by the gateway whenever it gets to them, even after its caller has gone: the
//! history has each of them as *maybe*, and the answer as what it is, a look at the reservation. A gateway asks the cluster
//! again as any client does, and does not say whether an attempt of its own went unheard: so one may have, always.

use std::sync::Arc;
use std::time::Duration;

use doorbuster_gateway::ids;
use doorbuster_protocol::command::{
    Cancel, CancelReason, Cancellation, Command, Extend, LatePayment, Payment, Reserve, Target,
};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Reply, ReservationState};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, Quantity};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::answer::Answer;
use super::{Buyer, PAUSE};
use crate::chaos::shop::{Door, Product};
use crate::history::Heard;

/// How long a gateway may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
const TRIES: u32 = 5;
const MOST_BYTES: u64 = 1 << 20;

/// A request, whoever answers it.
struct Ask<'a> {
    method: &'static str,
    path: &'a str,
    key: &'a str,
    body: Option<Value>,
}

struct Visit<'a> {
    buyer: &'a Buyer,
    gateways: &'a [String],
    product: &'a Product,
    rng: &'a mut StdRng,
    subject: String,
}

/// Runs until the sale is over.
pub async fn run(buyer: Buyer, gateways: Arc<Vec<String>>, seed: u64) {
    let mut rng = buyer.rng(seed);
    while !buyer.over.is_cancelled() {
        if let Some(product) = buyer.shop.visit(Door::Http, &mut rng) {
            let subject = format!("buyer{}-{}", buyer.number, rng.random_range(1..=2));
            let mut visit = Visit { buyer: &buyer, gateways: &gateways, product: &product, rng: &mut rng, subject };
            visit.run().await;
        }
        buyer.think(&mut rng, 80).await;
    }
}

impl Visit<'_> {
    async fn run(&mut self) {
        let key = format!("{:032x}", self.rng.random::<u128>());
        let user = ids::user(&self.subject);
        let reserve = Reserve {
            product: self.product.spec.product,
            reservation: ids::reservation(user, &key),
            user,
            quantity: Quantity(if self.rng.random_bool(0.8) { 1 } else { 2 }),
            ttl: Millis(0),
        };
        let target = Target { product: reserve.product, reservation: reserve.reservation, user };
        let heard = self.reserve(reserve, &key).await;
        if !matches!(heard, Heard::Reply(_) | Heard::Unknown) {
            return;
        }
        self.buyer.think(self.rng, 200).await;
        match self.rng.random_range(0..11) {
            0..7 => self.pay(target, reserve.quantity).await,
            7 => drop(self.command(Command::Release(target), target, "DELETE", "", "", None).await),
            8 => self.extend(target).await,
            9 => drop(self.reserve(reserve, &key).await),
            _ => self.buyer.think(self.rng, self.product.spec.ttl.0).await,
        }
        self.look(target).await;
    }

    async fn reserve(&mut self, reserve: Reserve, key: &str) -> Heard {
        let target = Target { product: reserve.product, reservation: reserve.reservation, user: reserve.user };
        let ticket = self.buyer.record.call(self.buyer.number, RequestBody::Command(Command::Reserve(reserve)));
        let body = json!({ "product": reserve.product.0, "quantity": reserve.quantity.0 });
        let ask = Ask { method: "POST", path: "/v1/reservations", key, body: Some(body) };
        let heard = self.ask(&ask, target).await;
        self.buyer.record.unheard(ticket);
        self.buyer.record.heard(ticket, heard.clone());
        heard
    }

    async fn extend(&mut self, target: Target) {
        let by = self.rng.random_range(50..=500);
        let key = format!("{:032x}", self.rng.random::<u128>());
        let scope = format!("extend/{}", ids::format(target.product, target.reservation));
        let operation = ids::operation(target.user, &scope, &key);
        let extend = Command::Extend(Extend { target, operation, by: Millis(by) });
        self.command(extend, target, "POST", "/extend", &key, Some(json!({ "by_ms": by }))).await;
    }

    async fn look(&mut self, target: Target) -> Heard {
        let ticket = self.buyer.record.call(self.buyer.number, RequestBody::Query(Query::Reservation(target)));
        let path = path(target);
        let heard = self.ask(&Ask { method: "GET", path: &path, key: "", body: None }, target).await;
        self.buyer.record.heard(ticket, heard.clone());
        heard
    }

    async fn command(
        &mut self,
        command: Command,
        target: Target,
        method: &'static str,
        suffix: &str,
        key: &str,
        body: Option<Value>,
    ) -> Heard {
        let ticket = self.buyer.record.call(self.buyer.number, RequestBody::Command(command));
        let path = path(target) + suffix;
        let heard = self.ask(&Ask { method, path: &path, key, body }, target).await;
        self.buyer.record.unheard(ticket);
        self.buyer.record.heard(ticket, heard.clone());
        heard
    }

    async fn pay(&mut self, target: Target, quantity: Quantity) {
        for attempt in 1..=2 {
            let declined = self.rng.random_bool(0.2);
            let card = if declined { "tok_declined" } else { "tok_visa" };
            let payment = Payment { target, attempt };
            // Each may be given, at any time from now on, by any gateway: what the provider says of the charge decides.
            let mut maybe = vec![Command::BeginPayment(payment), Command::PaymentFailed(payment)];
            if !declined {
                maybe.push(Command::Confirm(target));
                maybe.push(Command::LatePayment(LatePayment { target, quantity }));
                maybe.push(Command::RefundDone(target));
            }
            for command in maybe {
                self.buyer.record.call(self.buyer.number, RequestBody::Command(command));
            }
            let ticket = self.buyer.record.call(self.buyer.number, RequestBody::Query(Query::Reservation(target)));
            let path = path(target) + if self.rng.random_bool(0.7) { "/payment?wait=2" } else { "/payment" };
            let body = Some(json!({ "card_token": card, "attempt": attempt }));
            let heard = self.ask(&Ask { method: "POST", path: &path, key: "", body }, target).await;
            // Problems of a payment say nothing that a look at the reservation would.
            let seen = match heard {
                Heard::Reply(_) => heard,
                _ => Heard::Unknown,
            };
            self.buyer.record.heard(ticket, seen);
            let now = self.look(target).await;
            match &now {
                Heard::Reply(Reply::Reservation(reply)) if reply.reservation.state == ReservationState::Held => {}
                Heard::Reply(Reply::Reservation(reply)) if reply.reservation.state == ReservationState::Confirmed => {
                    return self.regret(target).await;
                }
                _ => return,
            }
        }
    }

    /// Some cancel what they have bought.
    async fn regret(&mut self, target: Target) {
        if self.rng.random_bool(0.25) {
            self.buyer.think(self.rng, 300).await;
            let how = Cancellation { reason: CancelReason::Customer, return_stock: true };
            let cancel = Command::Cancel(Cancel { target, how });
            self.command(cancel, target, "POST", "/cancel", "", None).await;
        }
    }

    /// Asks, again and at another gateway while the answer settles nothing.
    async fn ask(&mut self, ask: &Ask<'_>, target: Target) -> Heard {
        let mut unheard = false;
        let mut heard = Heard::Unknown;
        let first = self.rng.random_range(0..self.gateways.len());
        for again in 0..TRIES {
            if again > 0 {
                tokio::time::sleep(2 * PAUSE).await;
            }
            let gateway = &self.gateways[(first + again as usize) % self.gateways.len()];
            let sent = tokio::time::timeout(ANSWER_WITHIN, send(gateway, &self.subject, ask)).await;
            heard = match sent {
                Ok(Ok(answer)) => answer.heard(target),
                Ok(Err(Sending::NotConnected(error))) => Heard::NotDone(error),
                Ok(Err(Sending::Unanswered)) | Err(_) => Heard::Unknown,
            };
            unheard |= heard == Heard::Unknown;
            if unheard && matches!(heard, Heard::NotDone(_)) {
                heard = Heard::Unknown;
            }
            if matches!(heard, Heard::Reply(_) | Heard::Refused(_)) || self.buyer.over.is_cancelled() {
                break;
            }
        }
        heard
    }
}

/// Why there is no answer.
enum Sending {
    /// Nothing was sent.
    NotConnected(String),
    /// Something was.
    Unanswered,
}

fn path(target: Target) -> String {
    format!("/v1/reservations/{}", ids::format(target.product, target.reservation))
}

async fn send(gateway: &str, subject: &str, ask: &Ask<'_>) -> Result<Answer, Sending> {
    let connected = TcpStream::connect(gateway).await;
    let mut stream = connected.map_err(|error| Sending::NotConnected(error.to_string()))?;
    let body = ask.body.as_ref().map(Value::to_string).unwrap_or_default();
    let key = if ask.key.is_empty() { String::new() } else { format!("Idempotency-Key: {}\r\n", ask.key) };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let (method, path, length) = (ask.method, ask.path, body.len());
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {gateway}\r\nConnection: close\r\nAuthorization: Bearer dev:{subject}\r\n\
         {key}{kind}Content-Length: {length}\r\n\r\n{body}"
    );
    exchange(&mut stream, &request).await.ok().flatten().ok_or(Sending::Unanswered)
}

/// Sends a request on a connection of its own and reads its answer; `None` if that is not whole.
pub async fn exchange(stream: &mut TcpStream, request: &str) -> std::io::Result<Option<Answer>> {
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut bytes).await?;
    Ok(read(&String::from_utf8_lossy(&bytes)))
}

/// `None` if the answer is not whole.
fn read(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let (mut replayed, mut length) = (false, None);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "idempotent-replayed" => replayed = value.trim() == "true",
            "content-length" => length = value.trim().parse::<usize>().ok(),
            _ => {}
        }
    }
    let whole = length == Some(body.len());
    whole.then(|| Answer { status, replayed, body: serde_json::from_str(body).unwrap_or(Value::Null) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_broke_off_is_none() {
        let whole =
            "HTTP/1.1 409 Conflict\r\ncontent-length: 19\r\nIdempotent-Replayed: true\r\n\r\n{\"code\":\"sold_out\"}";
        let answer = read(whole).expect("it is whole");
        assert_eq!((answer.status, answer.replayed, answer.code()), (409, true, "sold_out"));
        assert!(read(&whole[..whole.len() - 1]).is_none());
        assert!(read("HTTP/1.1 200 OK\r\n").is_none());
    }
}
