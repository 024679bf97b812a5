//! A gateway's payment saga: begin payment, charge, confirm or payment failed, by the product's own steps. It dies between
//! any two of them, and whoever takes the payment up finds out where it was.

use std::time::Duration;

use doorbuster_gateway::Charged;
use doorbuster_gateway::payment::{Event, Outcome, Step};
use doorbuster_protocol::command::{Command, LatePayment, Payment as Try};
use doorbuster_protocol::reply::Reply;
use doorbuster_protocol::request::RequestBody;

use super::board::Shared;
use super::caller::{Caller, Finished};
use super::client::mark;
use super::provider::{self, Payment};
use super::shape::Shape;
use crate::history::{Heard, Moment};
use crate::sim::port::{Actor, Happened, Port};

/// Time for the next payment.
const NEXT: u64 = 1;
/// The provider's answer, or the end of a pause: counted from here up.
const CARRY: u64 = 16;
/// A gateway waits so long for an answer of the cluster.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a payment is at.
#[derive(Clone, Copy, Debug)]
enum At {
    /// The reservation is being pinned.
    Beginning,
    /// A step of the saga.
    Step(Step),
    /// Sold too late: the provider gives the money back, and says so.
    Refunding,
}

/// One that is carried through.
#[derive(Clone, Copy, Debug)]
struct Run {
    payment: Payment,
    at: At,
    /// Somebody else began it.
    adopted: bool,
    /// When the reservation is pinned no more, as far as known.
    pinned_until: Moment,
}

/// See the module.
pub struct Payer {
    number: usize,
    board: Shared,
    provider: provider::Shared,
    caller: Caller,
    run: Option<Run>,
    /// What the provider has said, until its answer arrives.
    charged: Option<Charged>,
    /// Numbers its waits, so that old timers are known.
    wait: u64,
    left: u64,
    pause: Duration,
    deaths: u64,
    winding_down: bool,
    is_done: bool,
}

impl Payer {
    /// One of several gateways before the same provider.
    #[must_use]
    pub fn new(number: usize, board: &Shared, provider: &provider::Shared, shape: &Shape) -> Self {
        board.borrow_mut().enter();
        Self {
            number,
            board: Shared::clone(board),
            provider: provider::Shared::clone(provider),
            caller: Caller::default(),
            run: None,
            charged: None,
            wait: CARRY,
            left: shape.wishes,
            pause: shape.span / u32::try_from(shape.wishes).unwrap_or(1).max(1),
            deaths: shape.deaths,
            winding_down: false,
            is_done: false,
        }
    }

    fn rest(&self, port: &mut Port<'_>) {
        let most = u64::try_from(self.pause.as_micros() * 2).unwrap_or(u64::MAX);
        let micros = port.rng().between(most / 20, most);
        port.wake_after(Duration::from_micros(micros), NEXT);
    }

    /// Takes up a payment: one left behind, else one of its own.
    fn next(&mut self, port: &mut Port<'_>) {
        if self.run.is_some() {
            return;
        }
        let orphan = self.provider.borrow_mut().adopt();
        let adopted = orphan.is_some();
        if !adopted && self.left == 0 {
            return;
        }
        self.left = self.left.saturating_sub(1);
        let own = || {
            let known = self.board.borrow().held(port.rng())?;
            let attempt = known.attempts + 1;
            Some(Payment { target: known.target(), quantity: known.reserve.quantity, attempt })
        };
        let Some(payment) = orphan.or_else(own) else { return self.rest(port) };
        self.run = Some(Run { payment, at: At::Beginning, adopted, pinned_until: port.now() });
        self.take(port);
    }

    /// Takes the step that the payment is at; or dies before it.
    fn take(&mut self, port: &mut Port<'_>) {
        let Some(run) = self.run else { return };
        if !self.winding_down && port.rng().percent(self.deaths) {
            return self.die(run.payment, port);
        }
        let Payment { target, quantity, attempt } = run.payment;
        let command = match run.at {
            At::Beginning => Command::BeginPayment(Try { target, attempt }),
            At::Step(Step::Charge) => {
                let (charged, delay) = self.provider.borrow_mut().charge(&run.payment, port.rng());
                self.charged = Some(charged);
                return self.wait(delay, port);
            }
            At::Step(Step::Confirm) => Command::Confirm(target),
            At::Step(Step::TakeLate) => Command::LatePayment(LatePayment { target, quantity }),
            At::Step(Step::Fail(_)) => Command::PaymentFailed(Try { target, attempt }),
            At::Step(step @ (Step::Ask | Step::Cancel | Step::Seek(_) | Step::Refund(_) | Step::RefundDone)) => {
                unreachable!("{step:?} comes up where somebody sweeps, and nobody does here")
            }
            At::Step(Step::End(outcome)) => return self.ended(outcome, port),
            At::Refunding => Command::RefundDone(target),
        };
        self.caller.call(port, RequestBody::Command(command), PATIENCE, 0);
    }

    fn die(&mut self, payment: Payment, port: &mut Port<'_>) {
        port.note(format!("dies in the payment of {}", payment.target.reservation));
        self.caller.die(port);
        self.provider.borrow_mut().leave(payment);
        (self.run, self.charged) = (None, None);
        self.rest(port);
    }

    fn wait(&mut self, delay: Duration, port: &mut Port<'_>) {
        self.wait += 1;
        port.wake_after(delay, self.wait);
    }

    fn waited(&mut self, port: &mut Port<'_>) {
        let Some(run) = self.run else { return };
        match self.charged.take() {
            Some(Charged::Unclear) if port.now() >= run.pinned_until => self.step(Event::OutOfTime, port),
            Some(charged) => self.step(Event::Charged(charged), port),
            None => self.take(port),
        }
    }

    fn step(&mut self, event: Event, port: &mut Port<'_>) {
        let Some(Run { at: At::Step(step), .. }) = self.run else { return };
        let next = step.next(event);
        self.goto(At::Step(next));
        if next == step {
            let millis = port.rng().between(20, 300);
            self.wait(Duration::from_millis(millis), port);
        } else {
            self.take(port);
        }
    }

    fn goto(&mut self, at: At) {
        if let Some(run) = &mut self.run {
            run.at = at;
        }
    }

    fn hear(&mut self, finished: &[Finished], port: &mut Port<'_>) {
        for finished in finished {
            mark(finished, port);
            self.board.borrow_mut().heard(finished);
            match self.run.map(|run| run.at) {
                Some(At::Beginning) => self.begun(&finished.heard, port),
                Some(At::Step(_)) => self.step(event(&finished.heard), port),
                Some(At::Refunding) => self.refunded(&finished.heard, port),
                None => {}
            }
        }
    }

    /// As the gateway's route: whoever posts a payment again joins the one that is in progress. And what the provider has
    /// taken for a payment that cannot be joined any more is a late payment: its notice says so.
    fn begun(&mut self, heard: &Heard, port: &mut Port<'_>) {
        let Some(run) = &mut self.run else { return };
        match heard {
            Heard::Reply(Reply::Reservation(reply)) => {
                let pinned = reply.reservation.expires_at.since(reply.time);
                run.pinned_until = Moment(port.now().0 + pinned.get() * 1_000_000);
                self.goto(At::Step(Step::Charge));
                self.take(port);
            }
            Heard::Refused(_) if self.provider.borrow().has_taken(&run.payment) => {
                self.goto(At::Step(Step::Confirm));
                self.take(port);
            }
            // Another gateway may have pinned it meanwhile, and not have charged yet; or it is gone.
            Heard::Refused(_) => self.drop_run(port),
            _ if run.adopted || self.winding_down => {
                let millis = port.rng().between(50, 500);
                self.wait(Duration::from_millis(millis), port);
            }
            // Nobody knows whether it is pinned: left to whoever looks.
            _ => {
                let payment = run.payment;
                self.provider.borrow_mut().leave(payment);
                self.drop_run(port);
            }
        }
    }

    fn ended(&mut self, outcome: Outcome, port: &mut Port<'_>) {
        let Some(run) = self.run else { return };
        match outcome {
            Outcome::RefundDue => {
                self.goto(At::Refunding);
                let millis = port.rng().between(10, 1_000);
                self.wait(Duration::from_millis(millis), port);
            }
            Outcome::Unresolved if self.provider.borrow().has_taken(&run.payment) => {
                self.goto(At::Step(Step::Confirm));
                self.take(port);
            }
            Outcome::Unsettled => {
                panic!("{:?} is paid, and the cluster neither sells nor records a refund", run.payment)
            }
            Outcome::Confirmed | Outcome::Declined(_) | Outcome::Refunded | Outcome::Unresolved => self.drop_run(port),
        }
    }

    fn refunded(&mut self, heard: &Heard, port: &mut Port<'_>) {
        if matches!(heard, Heard::Reply(_) | Heard::Refused(_)) {
            self.drop_run(port);
        } else {
            let millis = port.rng().between(50, 500);
            self.wait(Duration::from_millis(millis), port);
        }
    }

    fn drop_run(&mut self, port: &mut Port<'_>) {
        (self.run, self.charged) = (None, None);
        self.rest(port);
    }

    fn look_whether_done(&mut self) {
        let nothing = self.run.is_none() && self.caller.is_idle() && self.left == 0;
        if !self.is_done && self.winding_down && nothing && self.provider.borrow().is_settled() {
            self.is_done = true;
            self.board.borrow_mut().leave();
        }
    }
}

impl Actor for Payer {
    fn name(&self) -> String {
        format!("payer {}", self.number)
    }

    fn act(&mut self, what: Happened<'_>, port: &mut Port<'_>) {
        match what {
            Happened::Begins => self.rest(port),
            Happened::Timer(NEXT) => self.next(port),
            Happened::Timer(number) if number == self.wait => self.waited(port),
            Happened::WindDown => {
                (self.winding_down, self.left) = (true, 0);
                self.rest(port);
            }
            _ => {}
        }
        let finished = self.caller.act(what, port);
        self.hear(&finished, port);
        self.look_whether_done();
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}

fn event(heard: &Heard) -> Event {
    match heard {
        Heard::Reply(Reply::Reservation(reply)) => Event::Done(reply.reservation.state),
        Heard::Refused(refusal) => Event::Refused(*refusal),
        _ => Event::Unclear,
    }
}
