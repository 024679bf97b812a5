//! What the clients of a run know in common, as people who tell each other would: which reservations there are, which
//! commands were sent, what time it is. They use it to get in each other's way.

use std::cell::RefCell;
use std::rc::Rc;

use doorbuster_protocol::command::{Command, Reserve, Target};
use doorbuster_protocol::reply::{Reply, ReservationReply, ReservationState};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{OperationId, ProductId, Quantity, ReservationId, Timestamp};

use super::caller::Finished;
use crate::history::Heard;
use crate::sim::Rng;

/// Reservations remembered at most; the oldest are forgotten.
const REMEMBERED: usize = 64;

/// A reservation as somebody last heard of it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// How it was asked for.
    pub reserve: Reserve,
    /// Its state then.
    pub state: ReservationState,
    /// Payments begun then.
    pub attempts: u16,
}

impl Known {
    /// Its name.
    #[must_use]
    pub fn target(&self) -> Target {
        let Reserve { product, reservation, user, .. } = self.reserve;
        Target { product, reservation, user }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board {
    /// The products that are to be put on sale.
    pub products: Vec<ProductId>,
    /// Cluster time as somebody last heard it.
    pub time: Timestamp,
    known: Vec<Known>,
    operations: Vec<Command>,
    last_id: u128,
    busy: usize,
}

/// A board that several clients look at.
pub type Shared = Rc<RefCell<Board>>;

impl Board {
    /// An empty one.
    #[must_use]
    pub fn shared(products: Vec<ProductId>) -> Shared {
        Rc::new(RefCell::new(Self { products, ..Self::default() }))
    }

    /// An id that nobody has used.
    pub fn fresh(&mut self, rng: &mut Rng) -> u128 {
        self.last_id += 1;
        (u128::from(rng.draw()) << 64) | self.last_id
    }

    /// A reservation id that nobody has used.
    pub fn fresh_reservation(&mut self, rng: &mut Rng) -> ReservationId {
        ReservationId(self.fresh(rng))
    }

    /// An operation id that nobody has used.
    pub fn fresh_operation(&mut self, rng: &mut Rng) -> OperationId {
        OperationId(self.fresh(rng))
    }

    /// A product, the first far more often than the others.
    #[must_use]
    pub fn product(&self, rng: &mut Rng) -> ProductId {
        let hot = rng.percent(40);
        let drawn = if hot { self.products.first() } else { rng.pick(&self.products) };
        drawn.copied().unwrap_or(ProductId(1))
    }

    /// A reservation, one of those in this state if there are any (in nine of ten cases).
    #[must_use]
    pub fn reservation(&self, wanted: &[ReservationState], rng: &mut Rng) -> Option<Known> {
        let fitting: Vec<&Known> = self.known.iter().filter(|known| wanted.contains(&known.state)).collect();
        if fitting.is_empty() || rng.percent(10) {
            return rng.pick(&self.known).copied();
        }
        rng.pick(&fitting).map(|known| **known)
    }

    /// A reservation in this state, else none.
    #[must_use]
    pub fn in_state(&self, state: ReservationState, rng: &mut Rng) -> Option<Known> {
        let fitting: Vec<&Known> = self.known.iter().filter(|known| known.state == state).collect();
        rng.pick(&fitting).map(|known| **known)
    }

    /// A command that has an operation id and was sent before.
    #[must_use]
    pub fn operation(&self, rng: &mut Rng) -> Option<Command> {
        rng.pick(&self.operations).cloned()
    }

    /// Remembers what is about to be asked.
    pub fn asked(&mut self, body: &RequestBody) {
        match body {
            RequestBody::Command(Command::Reserve(reserve)) => self.remember(*reserve),
            RequestBody::Command(
                command @ (Command::AdjustStock(_)
                | Command::SetStock(_)
                | Command::ChangeSale(_)
                | Command::Extend(_)
                | Command::CreateProduct(_)),
            ) => {
                if self.operations.len() >= REMEMBERED {
                    self.operations.remove(0);
                }
                self.operations.push(command.clone());
            }
            RequestBody::Command(_) | RequestBody::Query(_) => {}
        }
    }

    /// Learns from what was heard.
    pub fn heard(&mut self, finished: &Finished) {
        match &finished.heard {
            Heard::Reply(Reply::Reservation(reply)) => self.learn(reply),
            Heard::Reply(Reply::Product(reply)) => self.time = self.time.max(reply.time),
            _ => {}
        }
    }

    /// Somebody has work to do.
    pub fn enter(&mut self) {
        self.busy += 1;
    }

    /// Somebody has none any more.
    pub fn leave(&mut self) {
        self.busy -= 1;
    }

    /// Whether anybody else has work to do.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy > 0
    }

    fn remember(&mut self, reserve: Reserve) {
        if self.known.iter().any(|known| known.reserve.reservation == reserve.reservation) {
            return;
        }
        if self.known.len() >= REMEMBERED {
            self.known.remove(0);
        }
        self.known.push(Known { reserve, state: ReservationState::Held, attempts: 0 });
    }

    fn learn(&mut self, reply: &ReservationReply) {
        self.time = self.time.max(reply.time);
        let view = &reply.reservation;
        if let Some(known) = self.known.iter_mut().find(|known| known.reserve.reservation == view.reservation) {
            known.state = view.state;
            known.attempts = view.payment_attempts;
            known.reserve.quantity = Quantity(view.quantity.get());
        }
    }
}
