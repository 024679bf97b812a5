//! The smallest client there is: creates one product, then reserves units of it, one at a time, each until it is answered.
//! For the world's own tests.

use std::time::Duration;

use doorbuster_protocol::command::{Command, LatePaymentPolicy, ProductSpec, Reserve};
use doorbuster_protocol::failure::Failure;
use doorbuster_protocol::frame::{decode_answers, encode_request};
use doorbuster_protocol::reply::Answer;
use doorbuster_protocol::request::{Request, RequestBody};
use doorbuster_protocol::types::{
    Currency, Millis, Money, NodeId, ProductId, Quantity, RequestId, ReservationId, Timestamp, UserId,
};

use super::port::{Actor, Happened, Link, Port};
use crate::history::Heard;

/// A request that is not answered for so long is asked again, at another node.
const PATIENCE: Duration = Duration::from_millis(600);
/// The pause between two operations.
const PAUSE: Duration = Duration::from_millis(20);

/// The client.
pub struct Probe {
    product: ProductId,
    created: bool,
    link: Option<Link>,
    node: u16,
    input: Vec<u8>,
    /// The operation under way: its place in the history, and what is asked.
    asking: Option<(usize, RequestBody)>,
    request: u64,
    ending: bool,
    /// How many reservations it got.
    granted: u64,
}

impl Probe {
    /// One that has this product for itself.
    #[must_use]
    pub fn new(product: u64) -> Self {
        Self {
            product: ProductId(product),
            created: false,
            link: None,
            node: 1,
            input: Vec::new(),
            asking: None,
            request: 0,
            ending: false,
            granted: 0,
        }
    }

    fn begin(&mut self, port: &mut Port<'_>) {
        if self.ending || self.asking.is_some() {
            return;
        }
        let body = RequestBody::Command(if self.created { self.reserve(port) } else { self.create() });
        let place = port.called(body.clone());
        self.asking = Some((place, body));
        self.ask(port);
    }

    fn create(&self) -> Command {
        Command::CreateProduct(Box::new(ProductSpec {
            product: self.product,
            name: "probe".to_owned(),
            stock: Quantity(20),
            price: Money { minor: 1, currency: Currency(*b"EUR") },
            limit_per_user: Quantity(1000),
            limit_per_reservation: Quantity(2),
            ttl: Millis(1500),
            max_life: Millis(60_000),
            payment_cap: Millis(60_000),
            opens_at: Timestamp(0),
            closes_at: Timestamp(0),
            late_payment: LatePaymentPolicy::RetakeOrRefund,
        }))
    }

    fn reserve(&self, port: &mut Port<'_>) -> Command {
        Command::Reserve(Reserve {
            product: self.product,
            reservation: ReservationId(port.rng().next_u128() | 1),
            user: UserId(u128::from(port.client()) + 1),
            quantity: Quantity(1),
            ttl: Millis(0),
        })
    }

    /// Sends what is asked for; the answer to an earlier attempt will not be taken for this one's.
    fn ask(&mut self, port: &mut Port<'_>) {
        let Some((_, body)) = &self.asking else { return };
        let link = *self.link.get_or_insert_with(|| port.connect(NodeId(self.node)));
        self.request += 1;
        let mut frame = Vec::new();
        encode_request(RequestId(self.request), &Request { body: body.clone(), wait: Millis(500) }, &mut frame);
        port.send(link, frame);
        port.wake_after(PATIENCE, self.request);
    }

    fn elsewhere(&mut self, port: &mut Port<'_>, node: Option<NodeId>) {
        if let Some(link) = self.link.take() {
            port.close(link);
        }
        self.input.clear();
        let nodes = u64::from(port.nodes());
        self.node = node.map_or_else(|| u16::try_from(1 + port.rng().below(nodes)).unwrap_or(1), |node| node.0);
    }

    fn answered(&mut self, answer: Answer, port: &mut Port<'_>) {
        let heard = match answer {
            Ok(reply) => Heard::Reply(reply),
            Err(Failure::Refused(refusal)) => Heard::Refused(refusal),
            Err(Failure::NotLeader { leader }) => {
                self.elsewhere(port, leader);
                // Not at once: there may be no leader for a while.
                self.request += 1;
                return port.wake_after(PAUSE, self.request);
            }
            Err(_) => {
                self.request += 1;
                return port.wake_after(PAUSE, self.request);
            }
        };
        let Some((place, _)) = self.asking.take() else { return };
        self.granted += u64::from(self.created && matches!(heard, Heard::Reply(_)));
        self.created = true;
        port.returned(place, heard);
        self.request += 1;
        port.wake_after(PAUSE, self.request);
    }
}

impl Actor for Probe {
    fn name(&self) -> String {
        format!("probe of {}", self.product)
    }

    fn act(&mut self, what: Happened<'_>, port: &mut Port<'_>) {
        match what {
            Happened::Begins => port.wake_after(PAUSE, 0),
            Happened::Connected(_) => {}
            Happened::Received(link, bytes) if Some(link) == self.link => {
                self.input.extend_from_slice(bytes);
                let mut answers = Vec::new();
                let taken = decode_answers(&self.input, &mut |id, answer| answers.push((id, answer)));
                let taken = taken.expect("a node sends frames of the protocol");
                self.input.drain(..taken);
                for (id, answer) in answers {
                    if id.0 == self.request && self.asking.is_some() {
                        self.answered(answer, port);
                    }
                }
            }
            Happened::Lost(link) if Some(link) == self.link => {
                self.link = None;
                self.elsewhere(port, None);
                self.request += 1;
                port.wake_after(PAUSE, self.request);
            }
            Happened::Received(..) | Happened::Lost(_) => {}
            Happened::Timer(number) if number == self.request => {
                if self.asking.is_some() {
                    if number > 0 {
                        self.elsewhere(port, None);
                    }
                    self.ask(port);
                } else {
                    self.begin(port);
                }
            }
            Happened::Timer(_) => {}
            Happened::WindDown => self.ending = true,
        }
    }

    fn is_done(&self) -> bool {
        self.ending && self.asking.is_none()
    }
}
