//! A gateway's payments, by the product's own steps: its own from begin payment on, and those that others left behind, which
//! it learns of from the shards. It dies between any two steps, and remembers nothing then.

use std::collections::BTreeSet;
use std::time::Duration;

use doorbuster_gateway::payment::{Event, Outcome, Step};
use doorbuster_gateway::{Key, Known};
use doorbuster_protocol::command::{Cancel, CancelReason, Cancellation, Command, LatePayment, Payment, Target};
use doorbuster_protocol::query::{Changed, Query, Unsettled};
use doorbuster_protocol::reply::{Reply, ReservationReply, ReservationState, ReservationView, UnsettledPage};
use doorbuster_protocol::request::RequestBody;
use doorbuster_protocol::types::{Millis, Quantity, ReservationId, ShardId};

use super::board::Shared;
use super::caller::{Caller, Finished};
use super::client::mark;
use super::provider;
use super::shape::Shape;
use crate::history::{Heard, Moment};
use crate::sim::Rng;
use crate::sim::port::{Actor, Happened, Port};

/// Time for the next payment.
const NEXT: u64 = 1;
/// The provider's answer, or the end of a pause: counted from here up.
const CARRY: u64 = 16;
/// A gateway waits so long for an answer of the cluster.
const PATIENCE: Duration = Duration::from_secs(5);
/// And a sweeper for one of the provider that tells something.
const SWEEP_PATIENCE: Duration = Duration::from_secs(3);
/// What has not changed for so long is left behind.
const LEFT_BEHIND: Millis = Millis(700);
/// Reservations in a page.
const PAGE: u32 = 4;

/// What it is at.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Nothing,
    /// A reservation is being pinned.
    Beginning(Target),
    /// A sale is being cancelled.
    Cancelling,
    /// What a shard has unsettled is being read.
    Looking(Unsettled),
    /// A payment, or a refund, is carried through.
    Carrying(Run),
}

/// One that is carried through.
#[derive(Clone, Copy, Debug)]
struct Run {
    target: Target,
    quantity: Quantity,
    key: Key,
    step: Step,
    /// How long the provider is waited for.
    until: Moment,
}

/// See the module.
pub struct Payer {
    number: usize,
    board: Shared,
    provider: provider::Shared,
    caller: Caller,
    doing: Doing,
    /// What the provider has said, until its answer arrives.
    said: Option<Event>,
    /// What it reads next of the shards.
    look: u64,
    after: Changed,
    /// Lists in a row that had nothing to do.
    quiet: u64,
    /// Those that cannot be settled, because others than gateways had their hands in them.
    given_up: BTreeSet<ReservationId>,
    gateways_alone: bool,
    /// Numbers its waits, so that old timers are known.
    wait: u64,
    left: u64,
    pause: Duration,
    deaths: u64,
    cancels: u64,
    /// What is cancelled, and how, is drawn here, so that without it everything is as it is.
    cancelling: Rng,
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
            doing: Doing::Nothing,
            said: None,
            look: 0,
            after: Changed::default(),
            quiet: 0,
            given_up: BTreeSet::new(),
            gateways_alone: shape.gateways_alone,
            wait: CARRY,
            left: shape.wishes,
            pause: shape.span / u32::try_from(shape.wishes).unwrap_or(1).max(1),
            deaths: shape.deaths,
            cancels: shape.cancels,
            cancelling: Rng::new(shape.seed).stream("cancelling").numbered(number as u64),
            winding_down: false,
            is_done: false,
        }
    }

    fn rest(&mut self, port: &mut Port<'_>) {
        (self.doing, self.said) = (Doing::Nothing, None);
        let most = u64::try_from(self.pause.as_micros() * 2).unwrap_or(u64::MAX);
        let micros = port.rng().between(most / 20, most);
        port.wake_after(Duration::from_micros(micros), NEXT);
    }

    /// Begins a payment, or looks whether one was left behind.
    fn next(&mut self, port: &mut Port<'_>) {
        if !matches!(self.doing, Doing::Nothing) || self.is_done {
            return;
        }
        if self.left > 0 && self.cancelling.percent(self.cancels) && self.cancel(port) {
            return;
        }
        if self.left == 0 || port.rng().percent(40) {
            return self.look(port);
        }
        self.left -= 1;
        let known = self.board.borrow().in_state(ReservationState::Held, port.rng());
        let Some(known) = known else { return self.rest(port) };
        if self.dies(port) {
            return;
        }
        self.doing = Doing::Beginning(known.target());
        let begin = Payment { target: known.target(), attempt: known.attempts + 1 };
        self.ask(RequestBody::Command(Command::BeginPayment(begin)), port);
    }

    /// Cancels a sale, one that was cancelled before now and then. Whether there is one.
    fn cancel(&mut self, port: &mut Port<'_>) -> bool {
        let again = self.cancelling.percent(15);
        let wanted = if again { ReservationState::Refunded } else { ReservationState::Confirmed };
        let Some(known) = self.board.borrow().in_state(wanted, &mut self.cancelling) else { return false };
        self.left -= 1;
        if self.dies(port) {
            return true;
        }
        let reason = self.cancelling.pick(&CancelReason::ALL).copied().unwrap_or(CancelReason::Shop);
        let how = Cancellation { reason, return_stock: self.cancelling.percent(50) };
        self.doing = Doing::Cancelling;
        self.ask(RequestBody::Command(Command::Cancel(Cancel { target: known.target(), how })), port);
        true
    }

    /// What was paid goes back, at once or when somebody looks for it.
    fn cancelled(&mut self, heard: &Heard, port: &mut Port<'_>) {
        match heard {
            Heard::Reply(Reply::Reservation(reply))
                if reply.reservation.state == ReservationState::RefundDue && self.cancelling.percent(50) =>
            {
                self.take_up(Unsettled::Refunds, &reply.reservation, port);
            }
            _ => self.rest(port),
        }
    }

    fn look(&mut self, port: &mut Port<'_>) {
        let shards = u64::from(port.shards());
        let shard = ShardId(u16::try_from(self.look / 2 % shards).unwrap_or(0));
        let of = if self.look.is_multiple_of(2) { Unsettled::Payments } else { Unsettled::Refunds };
        self.doing = Doing::Looking(of);
        self.ask(RequestBody::Query(Query::Unsettled { shard, of, after: self.after, limit: PAGE }), port);
    }

    fn ask(&mut self, body: RequestBody, port: &mut Port<'_>) {
        self.caller.call(port, body, PATIENCE, 0);
    }

    /// Takes the step that the payment is at; or dies before it.
    fn take(&mut self, run: Run, port: &mut Port<'_>) {
        self.doing = Doing::Carrying(run);
        let Run { target, quantity, key, step, .. } = run;
        if let Step::End(outcome) = step {
            return self.ended(run, outcome, port);
        }
        if self.dies(port) {
            return;
        }
        let attempt = key.attempt;
        let mut provider = self.provider.borrow_mut();
        let (said, takes) = match step {
            Step::Charge => {
                let (charged, takes) = provider.charge(key, port);
                (Event::Charged(charged), takes)
            }
            Step::Ask | Step::Look => known(provider.outcome(key, port)),
            Step::Cancel => known(provider.cancel(key, port)),
            Step::Seek(attempt) => known(provider.outcome(Key { attempt, ..key }, port)),
            Step::Refund(attempt) => known(provider.refund(Key { attempt, ..key }, port)),
            Step::Confirm | Step::TakeLate | Step::Fail(_) | Step::RefundDone | Step::End(_) => {
                drop(provider);
                let command = match step {
                    Step::TakeLate => Command::LatePayment(LatePayment { target, quantity }),
                    Step::Fail(_) => Command::PaymentFailed(Payment { target, attempt }),
                    Step::RefundDone => Command::RefundDone(target),
                    _ => Command::Confirm(target),
                };
                return self.ask(RequestBody::Command(command), port);
            }
        };
        drop(provider);
        self.said = Some(said);
        self.wait(takes, port);
    }

    fn dies(&mut self, port: &mut Port<'_>) -> bool {
        let dies = !self.winding_down && port.rng().percent(self.deaths);
        if dies {
            port.note(format!("dies: {:?}", self.doing));
            self.caller.die(port);
            self.rest(port);
        }
        dies
    }

    fn wait(&mut self, delay: Duration, port: &mut Port<'_>) {
        self.wait += 1;
        port.wake_after(delay, self.wait);
    }

    fn waited(&mut self, port: &mut Port<'_>) {
        let Doing::Carrying(run) = self.doing else { return };
        match self.said.take() {
            Some(event) => self.came(run, event, port),
            None => self.take(run, port),
        }
    }

    /// What came of a step.
    fn came(&mut self, run: Run, event: Event, port: &mut Port<'_>) {
        let step = run.step;
        let mut next = step.next(event);
        if next == step && step.asks_provider() && port.now() >= run.until {
            next = next.next(Event::OutOfTime);
        }
        port.note(format!("{}: {step:?}, {event:?}: {next:?}", run.key));
        let run = Run { step: next, ..run };
        if next == step {
            self.doing = Doing::Carrying(run);
            let millis = port.rng().between(20, 300);
            self.wait(Duration::from_millis(millis), port);
        } else {
            self.take(run, port);
        }
    }

    fn hear(&mut self, finished: &[Finished], port: &mut Port<'_>) {
        for finished in finished {
            mark(finished, port);
            self.board.borrow_mut().heard(finished);
            match self.doing {
                Doing::Nothing => {}
                Doing::Beginning(target) => self.begun(target, &finished.heard, port),
                Doing::Cancelling => self.cancelled(&finished.heard, port),
                Doing::Looking(of) => self.seen(of, &finished.heard, port),
                Doing::Carrying(run) => self.came(run, event(&finished.heard), port),
            }
        }
    }

    /// Pinned: it is charged. Whether it is pinned, when that is not known, is seen by whoever looks.
    fn begun(&mut self, target: Target, heard: &Heard, port: &mut Port<'_>) {
        let Heard::Reply(Reply::Reservation(ReservationReply { reservation: view, time, .. })) = heard else {
            return self.rest(port);
        };
        let until = Moment(port.now().0 + view.expires_at.since(*time).get() * 1_000_000);
        self.take(Run { target, quantity: view.quantity, key: key(view), step: Step::Charge, until }, port);
    }

    /// Takes up one that was left behind.
    fn seen(&mut self, of: Unsettled, heard: &Heard, port: &mut Port<'_>) {
        let Heard::Reply(Reply::Unsettled(page)) = heard else {
            self.quiet = 0;
            return self.rest(port);
        };
        let open = |view: &&ReservationView| !self.given_up.contains(&view.reservation);
        let mut left_behind = page.reservations.iter().filter(open);
        match left_behind.find(|view| page.time.since(view.changed_at) >= LEFT_BEHIND) {
            Some(view) => {
                (self.after, self.quiet) = (Changed::default(), 0);
                port.reached("payment_swept");
                self.take_up(of, view, port);
            }
            None => self.look_further(page, port),
        }
    }

    fn take_up(&mut self, of: Unsettled, view: &ReservationView, port: &mut Port<'_>) {
        let target = Target { product: view.product, reservation: view.reservation, user: view.user };
        let step = match of {
            Unsettled::Payments => Step::Ask,
            Unsettled::Refunds => Step::Seek(view.payment_attempts),
        };
        let until = Moment(port.now().0 + u64::try_from(SWEEP_PATIENCE.as_nanos()).unwrap_or(u64::MAX));
        self.take(Run { target, quantity: view.quantity, key: key(view), step, until }, port);
    }

    /// At the end, nothing is left when every list was read in a row and had nothing to do.
    fn look_further(&mut self, page: &UnsettledPage, port: &mut Port<'_>) {
        let all_given_up = page.reservations.iter().all(|view| self.given_up.contains(&view.reservation));
        self.quiet = if all_given_up { self.quiet + 1 } else { 0 };
        match page.reservations.last() {
            Some(last) if page.reservations.len() == PAGE as usize => {
                // A page of a list is not the list.
                self.quiet = self.quiet.saturating_sub(1);
                self.after = Changed { at: last.changed_at, reservation: last.reservation };
            }
            _ => (self.after, self.look) = (Changed::default(), self.look + 1),
        }
        self.rest(port);
    }

    fn ended(&mut self, run: Run, outcome: Outcome, port: &mut Port<'_>) {
        match outcome {
            Outcome::RefundDue if port.rng().percent(50) => {
                self.take(Run { step: Step::Seek(run.key.attempt), ..run }, port);
            }
            Outcome::Unsettled => {
                // Where only gateways pay this must not be, and the payments' checker finds it.
                if !self.gateways_alone {
                    self.given_up.insert(run.key.reservation);
                }
                self.rest(port);
            }
            _ => self.rest(port),
        }
    }

    fn look_whether_done(&mut self, port: &mut Port<'_>) {
        let idle = matches!(self.doing, Doing::Nothing) && self.caller.is_idle() && self.left == 0;
        let quiet = self.quiet > 2 * u64::from(port.shards());
        if !self.is_done && self.winding_down && idle && quiet {
            self.provider.borrow_mut().ends(port);
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
                (self.winding_down, self.left, self.quiet) = (true, 0, 0);
                port.wake_after(Duration::ZERO, NEXT);
            }
            _ => {}
        }
        let finished = self.caller.act(what, port);
        self.hear(&finished, port);
        self.look_whether_done(port);
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}

fn key(view: &ReservationView) -> Key {
    Key { reservation: view.reservation, made_at: view.created_at, attempt: view.payment_attempts }
}

fn known<D>((known, takes): (Known, D)) -> (Event, D) {
    (Event::Known(known), takes)
}

fn event(heard: &Heard) -> Event {
    match heard {
        Heard::Reply(Reply::Reservation(reply)) => Event::Done(reply.reservation.state),
        Heard::Refused(refusal) => Event::Refused(*refusal),
        _ => Event::Unclear,
    }
}
