//! A client that wants one thing at a time: what it wants is up to its [`Wishes`].

use std::time::Duration;

use doorbuster_protocol::request::RequestBody;

use super::board::{Board, Shared};
use super::caller::{Caller, Finished};
use super::shape::Shape;
use crate::sim::Rng;
use crate::sim::port::{Actor, Happened, Port};

/// The only timer of its own: time for the next wish.
const WISH: u64 = 1;

/// What a client wants.
pub trait Wishes {
    /// What such a client is called.
    fn name(&self) -> &'static str;

    /// The next thing; none for now.
    fn wish(&mut self, board: &mut Board, rng: &mut Rng) -> Option<RequestBody>;

    /// What came of it.
    fn heard(&mut self, finished: &Finished, board: &mut Board, port: &mut Port<'_>);
}

/// See the module.
pub struct Client<W> {
    wishes: W,
    number: usize,
    board: Shared,
    caller: Caller,
    /// Things it still wants.
    left: u64,
    /// Mean pause between two of them.
    pause: Duration,
    is_done: bool,
}

impl<W: Wishes> Client<W> {
    /// One of several that share a board.
    #[must_use]
    pub fn new(wishes: W, number: usize, board: &Shared, shape: &Shape) -> Self {
        board.borrow_mut().enter();
        let pause = shape.span / u32::try_from(shape.wishes).unwrap_or(1).max(1);
        Self {
            wishes,
            number,
            board: Shared::clone(board),
            caller: Caller::default(),
            left: shape.wishes,
            pause,
            is_done: false,
        }
    }

    fn think(&self, port: &mut Port<'_>) {
        let most = u64::try_from(self.pause.as_micros() * 2).unwrap_or(u64::MAX);
        let pause = Duration::from_micros(port.rng().between(most / 20, most));
        port.wake_after(pause, WISH);
    }

    fn wish(&mut self, port: &mut Port<'_>) {
        if self.left == 0 || !self.caller.is_idle() {
            return;
        }
        self.left -= 1;
        let wish = self.wishes.wish(&mut self.board.borrow_mut(), port.rng());
        let Some(body) = wish else { return self.think(port) };
        self.board.borrow_mut().asked(&body);
        let patience = patience(port.rng());
        self.caller.call(port, body, patience, 0);
        let at_once = self.caller.take_finished();
        self.hear(&at_once, port);
    }

    fn hear(&mut self, finished: &[Finished], port: &mut Port<'_>) {
        for finished in finished {
            mark(finished, port);
            let mut board = self.board.borrow_mut();
            board.heard(finished);
            self.wishes.heard(finished, &mut board, port);
        }
        if !finished.is_empty() && self.left > 0 {
            self.think(port);
        }
        if !self.is_done && self.left == 0 && self.caller.is_idle() {
            self.is_done = true;
            self.board.borrow_mut().leave();
        }
    }
}

impl<W: Wishes> Actor for Client<W> {
    fn name(&self) -> String {
        format!("{} {}", self.wishes.name(), self.number)
    }

    fn act(&mut self, what: Happened<'_>, port: &mut Port<'_>) {
        match what {
            Happened::Begins => self.think(port),
            Happened::Timer(WISH) => self.wish(port),
            Happened::WindDown => self.left = 0,
            _ => {}
        }
        let finished = self.caller.act(what, port);
        self.hear(&finished, port);
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}

/// Most callers can wait, some cannot.
pub fn patience(rng: &mut Rng) -> Duration {
    let millis = if rng.percent(75) { rng.between(2_000, 8_000) } else { rng.between(20, 600) };
    Duration::from_millis(millis)
}

/// What a reply shows to have happened.
pub fn mark(finished: &Finished, port: &mut Port<'_>) {
    use doorbuster_protocol::command::Command;
    use doorbuster_protocol::reply::{Reply, ReservationState as State};

    use crate::history::Heard;

    let Heard::Reply(reply) = &finished.heard else { return };
    let command = match &finished.body {
        RequestBody::Query(_) => return port.reached("read_linearizable"),
        RequestBody::Command(command) => command,
    };
    match reply {
        Reply::Reservation(reply) => {
            let mark = match (command, reply.reservation.state) {
                (Command::Cancel(_), State::Cancelled) => "sale_cancelled_unpaid",
                (Command::Cancel(_), _) => "sale_cancelled",
                (_, State::RefundDue) => "refund_due",
                (_, State::Refunded) => "refunded",
                (_, State::Expired) => "expired",
                (Command::Reserve(_), _) => "granted",
                (Command::Confirm(_), _) => "confirmed",
                (Command::Release(_), _) => "released",
                (Command::Extend(_), _) => "extended",
                (Command::BeginPayment(_), _) => "payment_begun",
                (Command::LatePayment(_), _) => "late_payment",
                _ => return,
            };
            port.reached(mark);
        }
        Reply::Product(_) if matches!(command, Command::AdjustStock(_) | Command::SetStock(_)) => {
            port.reached("stock_adjusted");
        }
        _ => {}
    }
}
