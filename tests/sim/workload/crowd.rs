//! Many at once: a stampede for a few units, and hundreds of holds that end in the same moment.

use std::collections::BTreeMap;
use std::time::Duration;

use doorbuster_protocol::command::{Command, Reserve};
use doorbuster_protocol::query::Query;
use doorbuster_protocol::reply::{Reply, ReservationState};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, ProductId, Quantity, ReservationId, UserId, shard_of};

use super::board::Shared;
use super::caller::{Caller, Finished};
use super::client::{mark, patience};
use super::shape::Shape;
use crate::history::Heard;
use crate::sim::port::{Actor, Happened, Port};

/// Time for the next wave.
const WAVE: u64 = 1;
/// Time to see what expired.
const LOOK: u64 = 2;
/// So many that expire together are a mass.
const MASS: usize = 100;

/// See the module.
pub struct Crowd {
    number: usize,
    board: Shared,
    bulk: ProductId,
    caller: Caller,
    waves: u64,
    /// Looks that are still to come.
    looks: u64,
    span: Duration,
    is_done: bool,
}

impl Crowd {
    /// A crowd that comes for this product most of all.
    #[must_use]
    pub fn new(number: usize, bulk: ProductId, board: &Shared, shape: &Shape) -> Self {
        board.borrow_mut().enter();
        Self {
            number,
            board: Shared::clone(board),
            bulk,
            caller: Caller::default(),
            waves: 2,
            looks: 0,
            span: shape.span,
            is_done: false,
        }
    }

    fn wave(&mut self, port: &mut Port<'_>) {
        if self.waves == 0 {
            return;
        }
        self.waves -= 1;
        let mass = port.rng().percent(60);
        let (product, count) = if mass {
            (self.bulk, port.rng().between(120, 250))
        } else {
            let product = self.board.borrow().product(port.rng());
            (product, port.rng().between(8, 30))
        };
        let patience = patience(port.rng());
        for _ in 0..count {
            let reserve = Reserve {
                product,
                reservation: self.board.borrow_mut().fresh_reservation(port.rng()),
                user: UserId(u128::from(port.rng().between(1, 1_000))),
                quantity: Quantity(1),
                ttl: Millis(0),
            };
            self.caller.call(port, RequestBody::Command(Command::Reserve(reserve)), patience, 0);
        }
        self.next(port);
        self.looks += 1;
        let later = port.rng().between(500, 5_000);
        port.wake_after(Duration::from_millis(later), LOOK);
    }

    fn next(&self, port: &mut Port<'_>) {
        let most = u64::try_from(self.span.as_millis()).unwrap_or(u64::MAX) / 2;
        let pause = port.rng().between(most / 10, most);
        port.wake_after(Duration::from_millis(pause), WAVE);
    }

    fn look(&mut self, port: &mut Port<'_>) {
        if self.looks == 0 {
            return;
        }
        self.looks -= 1;
        let shard = shard_of(self.bulk, port.shards());
        let query = Query::Reservations { shard, after: ReservationId(0), limit: 4096 };
        self.caller.call(port, RequestBody::Query(query), Duration::from_secs(3), 0);
    }

    fn hear(&mut self, finished: &[Finished], port: &mut Port<'_>) {
        for finished in finished {
            mark(finished, port);
            self.board.borrow_mut().heard(finished);
            if let Heard::Reply(Reply::Reservations(views)) = &finished.heard {
                let mut ends: BTreeMap<u64, usize> = BTreeMap::new();
                for view in views.iter().filter(|view| view.state == ReservationState::Expired) {
                    *ends.entry(view.changed_at.get() / 20).or_default() += 1;
                }
                if ends.values().any(|count| *count >= MASS) {
                    port.reached("mass_expiry");
                }
            }
        }
        if !self.is_done && self.waves == 0 && self.looks == 0 && self.caller.is_idle() {
            self.is_done = true;
            self.board.borrow_mut().leave();
        }
    }
}

impl Actor for Crowd {
    fn name(&self) -> String {
        format!("crowd {}", self.number)
    }

    fn act(&mut self, what: Happened<'_>, port: &mut Port<'_>) {
        match what {
            Happened::Begins => self.next(port),
            Happened::Timer(WAVE) => self.wave(port),
            Happened::Timer(LOOK) => self.look(port),
            Happened::WindDown => (self.waves, self.looks) = (0, 0),
            _ => {}
        }
        let mut finished = self.caller.act(what, port);
        finished.extend(self.caller.take_finished());
        self.hear(&finished, port);
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}
